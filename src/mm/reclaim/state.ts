// State of reclaim: LRU lists and counters. Filled in by the room's owner.
export class ReclaimState {
  readonly frames: number;
  constructor(frames: number) {
    this.frames = frames;
  }
}
