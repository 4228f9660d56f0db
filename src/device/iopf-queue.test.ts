// Page requests on the host's side: groups, what an overflow leaves, Stop Markers, and what is given back with a PASID.
import { describe, expect, it } from 'vitest';
import {
  E_MSG,
  EV_A,
  EV_B,
  EV_PFN,
  EV_TYPE,
  MSG_PRG_RESPONSE,
  PRG_FAILURE,
  PRG_INVALID,
  PRG_SUCCESS,
} from '../abi/events.ts';
import { MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, PROT_READ, PROT_WRITE } from '../abi/mman.ts';
import { NR_mmap } from '../abi/syscalls.ts';
import { Judge } from '../check/judge.ts';
import { createProcess } from '../mm/process/task.ts';
import type { KernelPath } from '../sched/path.ts';
import { createMachine, type Machine } from '../system/machine.ts';
import { ACCESS_DEAD, ACCESS_DONE, ACCESS_INVALID } from './accessor.ts';
import type { DeviceConfig } from './device.ts';
import { NO_ANSWER } from './iommu.ts';
import type { SharedTableDevice } from './shared-table-device.ts';
import type { SvaIommu } from './sva-iommu.ts';

const VA = 0x10000000;
const PAGE = 4096;

interface World {
  readonly m: Machine;
  readonly device: SharedTableDevice<SvaIommu>;
  /** PRG index and status of each answer. */
  readonly answers: [number, number][];
  readonly judge: Judge;
}

/** Two pages of memory that may be read and written, and the device bound to it. */
function world(device: Partial<DeviceConfig>, seed = 1): World {
  const m = createMachine({
    kernel: { frames: 128 },
    design: 'linux-6.1',
    device: { hasWorkload: false, faultWorkers: 1, ...device },
    seed,
  });
  const judge = new Judge();
  judge.attach(m.kernel.memory.log);
  const answers: [number, number][] = [];
  m.kernel.memory.log.attach({
    onRecord: (r, at) => {
      if (r[at + EV_TYPE] === E_MSG && r[at + EV_A] === MSG_PRG_RESPONSE)
        answers.push([r[at + EV_B]!, r[at + EV_PFN]!]);
    },
  });
  const task = m.run(createProcess(m.kernel, { areas: [] }));
  const flags = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS;
  m.run(m.call(task, NR_mmap, VA, 4 * PAGE, PROT_READ | PROT_WRITE, flags, -1, 0));
  expect(m.run(m.device!.bind(task.mm!))).toBe(0);
  return { m, device: m.device as SharedTableDevice<SvaIommu>, answers, judge };
}

/** A page request as the device's interface sends it. */
function send(w: World, prg: number, page: number, isLast: boolean): void {
  const entry = {
    device: 1,
    pasid: 1,
    address: VA + page * PAGE,
    isWrite: false,
    isExec: false,
    isStop: false,
    prg,
    isLast,
  };
  w.device.iommu.receivePageRequest(entry);
}

/** Lets everybody go on until nobody can. */
function settle(w: World): void {
  w.m.kernel.sched.runUntil(() => false, 2000);
}

