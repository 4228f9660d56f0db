// What a check of a driver says. Plain data: it crosses threads, and --json prints it.

/** Of a cell (operation, property), and of an operation as a whole.
 *    clean           nobody found a violation, and the same device without callbacks was caught at the same bounds
 *    gap             only violations that are documented gaps of the real kernel
 *    violation       the device does what it must not
 *    not exercised   nothing was found, but the device without callbacks was not caught either: no evidence */
export type CellVerdict = 'clean' | 'gap' | 'violation' | 'not exercised';

/** What limited the exploration. Memory is sequentially consistent: missing barriers are not found. */
export interface Bounds {
  /** Executions at most. */
  readonly executions: number;
  /** Steps of one execution at most. */
  readonly steps: number;
  /** Of the search beyond exhaustive exploration: preemptions up to which every execution was seen, and random runs. */
  readonly preemptions: number | null;
  readonly randomRuns: number;
}

export interface ViolationReport {
  /** Number of the property, such as I1. */
  readonly property: string;
  readonly tag: string;
  readonly sentence: string;
  /** Number of the documented gap that explains it. */
  readonly gap: number | null;
  /** Steps of the minimised execution, those of its story, and its context switches. */
  readonly steps: number;
  readonly storySteps: number;
  readonly switches: number;
  /** For `shootdown trace`. */
  readonly schedule: string;
}

export interface OperationResult {
  readonly operation: string;
  readonly summary: string;
  readonly verdict: CellVerdict;
  /** Was every execution seen (up to the order of steps that do not touch)? */
  readonly exhaustive: boolean;
  readonly executions: number;
  /** Steps over all executions. */
  readonly steps: number;
  readonly bounds: Bounds;
  /** Verdict by property. */
  readonly cells: Readonly<Record<string, CellVerdict>>;
  readonly violations: readonly ViolationReport[];
  /** Share of the executions in which the device held a translation of a page that the operation took away or changed. */
  readonly heldShare: number;
  /** The same device without callbacks: executions, whether they were all, and the properties that it violates. */
  readonly nullExecutions: number;
  readonly nullExhaustive: boolean;
  readonly nullViolates: readonly string[];
  /** A passing execution, where one was asked for. */
  readonly passing: string | null;
  /** Orders of locks, and sleeps in the wrong place, that would go wrong in another run. */
  readonly lockFindings: readonly LockFinding[];
}

export interface LockFinding {
  readonly property: string;
  readonly tag: string;
  readonly sentence: string;
  /** Number of the documented gap that explains it. */
  readonly gap: number | null;
}

export interface CheckResult {
  readonly driver: string;
  readonly design: string;
  readonly device: string;
  readonly seed: number;
  readonly operations: readonly OperationResult[];
  readonly lockFindings: readonly LockFinding[];
  readonly seconds: number;
  /** Operations that were not begun or not finished: somebody stopped the check. */
  readonly unfinished: readonly string[];
}

/** The lock findings of all operations, each said once. */
export function distinctLockFindings(operations: readonly OperationResult[]): LockFinding[] {
  const bySentence = new Map<string, LockFinding>();
  for (const o of operations) for (const f of o.lockFindings) bySentence.set(f.sentence, f);
  return [...bySentence.values()];
}

/** The verdict of an operation over its cells: violation before gap before clean. */
export function verdictOfCells(cells: Iterable<CellVerdict>): CellVerdict {
  let verdict: CellVerdict = 'not exercised';
  for (const cell of cells) {
    if (cell === 'violation') return cell;
    if (cell === 'gap' || (cell === 'clean' && verdict !== 'gap')) verdict = cell;
  }
  return verdict;
}
