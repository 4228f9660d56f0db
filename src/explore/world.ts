// What an explorer sees of a program: threads that can make one step at a time. A Program makes worlds; equal choices make
// equal worlds, so that any execution is its list of choices. The explorer rebuilds and replays, it never copies a world.
//
//   const world = program.build(choices, footprint);
//   while (world.enabled() !== 0) { footprint.clear(); world.step(thread); }
//   world.end();
//
// A step is atomic. What it touched stands in the footprint (base/footprint): two steps of different threads whose
// footprints share no object that either writes commute, and leave the same set of findings whatever their order. Monitors
// name the objects on which their verdict depends as OBJ_PROPERTY.

import type { Footprint } from '../base/footprint.ts';
import type { Chooser } from '../sched/scheduler.ts';

/** Threads that a world may have: sets of them are bits of an integer. */
export const THREADS_MAX = 31;

/** Something that a monitor reports: of an execution, at one of its steps. */
export interface Finding {
  /** Number of the property (check/properties), such as I1. */
  readonly property: string;
  /** Its tag, such as UAF-DATA. */
  readonly tag: string;
  readonly kind: 'safety' | 'liveness';
  /** One sentence: who did what to what. */
  readonly sentence: string;
  /** Number of the documented gap of the real kernel that explains it, or null. */
  readonly gap: number | null;
  /** Step of the execution, from 1, after which it was reported. */
  readonly step: number;
  /** What it is about, where it is about a page: address space, first byte address, frame. Property, mm and page are its identity. */
  readonly mm?: number;
  readonly page?: number;
  readonly pfn?: number;
}

/** A program in execution. */
export interface World {
  /** Bit i: thread i can make a step. 0: the execution is over (or nothing can go on: `end` says which). */
  enabled(): number;
  /** One step of thread i, which is enabled. True: it only found that it must wait, and changed nothing. */
  step(thread: number): boolean;
  /** Findings so far: cheap, asked after every step. */
  findingCount(): number;
  /** The execution is over, or (`isCut`) the explorer goes no further with it for now. All findings. With `isCut` it only asks:
   *  the world may go on. */
  end(isCut: boolean): readonly Finding[];
  /** Name of the thread. */
  threadName(thread: number): string;
  /** Operations (system calls, accesses) that the thread has completed, where somebody counts them. */
  completed?(thread: number): number;
  /** Is everything done that has an end? What may still go on is background that never ends. */
  isDone?(): boolean;
  /** The final state in canonical form, where a test compares it. */
  finalState?(): string;
}

export interface Program {
  readonly name: string;
  /** A world at its beginning. Steps ask `chooser` for every choice that is not the explorer's choice of a thread
   *  (allocation failure, delay ...) and note what they touch in `footprint`. */
  build(chooser: Chooser, footprint: Footprint): World;
}

/** One decision of an execution: the thread that stepped, and the answers that its step got, in order. */
export interface Choice {
  readonly thread: number;
  readonly answers: readonly number[];
}

/** A whole execution: enough to replay it. */
export type Schedule = readonly Choice[];