describe.each(['intel-svm', 'arm-smmu-sva'])('%s', (name) => {
  it('a group is answered once, when its last request has come; the first error is the answer and skips the rest', () => {
    const w = world({ device: name });
    send(w, 3, 0, false);
    send(w, 4, 1, true);
    settle(w);
    expect(w.answers).toEqual([[4, PRG_SUCCESS]]);
    send(w, 3, 100, false);
    send(w, 3, 1, true);
    settle(w);
    expect(w.answers).toEqual([
      [4, PRG_SUCCESS],
      [3, PRG_INVALID],
    ]);
  });

  it('overflow: the hardware answers the last request, what was logged of the group is dropped, then all is as before', () => {
    const w = world({ device: name, iommu: { pprLogEntries: 2 } });
    send(w, 1, 100, false);
    send(w, 2, 0, true);
    send(w, 1, 0, true);
    expect([w.answers, w.device.iommu.isPprOverflow, w.device.iommu.pprOverflows]).toEqual([
      [[1, PRG_SUCCESS]],
      true,
      1,
    ]);
    // Nothing is logged until the overflow is cleared, even if there is room.
    w.device.iommu.pprLog.shift();
    send(w, 3, 0, true);
    expect(w.answers.at(-1)).toEqual([3, PRG_SUCCESS]);
    settle(w);
    expect([w.device.iommu.isPprOverflow, w.answers.at(-1)]).toEqual([false, [2, PRG_SUCCESS]]);
  });

  it('overflow: a request without its end does not join the next group of its index', () => {
    const w = world({ device: name, iommu: { pprLogEntries: 1 } });
    send(w, 1, 100, false);
    send(w, 1, 0, true);
    settle(w);
    send(w, 1, 0, true);
    settle(w);
    expect(w.answers).toEqual([
      [1, PRG_SUCCESS],
      [1, PRG_SUCCESS],
    ]);
  });

  it('an instruction fetch needs VM_EXEC', () => {
    const w = world({ device: name });
    expect(w.m.run(w.device.ats.fetch(0, VA))).toBe(ACCESS_INVALID);
    expect(w.m.run(w.device.ats.access(0, VA, false, VA))).toBe(ACCESS_DONE);
    expect(w.m.run(w.device.ats.fetch(0, VA))).toBe(ACCESS_INVALID);
  });

  it('a stopped PASID: nothing begins, its Stop Marker has no answer, nothing is left when unbind returns', () => {
    for (let seed = 1; seed < 30; seed++) {
      const w = world({ device: name, ats: { engines: 2 } }, seed);
      const ends: number[] = [];
      const access = function* (e: number): KernelPath<void> {
        ends.push(yield* w.device.accessor.access(e, VA + e * PAGE, true, VA + 4 * PAGE));
      };
      expect(w.m.interleave({ a: access(0), b: access(1), unbind: w.device.unbind() })).toBe('reached');
      expect(w.m.run(w.device.accessor.access(0, VA, false, VA))).toBe(ACCESS_INVALID);
      expect([w.judge.results().violations, w.judge.results().unanswered]).toEqual([[], 0]);
      expect(ends.every((end) => end === ACCESS_DONE || end === ACCESS_INVALID)).toBe(true);
    }
  });
});

it('intel-svm: a request kept after an overflow spoils the next group', () => {
  const w = world({ device: 'intel-svm', iommu: { pprLogEntries: 1 }, intelSvm: { mistake: 'partials-kept' } });
  send(w, 1, 100, false);
  send(w, 1, 0, true);
  settle(w);
  send(w, 1, 0, true);
  settle(w);
  expect(w.answers.at(-1)).toEqual([1, PRG_INVALID]);
});

it('arm-smmu-sva: a group answered with its last error hides the first', () => {
  const w = world({ device: 'arm-smmu-sva', armSmmu: { mistake: 'last-error-wins' } });
  send(w, 3, 100, false);
  send(w, 3, 1, true);
  settle(w);
  expect(w.answers).toEqual([[3, PRG_SUCCESS]]);
});

describe('AMD', () => {
  it('a log that overflowed is restarted; the device that was told Failure stops until it is reset', () => {
    const w = world({ device: 'amd-iommu-v2', iommu: { pprLogEntries: 0 } });
    expect(w.m.run(w.device.accessor.access(0, VA, false, VA))).toBe(ACCESS_DEAD);
    settle(w);
    expect([w.answers, w.device.iommu.isPprOverflow]).toEqual([[[0, PRG_FAILURE]], false]);
    Object.assign(w.device.iommu.config, { pprLogEntries: 8 });
    w.device.ats.reset();
    expect(w.m.run(w.device.accessor.access(0, VA, false, VA))).toBe(ACCESS_DONE);
  });

  it('a request that is lost leaves the device waiting until it is reset', () => {
    const w = world({ device: 'amd-iommu-v2', iommu: { pprLogEntries: 0, overflowAnswer: NO_ANSWER } });
    const { sched } = w.m.kernel;
    let end = -1;
    const t = (function* (): KernelPath<void> {
      end = yield* w.device.accessor.access(0, VA, false, VA);
    })();
    sched.spawn('engine', 'device', t);
    settle(w);
    expect([end, w.answers, w.judge.results().unanswered]).toEqual([-1, [], 1]);
    w.device.ats.reset();
    settle(w);
    expect([end, w.judge.results().unanswered]).toEqual([ACCESS_DEAD, 0]);
  });
});
