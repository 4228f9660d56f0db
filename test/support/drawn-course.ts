// A course of events drawn as a timeline, where nothing is violated: what threads do one after the other, each event about one page.

import { readFileSync, writeFileSync } from 'node:fs';
import { expect } from 'vitest';
import {
  E_CALLBACK,
  E_CPU_ACCESS,
  E_DEV_ACCESS,
  E_DEV_FILL,
  E_DEV_INVAL,
  E_FAULT,
  E_PTE,
  E_SECTION_END,
  E_SECTION_START,
  EV_END,
  EV_START,
  EV_STEP,
  EV_TYPE,
  EV_WORDS,
} from '../../src/abi/events.ts';
import type { RecordSink } from '../../src/base/record-log.ts';
import { Describer, LANES, type LaneKind, laneOf, type Names } from '../../src/report/describe.ts';
import { plainPaint } from '../../src/report/lanes.ts';
import { formatTimeline } from '../../src/report/timeline.ts';

const TYPES = [
  E_FAULT,
  E_SECTION_START,
  E_SECTION_END,
  E_CALLBACK,
  E_PTE,
  E_DEV_FILL,
  E_DEV_INVAL,
  E_CPU_ACCESS,
  E_DEV_ACCESS,
];

/** Keeps what happens to the page at `va`. */
export class Course implements RecordSink {
  readonly #records: Float64Array[] = [];
  readonly #va: number;

  constructor(va: number) {
    this.#va = va;
  }

  onRecord(ring: Float64Array, at: number): void {
    if (!TYPES.includes(ring[at + EV_TYPE]!)) return;
    if (ring[at + EV_START]! >= this.#va + 4096 || Math.max(ring[at + EV_END]!, ring[at + EV_START]! + 1) <= this.#va)
      return;
    this.#records.push(ring.slice(at, at + EV_WORDS));
  }

  draw(title: string, names: Names): string {
    const describer = new Describer(names);
    const lanes: { name: string; kind: LaneKind }[] = [];
    const found = this.#records.map((record) => laneOf(record, names));
    for (const { name, lane } of found)
      if (!lanes.some((l) => l.name === name && l.kind === lane)) lanes.push({ name, kind: lane });
    lanes.sort((a, b) => LANES.indexOf(a.kind) - LANES.indexOf(b.kind));
    const lines = this.#records.map((record, i) => ({
      step: record[EV_STEP]!,
      lane: lanes.findIndex((l) => l.name === found[i]!.name && l.kind === found[i]!.lane),
      text: describer.describe(record),
      isBad: false,
    }));
    return formatTimeline({ title, lanes, lines, isCut: false, conclusion: [] }, 110, plainPaint).trimEnd();
  }
}

/** Holds the page's text between <!-- NAME --> and <!-- /NAME --> against the drawing; with UPDATE=1 writes it. */
export function expectDrawing(page: string, name: string, drawn: string): void {
  const text = readFileSync(page, 'utf8');
  const block = `<!-- ${name} -->\n\n\`\`\`text\n${drawn}\n\`\`\`\n\n<!-- /${name} -->`;
  const updated = text.replace(new RegExp(`<!-- ${name} -->[\\s\\S]*<!-- /${name} -->`), () => block);
  expect(updated).toContain(block);
  if (process.env['UPDATE'] === '1') writeFileSync(page, updated);
  else expect(updated).toBe(text);
}
