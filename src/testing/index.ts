// Entry "shootdown/testing": a driver's check inside a test runner, and scenarios from modules.

export type { CellVerdict, CheckResult, OperationResult, ViolationReport } from '../workload/check/results.ts';
export { defineScenario } from '../workload/scenario/define-scenario.ts';
export { loadScenario } from '../workload/scenario/file.ts';
export type { Scenario, Step, ThreadScript } from '../workload/scenario/scenario.ts';
export { type CheckDriverOptions, checkDriver, DriverViolation } from './check-driver.ts';
