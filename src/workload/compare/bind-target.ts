// Which address space of a recording the device shares: that of the program (one execve of one task, or a forked child's)
// which makes the most memory calls.

import type { LoadedTrace } from '../replay/load.ts';

export interface BindTarget {
  readonly tid: number;
  /** The how-manieth address space of that task: 0 = its first. */
  readonly image: number;
  /** Memory calls that it makes. */
  readonly calls: number;
}

const MEMORY_CALLS = new Set(['mmap', 'munmap', 'mremap', 'mprotect', 'brk', 'madvise', 'msync']);

/** The busiest address space of the recording. Threads count for the task that started them. */
export function bindTarget(trace: LoadedTrace): BindTarget {
  const leader = new Map<number, number>();
  const images = new Map<number, number>();
  const hasFork = new Set<number>();
  const counts = new Map<string, BindTarget>();
  for (const r of trace.records) {
    if (r.kind !== 'call' || r.ret === null || r.errno !== null) continue;
    const tid = leader.get(r.tidStart) ?? r.tidStart;
    if (/^(clone3?|v?fork)$/.test(r.name)) {
      const text = (r.args ?? []).join();
      if (/CLONE_THREAD/.test(text)) leader.set(r.ret.num, tid);
      else if (!/CLONE_VM/.test(text) && r.name !== 'vfork') hasFork.add(r.ret.num);
    } else if (/^execve/.test(r.name)) {
      // The address space before a task's first execve is its own only after a fork.
      const image = images.get(tid);
      images.set(tid, image === undefined ? (hasFork.has(tid) ? 1 : 0) : image + 1);
    } else if (MEMORY_CALLS.has(r.name)) {
      const image = images.get(tid) ?? 0;
      const key = `${tid}:${image}`;
      counts.set(key, { tid, image, calls: (counts.get(key)?.calls ?? 0) + 1 });
    }
  }
  return [...counts.values()].reduce((a, b) => (b.calls > a.calls ? b : a), { tid: 0, image: 0, calls: 0 });
}
