import { readdirSync } from 'node:fs';
import { test } from 'vitest';
import { explore } from '../src/explore/explore.ts';
import { boundedSearch } from '../src/explore/bounded.ts';
import { randomWalk } from '../src/explore/random.ts';
import { operationOf, pairScenario, scenarioOf } from '../src/workload/operations/operations.ts';
import { scenarioProgram } from '../src/workload/scenario/scenario-world.ts';
import { subjectOf } from '../src/workload/scenario/subject.ts';
const EXTRA: any = {
  drops: { name: 'drops', summary: '', setup: [{ do: 'mmap', at: 0, pages: 6 }, ...[0,1,2,5].map((at) => ({ do: 'store', at })) , { do: 'load', at: 0, by: 'device' }],
   threads: { a: { steps: [{ do: 'madvise', at: 0, pages: 3, advice: 'dontneed' }] }, b: { cpu: 1, steps: [{ do: 'madvise', at: 5, advice: 'dontneed' }] }, device: { on: 'device', steps: [{ do: 'load', at: 0 }, { do: 'store', at: 0 }] } } },
};
test('x', async () => {
  for (const job of (process.env['JOBS'] ?? '').split(' ')) {
    const [f, op, how] = job.split(':');
    const d = (await import(`../drivers/wrong/${f}.ts`)).default;
    const sc = EXTRA[op!] ?? (op!.includes('+') ? pairScenario(operationOf(op!.split('+')[0]!)!, operationOf(op!.split('+')[1]!)!) : scenarioOf(operationOf(op!)!));
    const program = scenarioProgram(sc, subjectOf(d, { engines: 1 }));
    const t0 = Date.now();
    const goOn = () => Date.now() - t0 < Number(process.env['MS'] ?? 15000);
    if (how === 'x') {
      let found: any = null;
      const r = explore(program, { goOn, visit: (e) => { found = e.findings.find((x) => d.breaks.includes(x.property)); return found === undefined || (found.gap !== null && !process.env['GAP']) ? true : false; } });
      console.log(job, r.executions, r.exhaustive, Date.now() - t0, found && found.property + found.gap + ' ' + found.sentence);
    } else {
      const r = how === 'b' ? boundedSearch(program, { bound: 2, executions: 1e6, goOn, stopsAt: 'any' }) : how === 'd' ? boundedSearch(program, { bound: 3, count: 'delays', executions: 1e6, goOn, stopsAt: 'any' }) : randomWalk(program, { seed: 1, executions: 2000, goOn });
      console.log(job, r.executions, r.withFindings, Date.now() - t0, r.witnesses.map((w) => w.finding.property + w.finding.gap + ' ' + w.finding.sentence).join(' | ').slice(0, 600));
    }
  }
}, 1e6);
