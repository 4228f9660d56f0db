// The cases of recorded test suites: one recorded run of one test program each, listed in cases.tsv where there is one.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { archiveOf, filesOf, isTrace, type SuiteFolder } from './case-files.ts';

/** How much of a recording another run of the program repeats. */
export type Determinism = 'exact' | 'per-task' | 'unstable' | 'unknown';

export interface SuiteCase {
  readonly suite: SuiteFolder;
  readonly name: string;
  /** Path of the strace text. */
  readonly path: string;
  readonly determinism: Determinism;
  /** Lines of the text, 0 when not told: how long the case takes. */
  readonly lines: number;
}

function determinismOf(text: string | undefined): Determinism {
  return text === 'exact' || text === 'per-task' || text === 'unstable' ? text : 'unknown';
}

/** Every case of a suite that has a trace, in the order of the list. */
export function casesOf(suite: SuiteFolder): SuiteCase[] {
  const archive = suite.archive === null ? null : archiveOf(suite.archive);
  const names = archive === null ? readdirSync(suite.path) : archive.names;
  const list =
    archive === null
      ? names.includes('cases.tsv')
        ? readFileSync(join(suite.path, 'cases.tsv'), 'utf8')
        : null
      : archive.text('cases.tsv');
  const rows = list === null ? [] : parseRows(list);
  const traced = new Set(names.filter(isTrace).map((n) => n.replace(/\.strace(\.gz)?$/, '')));
  const listed = rows.filter((row) => traced.has(row.case ?? ''));
  const known = new Set(listed.map((row) => row.case));
  const unlisted = [...traced].filter((name) => !known.has(name)).sort();
  const files = filesOf(suite);
  return [...listed, ...unlisted.map((name): Record<string, string> => ({ case: name }))].map((row) => ({
    suite,
    name: row.case!,
    path: files.find(join(suite.path, `${row.case}.strace`))!,
    determinism: determinismOf(row.determinism),
    lines: Number(row.lines ?? 0),
  }));
}

/** Rows of a table with a head, by column. */
function parseRows(text: string): Record<string, string>[] {
  const [head, ...rows] = text.trimEnd().split('\n');
  const columns = head!.split('\t');
  return rows.map((row) => {
    const cells = row.split('\t');
    return Object.fromEntries(columns.map((column, i) => [column, cells[i] ?? '']));
  });
}
