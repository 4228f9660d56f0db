// The naive twin of a soak's memory: which word was stored last, at every address, whatever frame it is in. Each word has one writer: a
// program's thread, an engine, a driver's cache. Every access of a CPU or of the device to a page compares all words that are known of
// the page with the frame that was reached, in the same step; `last` reads all of them again through the device.
//
// What a call gives up (munmap, MAP_FIXED, MADV_DONTNEED, MADV_FREE) is forgotten before the call and, as stores may land in the middle
// of it, after. What mremap moves is known again at its new place, but for words stored to meanwhile.
import {
  E_CPU_ACCESS,
  E_DEV_ACCESS,
  EV_A,
  EV_B,
  EV_END,
  EV_GEN,
  EV_MM,
  EV_PFN,
  EV_START,
  EV_TYPE,
} from '../../src/abi/events.ts';
import type { RecordSink } from '../../src/base/record-log.ts';
import { ACCESS_DONE } from '../../src/device/accessor.ts';
import type { Device } from '../../src/device/device.ts';
import type { Kernel } from '../../src/mm/kernel.ts';
import type { KernelPath } from '../../src/sched/path.ts';

const PAGE = 4096;

type Words = Map<number, number>;

/** A call under way that changes what a range holds: pages [first, end), and where the first of them goes (-1: nowhere). */
export interface Change {
  readonly first: number;
  readonly end: number;
  readonly to: number;
  /** What moves, by page from the first on; null: something came in between. */
  moved: Words[] | null;
}

/** Read by a device, or an error that it was given. */
interface Reader {
  /** What the last load has read, where the device says. */
  readonly lastRead?: number;
}

export class SoakData implements RecordSink {
  readonly #k: Kernel;
  readonly #mm: number;
  readonly #pages = new Map<number, Words>();
  readonly #changes = new Set<Change>();
  readonly #double = new Float64Array(1);
  readonly #halves = new Int32Array(this.#double.buffer);
  programStores = 0;
  deviceStores = 0;
  /** Words compared when a CPU, and when the device reached their page. */
  comparedByPrograms = 0;
  comparedByDevice = 0;
  /** Pages that came to another address with all that was stored there. */
  movedPages = 0;
  /** Words read by the device in the end. */
  readInTheEnd = 0;
  wrong = 0;
  /** The first word that was wrong; '' while none was. */
  firstWrong = '';

  constructor(k: Kernel, mm: number) {
    this.#k = k;
    this.#mm = mm;
    k.memory.log.attach(this);
  }

  // --- accesses

  /** Of the program or of the device, in this step. */
  onRecord(ring: Float64Array, at: number): void {
    const type = ring[at + EV_TYPE]!;
    if ((type !== E_CPU_ACCESS && type !== E_DEV_ACCESS) || ring[at + EV_MM] !== this.#mm) return;
    const start = ring[at + EV_START]!;
    const page = Math.floor(start / PAGE);
    if (ring[at + EV_GEN] !== ring[at + EV_A]) {
      this.#say(`${type === E_DEV_ACCESS ? 'the device' : 'a CPU'} reaches a frame that was freed`, start);
      return;
    }
    const base = (ring[at + EV_PFN]! * PAGE) / 4;
    if (type === E_DEV_ACCESS && ring[at + EV_B] === 1) {
      this.deviceStores++;
      for (let va = start; va < ring[at + EV_END]!; va += 4)
        this.#store(page, (va % PAGE) / 4, this.#k.memory.words[base + (va % PAGE) / 4]!);
    }
    this.#compare(page, base, type === E_DEV_ACCESS);
  }

  /** The program has stored a word, in this step. */
  stored(va: number, value: number): void {
    this.programStores++;
    this.#store(Math.floor(va / PAGE), (va % PAGE) / 4, value);
  }

  #store(page: number, word: number, value: number): void {
    let isChanging = false;
    for (const c of this.#changes) {
      const from = page - c.first;
      const to = page - c.to;
      const pages = c.end - c.first;
      if (c.moved !== null && from >= 0 && from < pages) c.moved[from]!.delete(word);
      if (c.moved !== null && c.to >= 0 && to >= 0 && to < pages) c.moved[to]!.delete(word);
      isChanging ||= (from >= 0 && from < pages) || (c.to >= 0 && to >= 0 && to < pages);
    }
    if (isChanging) return;
    let words = this.#pages.get(page);
    if (words === undefined) {
      words = new Map();
      this.#pages.set(page, words);
    }
    words.set(word, value);
  }

