// Plain memory beside the machine: what each page of each address space must hold, at every step. A page has sixteen words that
// anybody writes: eight of programs (one for each thread slot) and eight of device engines. The twin is exact wherever the order of
// things is known (every store is noted in the step in which it happens); where an operation is under way over a page, or a
// copy was being made, a word has a set of values that it may have, and the first look at it settles which.
import { patternByte } from '../../src/mm/file/contents.ts';
import type { Kernel } from '../../src/mm/kernel.ts';
import type { Inode } from '../../src/mm/types.ts';

export const PAGE = 4096;
/** Words of programs, then words of engines. */
export const PROGRAM_SLOTS = 8;
export const SLOTS = 16;

/** Byte offset of a slot: programs 4 bytes, engines 8. */
export function slotOffset(slot: number): number {
  return slot < PROGRAM_SLOTS ? slot * 448 : PAGE - 64 + (slot - PROGRAM_SLOTS) * 8;
}

function wordOf(k: Kernel, pfn: number, slot: number): number {
  const at = pfn * PAGE + slotOffset(slot);
  return slot < PROGRAM_SLOTS ? k.memory.words[at >>> 2]! : k.memory.doubles[at >>> 3]!;
}

/** Contents of one page. */
export class PageBytes {
  readonly values = new Float64Array(SLOTS);
  /** Other values that a word may have; null: none. */
  readonly maybe: (number[] | null)[] = new Array<number[] | null>(SLOTS).fill(null);
  /** MADV_FREE: may become zero until somebody writes. */
  isLazy = false;

  copy(): PageBytes {
    const c = new PageBytes();
    c.values.set(this.values);
    for (let s = 0; s < SLOTS; s++) c.maybe[s] = this.maybe[s]?.slice() ?? null;
    c.isLazy = this.isLazy;
    return c;
  }

  /** The word has that value now. */
  store(slot: number, value: number): void {
    if (this.isLazy) {
      this.isLazy = false;
      for (let s = 0; s < SLOTS; s++) this.mayBe(s, 0);
    }
    this.values[slot] = value;
    this.maybe[slot] = null;
  }

  /** The word may have that value, or those that it may have had before. */
  mayBe(slot: number, value: number): void {
    const set = this.maybe[slot];
    if (set === null || set === undefined) this.maybe[slot] = [value];
    else if (!set.includes(value)) set.push(value);
  }

  zero(): void {
    this.values.fill(0);
    this.maybe.fill(null);
    this.isLazy = false;
  }

  /** Text of the first word in frame `pfn` that is none of those it may be; '' when all are right. Settles open ones. */
  compare(k: Kernel, pfn: number): string {
    for (let s = 0; s < SLOTS; s++) {
      const got = wordOf(k, pfn, s);
      const set = this.maybe[s];
      if (set !== null && set !== undefined) {
        if (set.includes(got)) this.values[s] = got;
        if (!this.isLazy && Object.is(got, this.values[s])) this.maybe[s] = null;
      }
      if (Object.is(got, this.values[s]) || (this.isLazy && got === 0)) continue;
      return `word ${s} is ${got}, written was ${this.values[s]}${set ? ` or ${set}` : ''}`;
    }
    return '';
  }
}

export class FileTwin {
  readonly pages: PageBytes[] = [];
  sizePages: number;
  /** Truncations and hole punches under way; their begins and ends so far; writers that keep them away. */
  cutting = 0;
  cuts = 0;
  writers = 0;
  /** Stores during the cut. */
  readonly cutStores: { readonly bytes: PageBytes; readonly slot: number; readonly value: number }[] = [];
  /** Copies of its pages that are being made: stores meanwhile go to these too. */
  readonly copying = new Set<(bytes: PageBytes, slot: number, value: number) => void>();

  /** `inode`: a regular file begins with its pattern; null: shared memory of zeros. */
  constructor(inode: Inode | null, count: number, sizePages: number) {
    this.sizePages = sizePages;
    for (let i = 0; i < count; i++) {
      const bytes = new PageBytes();
      if (inode !== null && i < this.sizePages) pattern(inode.id, i, bytes);
      this.pages.push(bytes);
    }
  }
}

function pattern(inode: number, index: number, bytes: PageBytes): void {
  const view = new DataView(new ArrayBuffer(8));
  for (let s = 0; s < SLOTS; s++) {
    const at = index * PAGE + slotOffset(s);
    for (let i = 0; i < 8; i++) view.setUint8(i, patternByte(inode, at + i));
    bytes.values[s] = s < PROGRAM_SLOTS ? view.getInt32(0, true) : view.getFloat64(0, true);
  }
}

/** One page of an address space. */
export class PageTwin {
  isReadable = true;
  isWritable = true;
  /** Private contents, once they differ from the file's; always for private anonymous memory. */
  own: PageBytes | null;
  readonly file: FileTwin | null;
  readonly index: number;
  readonly isShared: boolean;
  isWiped = false;
  isLeftOut = false;
  /** Operations under way that change what stands here. */
  busy = 0;
  /** A fork came upon an operation under way: what the child has here is not known. */
  isUnknown = false;
  /** A store came to its end here while an operation was under way. */
  wasStored = false;
  /** What may stand here as well while busy. */
  next: PageBytes | null = null;

