// What became of every recorded call: verified, learned, diverged or skipped, and why. Nothing is dropped without a count.

export type Outcome = 'verified' | 'learned' | 'diverged' | 'skipped';

export interface Divergence {
  /** Line of the recording at which the call's result stands. */
  readonly line: number;
  /** Name under which the call is counted. */
  readonly name: string;
  /** The call as recorded, cut to a printable length. */
  readonly call: string;
  readonly expected: string;
  readonly actual: string;
}

export interface CallCounts {
  verified: number;
  learned: number;
  diverged: number;
  skipped: number;
}

/** Divergences kept in full; all are counted. */
export const DIVERGENCES_KEPT = 1000;

export class Tally implements CallCounts {
  verified = 0;
  learned = 0;
  diverged = 0;
  skipped = 0;
  /** Calls that only tell the replayer what the files and descriptors are: applied, their results are input. */
  context = 0;
  /** Calls that mean nothing to memory. */
  ignored = 0;
  /** Verified in another order than that of their results, as they overlapped (each stands for a pair of calls). */
  reordered = 0;
  readonly byCall = new Map<string, CallCounts>();
  readonly divergences: Divergence[] = [];
  /** Reason of a skip -> how often. */
  readonly skips = new Map<string, number>();

  /** Memory and process calls seen. */
  get calls(): number {
    return this.verified + this.learned + this.diverged + this.skipped;
  }

  count(name: string, outcome: Outcome): void {
    let counts = this.byCall.get(name);
    if (counts === undefined) {
      counts = { verified: 0, learned: 0, diverged: 0, skipped: 0 };
      this.byCall.set(name, counts);
    }
    counts[outcome]++;
    this[outcome]++;
  }

  diverge(divergence: Divergence): void {
    this.count(divergence.name, 'diverged');
    if (this.divergences.length < DIVERGENCES_KEPT) this.divergences.push(divergence);
  }

  skip(name: string, reason: string): void {
    this.count(name, 'skipped');
    this.skips.set(reason, (this.skips.get(reason) ?? 0) + 1);
  }
}
