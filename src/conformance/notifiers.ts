// The subscribers that a script registers. They do what the recorder's kernel module does: write down each callback, answer 0
// unless the script said otherwise (`omit`: callbacks that they do not have; `young`: what the aging callbacks answer; `eagain`:
// how many starts of sections that must not block are refused).
//
// Since 6.6 a subscriber is a mirror or a secondary TLB, not both. There the module registers two under one number: a mirror with
// everything else, and a TLB with arch_invalidate_secondary_tlbs, which takes the place of invalidate_range.

import { EAGAIN } from '../abi/errno.ts';
import { MMU_NOTIFY_NAMES } from '../abi/notifier.ts';
import type { NotifierMm, NotifierRange } from '../notifier/host.ts';
import { IntervalNotifier } from '../notifier/interval.ts';
import type { MmuNotifierOps } from '../notifier/linux-6.1.ts';
import type { Linux66Ops } from '../notifier/linux-6.6.ts';
import { MmuNotifier } from '../notifier/subscriptions.ts';
import type { AtomicPath, KernelPath } from '../sched/path.ts';
import { type Capture, pageName } from './capture.ts';
import { hex } from './record.ts';
import type { Gate } from './world.ts';

/** Callbacks that the recorder has. */
type OpName =
  | 'release'
  | 'clear_flush_young'
  | 'clear_young'
  | 'test_young'
  | 'change_pte'
  | 'invalidate_range_start'
  | 'invalidate_range_end'
  | 'invalidate_range'
  | 'arch_invalidate_secondary_tlbs'
  | 'alloc_notifier'
  | 'free_notifier';

/** How a script registers a notifier, or changes it later. */
export interface NotifierMode {
  omit: readonly string[];
  young: number;
  /** Refuses starts that must not block. */
  eagain: number;
}

/** A registered notifier: its number in the script and its mode. */
export class RecordingNotifier {
  readonly id: number;
  readonly mode: NotifierMode;
  readonly ops: MmuNotifierOps;
  mn: MmuNotifier<MmuNotifierOps>;
  /** The TLB that is registered with `mn`; null where a mirror is told everything. */
  readonly tlb: MmuNotifier<Linux66Ops> | null;
  readonly #capture: Capture;
  readonly #frames: (lo: number) => number;
  readonly #gate: Gate;

  /** `frameOf`: frame number of a present entry. `hasTlb`: secondary TLBs are subscribers of their own. */
  constructor(
    id: number,
    mode: NotifierMode,
    capture: Capture,
    frameOf: (lo: number) => number,
    gate: Gate,
    hasTlb: boolean,
  ) {
    this.id = id;
    this.mode = mode;
    this.#capture = capture;
    this.#frames = frameOf;
    this.#gate = gate;
    this.ops = this.#makeOps();
    this.tlb = hasTlb && !mode.omit.includes('invalidate_range') ? new MmuNotifier<Linux66Ops>(this.#tlbOps()) : null;
    this.mn = new MmuNotifier<MmuNotifierOps>(this.ops);
  }

  #note(op: OpName, mm: NotifierMm, fields: Readonly<Record<string, unknown>>): void {
    const name = this.#capture.mmNames.get(mm.id) ?? `mm${mm.id}`;
    this.#capture.push({ t: 'cb', op, id: this.id, mm: name, ...fields });
  }

  #range(op: OpName, range: NotifierRange): void {
    const { start, end, event, blockable, owner } = range;
    const fields = { start: hex(start), end: hex(end), event: MMU_NOTIFY_NAMES[event], blockable };
    this.#note(op, range.mm, owner === null ? fields : { ...fields, owner: true });
  }

  #young(op: OpName, mm: NotifierMm, start: number, end: number): boolean {
    this.#note(op, mm, { start: hex(start), end: hex(end), ret: this.mode.young });
    return this.mode.young !== 0;
  }

  #tlbOps(): Linux66Ops {
    const self = this;
    return {
      *archInvalidateSecondaryTlbs(_mn, mm, start, end): AtomicPath<void> {
        self.#note('arch_invalidate_secondary_tlbs', mm, { start: hex(start), end: hex(end) });
      },
    };
  }

  #makeOps(): MmuNotifierOps {
    const self = this;
    const ops: Required<MmuNotifierOps> = {
      *release(_mn, mm): KernelPath<void> {
        self.#note('release', mm, {});
      },
      *clearFlushYoung(_mn, mm, start, end): AtomicPath<boolean> {
        return self.#young('clear_flush_young', mm, start, end);
      },
      *clearYoung(_mn, mm, start, end): AtomicPath<boolean> {
        return self.#young('clear_young', mm, start, end);
      },
      *testYoung(_mn, mm, addr): AtomicPath<boolean> {
        self.#note('test_young', mm, { addr: hex(addr), ret: self.mode.young });
        return self.mode.young !== 0;
      },
      *changePte(_mn, mm, addr, lo, _hi): AtomicPath<void> {
        const pfn = self.#frames(lo);
        const page = self.#capture.see(pageName(pfn, self.#capture.kernel.memory.generation[pfn]!));
        self.#note('change_pte', mm, { addr: hex(addr), page });
      },
      *invalidateRangeStart(_mn, range): KernelPath<number> {
        const isRefused = self.mode.eagain !== 0 && !range.blockable;
        self.#range('invalidate_range_start', range);
        if (isRefused) return -EAGAIN;
        if (range.blockable) yield* self.#gate.pass(self.#capture.kernel.sched);
        return 0;
      },
      *invalidateRangeEnd(_mn, range): KernelPath<void> {
        self.#range('invalidate_range_end', range);
      },
      *invalidateRange(_mn, mm, start, end): AtomicPath<void> {
        self.#note('invalidate_range', mm, { start: hex(start), end: hex(end) });
      },
      allocNotifier(mm): object {
        self.#note('alloc_notifier', mm, {});
        self.mn = new MmuNotifier<MmuNotifierOps>(self.ops);
        return self.mn;
      },
      freeNotifier(mn): void {
        if (mn.mm !== null) self.#note('free_notifier', mn.mm, {});
      },
    };
    const kept: Partial<Record<string, unknown>> = { ...ops };
    for (const name of this.mode.omit) delete kept[camelCase(name)];
    return kept as MmuNotifierOps;
  }
}

function camelCase(name: string): string {
  return name.replaceAll(/_(\w)/g, (_all, letter: string) => letter.toUpperCase());
}

/** An interval subscriber with its number in the script, and the sequence number of its last read_begin. */
export class RecordingInterval {
  readonly id: number;
  readonly sub: IntervalNotifier;
  seq = 0;

  constructor(id: number, capture: Capture, setSeq: (sub: IntervalNotifier, seq: number) => void) {
    this.id = id;
    this.sub = new IntervalNotifier({
      *invalidate(sub, range, seq): KernelPath<boolean> {
        const { start, end, event, blockable } = range;
        const mm = capture.mmNames.get(range.mm.id) ?? '';
        capture.push({
          t: 'iv',
          id,
          mm,
          start: hex(start),
          end: hex(end),
          event: MMU_NOTIFY_NAMES[event]!,
          blockable,
        });
        setSeq(sub, seq);
        return true;
      },
    });
  }
}
