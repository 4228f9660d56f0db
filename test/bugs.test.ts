// The museum: every entry's bug is found, by the property that it names, and its fixed form is clean in the same bounds.
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { propertyOf } from '../src/check/properties.ts';
import { randomWalk } from '../src/explore/random.ts';
import { type Bug, isBug } from '../src/workload/museum/bug.ts';
import { revisionProgram } from '../src/workload/museum/revision.ts';

const ROOT = fileURLToPath(new URL('../bugs', import.meta.url));
const files = readdirSync(ROOT)
  .filter((f) => f.endsWith('.ts'))
  .sort();
const ONLY = process.env['BUG'] ?? '';

describe('museum', () => {
  for (const file of files.filter((f) => f.includes(ONLY))) {
    test(file, async () => {
      const { default: bug } = (await import(`../bugs/${file}`)) as { default: Bug };
      expect(isBug(bug)).toBe(true);
      const log = (name: string): string[] => {
        const r = randomWalk(revisionProgram(bug, name), { seed: 1, executions: 1500, stepsMax: 3000 });
        console.log(
          name,
          r.withFindings,
          r.cut,
          r.steps / r.executions,
          r.witnesses.map(
            (w) =>
              `${w.schedule.length} ${w.finding.property} ${w.finding.tag} gap ${w.finding.gap} ${w.finding.sentence}`,
          ),
        );
        return r.witnesses.map((w) => w.finding.tag);
      };
      expect(log('historic')).toContain(bug.tag);
      expect(log('fixed')).toEqual([]);
      for (const [name, o] of Object.entries(bug.others ?? {})) expect(log(name).length > 0).toBe(o.isBroken);
    });
  }
});
