// Entry "shootdown/report": events and timelines in words.

export { Describer, type LaneKind, laneOf, type Names } from './describe.ts';
export { formatTimeline, layoutTimeline, type TimelineLayout } from './timeline.ts';
