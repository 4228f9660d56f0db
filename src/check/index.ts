// Entry "shootdown/check": the judge and what it reports. It needs a record log and nothing else of the machine.

export type { JudgeOptions } from './context.ts';
export type { Violation } from './findings.ts';
export { type DeviceState, Judge, type JudgeResults, type Verdict } from './judge.ts';
export { type LockFinding, LockOrder, type LockOrderOptions } from './lock-order.ts';
export { ALL_GAPS, type FindingKind, gapText, PROPERTIES, type Property, propertyOf } from './properties.ts';
export type { ResidencyCourse } from './residency.ts';
export type { Timeline } from './timeline.ts';
export type { WindowCause } from './windows.ts';
