// Tests of museum entries: every bug is found, by the property that it names, and its fixed form is clean in the same bounds. Bounds of
// the search for what should not be there are small here; EXECUTIONS sets others, BUG picks entries.
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { type Bug, isBug } from '../../src/workload/museum/bug.ts';
import { type RevisionResult, runBug } from '../../src/workload/museum/run-bug.ts';

const ROOT = fileURLToPath(new URL('../../bugs/', import.meta.url));
const ONLY = process.env['BUG'] ?? '';
export const EXECUTIONS = Number(process.env['EXECUTIONS'] ?? 100);

export function told(r: RevisionResult): string {
  const { witness } = r;
  return witness === null
    ? `${r.revision}: clean`
    : `${r.revision}: ${witness.finding.tag} ${witness.finding.sentence}`;
}

/** A test for each entry with a number in [from, to). */
export function museumTests(from: number, to: number): void {
  const isAsked = (file: string): boolean => {
    const number = Number(/^(\d\d)-.*\.ts$/.exec(file)?.[1] ?? Number.NaN);
    return number >= from && number < to && file.includes(ONLY);
  };
  for (const file of readdirSync(ROOT).filter(isAsked).sort()) {
    test(file, async () => {
      const { default: bug } = (await import(/* @vite-ignore */ `${ROOT}${file}`)) as { default: Bug };
      expect(isBug(bug)).toBe(true);
      expect(file).toBe(`${String(bug.number).padStart(2, '0')}-${bug.id}.ts`);
      const result = runBug(bug, { executions: 20_000, soundExecutions: EXECUTIONS, minimiseExecutions: EXECUTIONS });
      expect(told(result.historic)).toContain(`historic: ${bug.tag} `);
      expect(told(result.fixed)).toBe('fixed: clean');
      for (const r of result.others) {
        if (r.isBroken) expect(told(r)).toContain(`${r.revision}: ${bug.tag} `);
        else expect(told(r)).toBe(`${r.revision}: clean`);
      }
    });
  }
}
