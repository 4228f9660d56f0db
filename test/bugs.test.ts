// The museum: every entry's bug is found, by the property that it names, and its fixed form is clean in the same bounds.
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { explore } from '../src/explore/explore.ts';
import { type Bug, isBug } from '../src/workload/museum/bug.ts';
import { revisionProgram } from '../src/workload/museum/revision.ts';

const ROOT = fileURLToPath(new URL('../bugs', import.meta.url));
const files = readdirSync(ROOT).filter((f) => f.endsWith('.ts')).sort();
const ONLY = process.env['BUG'] ?? '';
const MAX = Number(process.env['MAX'] ?? 5000);

describe('museum', () => {
  for (const file of files.filter((f) => f.includes(ONLY))) {
    test(file, async () => {
      const { default: bug } = (await import(`../bugs/${file}`)) as { default: Bug };
      expect(isBug(bug)).toBe(true);
      const log = (name: string): string[] => {
        const t = Date.now();
        const r = explore(revisionProgram(bug, name), { executionsMax: MAX, stepsMax: 3000 });
        console.log(name, r.exhaustive, r.executions, 'cut', r.cut, 'blocked', r.blocked, (Date.now() - t) / 1000, r.steps / r.executions, r.findings.map((w) => `${w.finding.step} sw ${w.switches} ${w.finding.property} ${w.finding.tag} gap ${w.finding.gap} ${w.finding.sentence}`));
        return r.findings.map((w) => w.finding.tag);
      };
      expect(log('historic')).toContain(bug.tag);
      expect(log('fixed')).toEqual([]);
      for (const [name, o] of Object.entries(bug.others ?? {})) expect(log(name).length > 0).toBe(o.isBroken);
    });
  }
});
