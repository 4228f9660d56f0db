import {
  defineBug,
  FRAME_KERNEL,
  GFP_KERNEL,
  type KernelPath,
  P_DRIVER,
  P_IOMMU_WALK,
  type ScenarioContext,
} from 'shootdown';

// An entry of two words: the frame, and the flags. The old mapping is read-only to frame 7, the new one writable to frame 9.
const OLD = { frame: 7, flags: 1 };
const NEW = { frame: 9, flags: 3 };

/** Frame that holds the entry: word 0 and word 1. */
let table = 0;

function* makeTable({ kernel: k }: ScenarioContext): KernelPath<void> {
  table = k.fn.allocPage(k, GFP_KERNEL, FRAME_KERNEL);
  k.memory.words[table * 1024] = OLD.frame;
  k.memory.words[table * 1024 + 1] = OLD.flags;
}

/** Rewrites the live entry. `atOnce`: both words with one store. */
function* rewrite({ kernel: k }: ScenarioContext, atOnce: boolean): KernelPath<void> {
  const at = table * 1024;
  yield P_DRIVER;
  k.memory.touch(table, true);
  k.memory.words[at + 1] = NEW.flags;
  if (!atOnce) {
    yield P_DRIVER;
    k.memory.touch(table, true);
  }
  k.memory.words[at] = NEW.frame;
}

/** The IOMMU reads an entry whole. */
function* walk(c: ScenarioContext): KernelPath<void> {
  const { memory } = c.kernel;
  yield P_IOMMU_WALK;
  memory.touch(table, false);
  const frame = memory.words[table * 1024]!;
  const flags = memory.words[table * 1024 + 1]!;
  const isKnown = [OLD, NEW].some((e) => e.frame === frame && e.flags === flags);
  c.claim(
    isKnown,
    'STALE-MAP',
    `The IOMMU cached an entry that nobody ever made: frame ${frame} with flags ${flags}, the address of the old mapping with the ` +
      'rights of the new one.',
  );
}

function scenario(atOnce: boolean) {
  return {
    name: 'an entry is rewritten',
    summary: 'a live entry of two words gets another frame and other rights while the hardware walks',
    bound: false,
    setup: [{ do: 'run', name: 'make the table', path: makeTable }],
    threads: {
      hypervisor: {
        on: 'kernel',
        steps: [{ do: 'run', name: 'rewrite', path: (c: ScenarioContext) => rewrite(c, atOnce) }],
      },
      walker: { on: 'kernel', steps: [{ do: 'run', name: 'walk', path: walk }] },
    },
  } as const;
}

const revision = { design: 'linux-6.1', driver: 'iommu-v2' } as const;

export default defineBug({
  number: 34,
  id: 'xen-torn-iommu-entry',
  title: 'A live entry is written field by field',
  year: '2020',
  summary:
    'The hardware walks between two stores to one entry and caches a translation that neither the old nor the new mapping allowed.',
  evidence:
    'Xen advisory XSA-347 "unsafe AMD IOMMU page table updates", CVE-2020-27670; its title was found, the mechanism is from memory.',
  tag: 'STALE-MAP',
  steps: '4',
  scenario: scenario(false),
  historic: { what: 'flags first, then the address', ...revision },
  fixed: { what: 'the entry is built aside and stored at once', ...revision, scenario: scenario(true) },
  story: `
1. The hypervisor rewrites a live entry: the new rights first.
2. The IOMMU walks: the old address with the new rights. It caches that.
3. The hypervisor stores the new address. No further invalidation is due.
4. The device writes a frame that it was only ever allowed to read.`,
});
