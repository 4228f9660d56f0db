import { readdirSync } from 'node:fs';
import { test } from 'vitest';
import { explore } from '../src/explore/explore.ts';
import { randomWalk } from '../src/explore/random.ts';
import { OPERATIONS, operationOf, PAIRS, pairScenario, scenarioOf } from '../src/workload/operations/operations.ts';
import { scenarioProgram } from '../src/workload/scenario/scenario-world.ts';
import { subjectOf } from '../src/workload/scenario/subject.ts';
test('x', async () => {
  const only = (process.env['ONLY'] ?? '').split(',').filter(Boolean);
  const ops = (process.env['OPS'] ?? 'munmap,munmap-batch,madv-dontneed,exit,unregister,mprotect-ro,map-fixed').split(',');
  for (const f of readdirSync('drivers/wrong')) {
    if (only.length > 0 && !only.some((o) => f.startsWith(o))) continue;
    const d = (await import('../drivers/wrong/' + f)).default;
    let line = '';
    for (const op of ops) {
      const t0 = Date.now();
      let found = '';
      const sc = op.includes('+') ? pairScenario(operationOf(op.split('+')[0]!)!, operationOf(op.split('+')[1]!)!) : scenarioOf(operationOf(op)!);
      const r = explore(scenarioProgram(sc, subjectOf(d, { engines: 1 })), { executionsMax: 4000, goOn: () => Date.now() - t0 < 5000, visit: (e) => {
        const hit = e.findings.find((x) => d.breaks.includes(x.property) && (x.gap === null || process.env['GAP']));
        if (hit) { found = hit.property; return false; }
        return true;
      } });
      line += ` ${op}:${found}#${r.executions}/${Date.now() - t0}ms${r.exhaustive ? 'X' : ''}`;
      if (found) break;
    }
    console.log(f, line);
  }
}, 1e6);
