// One operation (or a scenario of the user's own) with one driver: explore, judge each property against the same device without
// callbacks, minimise what was found.
//
//   1. every execution, up to the order of steps that do not touch, within the bound (explore/dpor)
//   2. where that did not end: every execution with few preemptions, then random ones (explore/bounded, explore/pct)
//   3. the null subject in the same way, until each property that it can violate within the bounds was seen
//
// The verdict of a cell is then a matter of sets; nothing here knows an operation or a property by name.

import { Footprint } from '../../base/footprint.ts';
import { PROPERTIES } from '../../check/properties.ts';
import { explore } from '../../explore/dpor.ts';
import { minimise } from '../../explore/minimise.ts';
import { randomWalk } from '../../explore/random.ts';
import { formatCounterexample, scenarioDigest } from '../../explore/schedule-string.ts';
import { goalOf, type Witness } from '../../explore/search.ts';
import type { Program, Schedule } from '../../explore/world.ts';
import type { Scenario } from '../scenario/scenario.ts';
import { scenarioProgram } from '../scenario/scenario-world.ts';
import type { Subject } from '../scenario/subject.ts';
import { type CellVerdict, type OperationResult, type ViolationReport, verdictOfCells } from './results.ts';