  #compare(page: number, base: number, isDevice: boolean): void {
    const words = this.#pages.get(page);
    if (words === undefined) return;
    if (isDevice) this.comparedByDevice += words.size;
    else this.comparedByPrograms += words.size;
    for (const [word, expected] of words) {
      const found = this.#k.memory.words[base + word]!;
      if (found === expected) continue;
      words.set(word, found);
      this.#say(`${isDevice ? 'the device' : 'a CPU'} finds ${found}`, page * PAGE + word * 4, expected);
    }
  }

  #say(what: string, va: number, expected: number | null = null): void {
    this.wrong++;
    const where = expected === null ? '' : `, where ${expected} was stored last`;
    if (this.firstWrong === '')
      this.firstWrong = `step ${this.#k.sched.steps}: ${what} at 0x${va.toString(16)}${where}`;
  }

  // --- calls

  /** A call begins that gives up [start, start + length), or (`to`) moves it. */
  begin(start: number, length: number, to = -1): Change {
    const first = Math.floor(start / PAGE);
    const end = Math.ceil((start + length) / PAGE);
    const moved = to < 0 ? null : Array.from({ length: end - first }, (_, i) => new Map(this.#pages.get(first + i)));
    const change: Change = { first, end, to: to < 0 ? -1 : Math.floor(to / PAGE), moved };
    this.#forget(change);
    this.#changes.add(change);
    return change;
  }

  /** It is over; `isMoved`: the pages are at their new place. */
  end(change: Change, isMoved = false): void {
    this.#changes.delete(change);
    this.#forget(change);
    if (!isMoved || change.moved === null) return;
    change.moved.forEach((words, i) => {
      this.movedPages++;
      this.#pages.set(change.to + i, words);
    });
  }

  /** Nothing is known of its pages, and what else moves there is not known any more either. */
  #forget(change: Change): void {
    const { first, end, to } = change;
    for (let page = first; page < end; page++) this.#pages.delete(page);
    if (to >= 0) for (let page = to; page < to + end - first; page++) this.#pages.delete(page);
    for (const other of this.#changes) {
      if (other === change || !meets(change, other)) continue;
      other.moved = null;
      change.moved = null;
    }
  }

  // --- the end

  /** Every word that is known, through the device's own reads. Everybody else stands still. */
  *last(device: Device): KernelPath<void> {
    const { accessor } = device;
    for (const page of [...this.#pages.keys()].sort((a, b) => a - b)) {
      for (const word of [...(this.#pages.get(page)?.keys() ?? [])].filter(
        (w, _, all) => w % 2 === 0 || !all.includes(w - 1),
      )) {
        const va = page * PAGE + (word - (word % 2)) * 4;
        this.readInTheEnd++;
        const answer = yield* accessor.access(0, va, false, (page + 1) * PAGE);
        if (answer !== ACCESS_DONE)
          this.#say(`the device is answered ${answer}`, va, this.#pages.get(page)!.get(word)!);
        else this.#compareRead(page, word - (word % 2), (accessor as Reader).lastRead);
      }
    }
  }

  /** What the device says it has read: both halves of the double, as far as they are known. */
  #compareRead(page: number, word: number, read: number | undefined): void {
    // A NaN has many forms.
    if (read === undefined || Number.isNaN(read)) return;
    this.#double[0] = read;
    for (let half = 0; half < 2; half++) {
      const expected = this.#pages.get(page)!.get(word + half);
      const found = this.#halves[half]!;
      if (expected !== undefined && found !== expected)
        this.#say(`the device reads ${found}`, page * PAGE + (word + half) * 4, expected);
    }
  }
}

function meets(a: Change, b: Change): boolean {
  const within = (x: number, y: number, pages: number, other: number): boolean =>
    x >= 0 && y >= 0 && x < y + other && y < x + pages;
  const [m, n] = [a.end - a.first, b.end - b.first];
  return (
    within(a.first, b.first, m, n) ||
    within(a.first, b.to, m, n) ||
    within(a.to, b.first, m, n) ||
    within(a.to, b.to, m, n)
  );
}
