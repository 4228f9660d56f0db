// The address space right after execve. A recording may have it (.maps0); strace shows nothing of it.

import type { MapsSection, MapsVma } from '../maps.ts';

export interface ProgramImage {
  readonly vmas: readonly MapsVma[];
  /** Start of the heap: the end of the program's last segment (randomisation off). */
  readonly startBrk: number;
  readonly stackTop: number;
}

/** Reads the layout of a program from its first map. */
export function imageOf(section: MapsSection): ProgramImage {
  const vmas = section.vmas.filter((v) => v.name !== '[vsyscall]');
  const program = vmas[0]?.name ?? '';
  let startBrk = 0;
  for (const v of vmas) {
    const isSegment = v.name === program || (v.name === '' && v.start === startBrk);
    if (isSegment && (startBrk === 0 || v.name === program || v.start === startBrk)) startBrk = v.end;
    else break;
  }
  const stack = vmas.find((v) => v.name === '[stack]');
  return { vmas, startBrk, stackTop: stack?.end ?? 0 };
}

/** The sections "after execve" of a recording, handed out in order to each task. */
export class InitialMaps {
  readonly #byTask = new Map<number, MapsSection[]>();

  constructor(sections: readonly MapsSection[]) {
    for (const s of sections) {
      if (s.kind === 'exit') continue;
      const list = this.#byTask.get(s.task) ?? [];
      list.push(s);
      this.#byTask.set(s.task, list);
    }
  }

  /** The image of the task's next execve; null when the recording has none (left). */
  take(task: number): ProgramImage | null {
    const section = this.#byTask.get(task)?.shift();
    return section === undefined ? null : imageOf(section);
  }
}