  constructor(own: PageBytes | null, file: FileTwin | null, index: number, isShared: boolean) {
    this.own = own;
    this.file = file;
    this.index = index;
    this.isShared = isShared;
  }

  get bytes(): PageBytes | null {
    return this.own ?? this.file?.pages[this.index] ?? null;
  }

  /** Is it known what stands here? */
  get isKnown(): boolean {
    return !this.isUnknown && this.busy === 0 && (this.file === null || this.file.cutting === 0);
  }
}

/** A page of which nothing is known. */
export function unknownPage(): PageTwin {
  const page = new PageTwin(null, null, 0, false);
  page.isUnknown = true;
  return page;
}

/** A fork under way: what changed meanwhile, for the child's sake. */
interface ForkWindow {
  readonly stores: { readonly bytes: PageBytes; readonly slot: number; readonly values: readonly number[] }[];
  readonly unknown: Set<number>;
}

/** One address space: page address -> page. */
export class MmTwin {
  readonly pages = new Map<number, PageTwin>();
  readonly #forks = new Set<ForkWindow>();
  /** Stores under way, by page, that began when the page was not a private one of a file. */
  readonly #storing = new Map<number, number>();

  beginStore(va: number): void {
    this.#storing.set(va, (this.#storing.get(va) ?? 0) + 1);
  }

  endStore(va: number): void {
    const left = this.#storing.get(va)! - 1;
    if (left > 0) this.#storing.set(va, left);
    else this.#storing.delete(va);
  }

  /** The private page of a file lost its own contents, or came here. A store under way may give it a copy at any moment. */
  #mayBeCopied(va: number, page: PageTwin, wasStored: boolean): void {
    const isFilePage = page.own === null && page.file !== null && !page.isShared;
    if (isFilePage && (wasStored || this.#storing.has(va))) page.isUnknown = true;
  }

  /** The page, or one that is known to be nothing. */
  begin(va: number): PageTwin {
    let page = this.pages.get(va);
    if (page === undefined) {
      page = new PageTwin(null, null, 0, false);
      this.pages.set(va, page);
    }
    page.busy++;
    for (const f of this.#forks) f.unknown.add(va);
    return page;
  }

  /** The operation is over and `page` stands there now; null: nothing. */
  end(va: number, page: PageTwin | null): void {
    for (const f of this.#forks) f.unknown.add(va);
    if (page === null) this.pages.delete(va);
    else {
      this.#mayBeCopied(va, page, this.pages.get(va)?.wasStored === true);
      page.wasStored = false;
      page.busy = 0;
      page.next = null;
      this.pages.set(va, page);
    }
  }

  /** A store in this step. */
  store(va: number, slot: number, value: number): void {
    const page = this.pages.get(va - (va % PAGE));
    if (page === undefined) return;
    const { bytes, file } = page;
    if (page.busy > 0) page.wasStored = true;
    if (file !== null && !page.isShared && page.own === null) {
      // It has a copy now, made at a moment that nobody noted.
      page.isUnknown = true;
      return;
    }
    if (bytes === null) {
      page.next?.mayBe(slot, value);
      return;
    }
    for (const f of this.#forks)
      f.stores.push({ bytes, slot, values: [bytes.values[slot]!, ...(bytes.maybe[slot] ?? []), value] });
    if (file !== null && page.own === null) for (const note of file.copying) note(bytes, slot, value);
    if (file !== null && file.cutting > 0 && page.own === null) file.cutStores.push({ bytes, slot, value });
    if (page.isKnown) bytes.store(slot, value);
    else {
      bytes.mayBe(slot, value);
      page.next?.mayBe(slot, value);
    }
  }

  /** The page changed beside the operations of this address space (its file was cut). */
  disturb(va: number, page: PageTwin): void {
    this.#mayBeCopied(va, page, false);
    for (const f of this.#forks) f.unknown.add(va);
  }

  beginFork(): ForkWindow {
    const window: ForkWindow = { stores: [], unknown: new Set() };
    for (const [va, page] of this.pages) if (page.busy > 0) window.unknown.add(va);
    this.#forks.add(window);
    return window;
  }

  /** The child's memory; null: the fork failed. */
  endFork(window: ForkWindow, isMade: boolean): MmTwin | null {
    this.#forks.delete(window);
    if (!isMade) return null;
    const child = new MmTwin();
    const copies = new Map<PageBytes, PageBytes>();
    for (const [va, page] of this.pages) {
      if (page.isLeftOut && !window.unknown.has(va)) continue;
      const own = page.own === null ? null : page.isWiped ? new PageBytes() : page.own.copy();
      if (own !== null && !page.isWiped) copies.set(page.own!, own);
      const copy = new PageTwin(own, page.file, page.index, page.isShared);
      copy.isReadable = page.isReadable;
      copy.isWritable = page.isWritable;
      copy.isWiped = page.isWiped;
      if (page.isUnknown || window.unknown.has(va)) copy.isUnknown = true;
      child.pages.set(va, copy);
    }
    for (const va of window.unknown) if (!child.pages.has(va)) child.pages.set(va, unknownPage());
    for (const s of window.stores) for (const v of s.values) copies.get(s.bytes)?.mayBe(s.slot, v);
    return child;
  }
}
