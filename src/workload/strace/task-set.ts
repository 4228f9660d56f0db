/**
 * Which tasks are alive, as far as the text shows, so that a line without a tid finds its task.
 *
 * When strace -f writes to stderr it prints a tid only while several tasks are alive. Lines before that belong to the first
 * task, whose number nobody has printed yet: it is task 0 (or the number that the caller gives) for good, and `resolve`
 * maps its number to that once it shows up. Later, a line without a tid belongs to the last survivor.
 */
export class TaskSet {
  private readonly alive = new Set<number>();
  /** Tids announced by a clone result or an `attached` note: not the first task. */
  private readonly children = new Set<number>();
  private firstTid: number;
  /** True while the first task's printed number is unknown. */
  private isFirstUnnamed = false;
  private firstPrintedTid = -1;
  private hasFirst = false;
  private lastTid: number;

  constructor(defaultTid: number) {
    this.firstTid = defaultTid;
    this.lastTid = defaultTid;
  }

  /** Number under which the first task was printed, if its first lines had none; else null. */
  get printedNumberOfFirst(): number | null {
    return this.firstPrintedTid >= 0 ? this.firstPrintedTid : null;
  }

  /** The task of a line that prints `tid`. */
  resolve(tid: number): number {
    if (tid === this.firstPrintedTid) tid = this.firstTid;
    else if (this.isFirstUnnamed && !this.children.has(tid) && !this.alive.has(tid)) {
      this.isFirstUnnamed = false;
      this.firstPrintedTid = tid;
      tid = this.firstTid;
    }
    this.hasFirst = true;
    this.alive.add(tid);
    this.lastTid = tid;
    return tid;
  }

  /** The task of a line that prints no tid; a guess if several are alive. */
  resolveUnprinted(): { readonly tid: number; readonly isGuess: boolean } {
    if (!this.hasFirst) {
      this.hasFirst = true;
      this.isFirstUnnamed = true;
      this.alive.add(this.firstTid);
    }
    if (this.alive.size === 1) {
      for (const tid of this.alive) this.lastTid = tid;
      return { tid: this.lastTid, isGuess: false };
    }
    if (this.alive.size === 0) return { tid: this.lastTid, isGuess: false };
    const tid = this.alive.has(this.firstTid) ? this.firstTid : this.lastTid;
    return { tid, isGuess: true };
  }

  /** A clone returned this tid, or strace said that it attached to it. */
  born(tid: number): void {
    this.children.add(tid);
    this.alive.add(tid);
  }

  /** strace attached to it: like born, unless it is the very first task (strace -p). */
  attached(tid: number): void {
    if (this.hasFirst) this.born(tid);
  }

  died(tid: number): void {
    this.alive.delete(tid);
    this.children.delete(tid);
  }
}
