// @ts-check
/** Issues recorded calls (recorded-calls.mjs) on the simulated machine, as bench/native/calls.c does on the running kernel. */
import { OP_BRK, OP_MADVISE, OP_MMAP, OP_MPROTECT, OP_MREMAP, OP_MUNMAP } from './recorded-calls.mjs';
import { load, NR_brk, NR_madvise, NR_mmap, NR_mprotect, NR_mremap, NR_munmap } from './simulated.mjs';

/** @type {typeof import('../src/mm/process/files.ts')} */
const { openFile } = await load('mm/process/files.js');

/** Where a slot lies whose mmap failed. */
const NOWHERE = 2 ** 47;

export class IssuedCalls {
  /** @param {import('./simulated.mjs').Machine} machine @param {import('./recorded-calls.mjs').RecordedCalls} calls */
  constructor(machine, calls) {
    this.machine = machine;
    this.calls = calls;
    this.base = new Float64Array(calls.slots + 1);
    this.fds = Int32Array.from(calls.fileBytes, (bytes, i) => {
      const inode = machine.k.newInode('shmem', `/memfd:recorded${i}`, bytes);
      return openFile(machine.k, machine.task, inode, true, true);
    });
    this.firstBreak = machine.call(NR_brk, 0, 0);
    this.base[0] = this.firstBreak;
    /** Of the last iteration: calls that failed, and that failed or not otherwise than recorded. */
    this.failed = 0;
    this.differs = 0;
    const areas = machine.mm.vmas.count;
    this.iterate();
    if (machine.mm.vmas.count !== areas || machine.call(NR_brk, 0, 0) !== this.firstBreak) {
      throw new Error(`an iteration leaves ${machine.mm.vmas.count} areas where ${areas} were`);
    }
  }

  /** Every record once. */
  iterate() {
    const { count, recordedErrno } = this.calls;
    this.failed = 0;
    this.differs = 0;
    for (let i = 0; i < count; i++) {
      const failed = this.issue(i);
      const isRecorded = recordedErrno[i] !== 0;
      if (failed) this.failed++;
      if (failed !== isRecorded) this.differs++;
    }
  }

  /** @param {number} i @returns {boolean} whether the call failed */
  issue(i) {
    const { machine, base, calls: c } = this;
    const slot = c.slot[i] ?? -1;
    const at = slot < 0 ? 0 : (base[slot] ?? 0) + (c.delta[i] ?? 0);
    const length = c.length[i] ?? 0;
    let got = 0;
    switch (c.op[i]) {
      case OP_MMAP: {
        const file = c.file[i] ?? -1;
        const fd = file < 0 ? -1 : (this.fds[file] ?? -1);
        got = machine.call(NR_mmap, at, length, c.prot[i] ?? 0, c.flags[i] ?? 0, fd, c.extra[i] ?? 0);
        break;
      }
      case OP_MUNMAP:
        return machine.call(NR_munmap, at, length) !== 0;
      case OP_MPROTECT:
        return machine.call(NR_mprotect, at, length, c.prot[i] ?? 0) !== 0;
      case OP_BRK:
        got = machine.call(NR_brk, at, 0);
        this.note(i, got);
        return slot >= 0 && got !== at;
      case OP_MADVISE:
        return machine.call(NR_madvise, at, length, c.prot[i] ?? 0) !== 0;
      case OP_MREMAP:
        got = machine.call(NR_mremap, at, length, c.extra[i] ?? 0, c.flags[i] ?? 0);
        break;
      default:
        throw new Error(`record ${i}: operation ${c.op[i]}`);
    }
    this.note(i, got);
    return got < 0;
  }

  /** @param {number} i @param {number} got */
  note(i, got) {
    const result = this.calls.result[i] ?? -1;
    if (result >= 0) this.base[result] = got < 0 ? NOWHERE : got;
  }
}
