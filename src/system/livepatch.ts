// Livepatches: functions of one kernel instance replaced by others, as CONFIG_LIVEPATCH does it. Each replacement gets the function
// that it replaces, so that patches compose, and the diff is the patch:
//
//   const noFlush = defineLivepatch({
//     tlbFlushMmuTlbonly: (original) => function* (k, tlb) {
//       if (tlb.site === SITE_MUNMAP) return tlb.resetRange();
//       yield* original(k, tlb);
//     },
//   });
//   createMachine({ patches: livepatched(noFlush) })

import { InputError } from '../base/assert.ts';
import type { KernelFns } from '../mm/fns.ts';
import { linuxFns } from '../mm/table.ts';

/** By name of a kernel function: from the original to what takes its place. */
export type Livepatch = { readonly [N in keyof KernelFns]?: (original: KernelFns[N]) => KernelFns[N] };

/** A livepatch, its types checked. Throws InputError for a name that is no kernel function, or no function for a name. */
export function defineLivepatch(patch: Livepatch): Livepatch {
  for (const [name, replace] of Object.entries(patch)) {
    if (!(name in linuxFns)) throw new InputError(`livepatch: the kernel has no function "${name}"`);
    if (typeof replace !== 'function')
      throw new InputError(`livepatch ${name}: expected a function from the original to its replacement`);
  }
  return Object.freeze({ ...patch });
}

/** The kernel's functions with the patches applied, the first innermost. */
export function livepatched(...patches: readonly Livepatch[]): KernelFns {
  const fns: KernelFns = { ...linuxFns };
  for (const patch of patches) {
    for (const name of Object.keys(patch) as (keyof KernelFns)[]) replaceOne(fns, patch, name);
  }
  return fns;
}

function replaceOne<N extends keyof KernelFns>(fns: KernelFns, patch: Livepatch, name: N): void {
  const replace = patch[name];
  if (replace !== undefined) fns[name] = replace(fns[name]);
}
