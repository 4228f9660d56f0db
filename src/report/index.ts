// Entry "shootdown/report": events, timelines and replayed schedules in words and pictures.

export { type ShownTrace, shownTrace } from './counterexample.ts';
export { Describer, type LaneKind, laneOf, type Names } from './describe.ts';
export { perfettoJson } from './perfetto.ts';
export { stepperHtml } from './stepper.ts';
export { timelineSvgFile } from './svg.ts';
export { formatTimeline, layoutTimeline, type TimelineLayout } from './timeline.ts';
export { layoutTrace } from './trace-layout.ts';
