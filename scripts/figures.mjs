// @ts-check
// docs/figures.md from the results of `npm run verify`.

/**
 * docs/figures.md.
 * @param {Record<string, any>} results by name of the part
 * @param {{ seeds: number, checkExecutions: number }} sizes
 */
export function figures(results, { seeds, checkExecutions }) {
  const out = ['# Figures', '', 'Made by `npm run verify`.', '', '## Replay', ''];
  out.push('`shootdown replay`: memory and process calls of each bundled recording.', '');
  out.push(
    '| recording | calls | verified | learned | diverged | skipped | final maps | seconds |',
    '|---|--:|--:|--:|--:|--:|---|--:|',
  );
  for (const [name, r] of Object.entries(results)) {
    if (!name.startsWith('replay ')) continue;
    const share = ((100 * r.verified) / r.calls).toFixed(2);
    out.push(
      `| ${name.slice(7)} | ${r.calls} | ${r.verified} (${share} %) | ${r.learned} | ${r.diverged} | ${r.skipped} | ${r.finalMaps} | ${r.seconds.toFixed(2)} |`,
    );
  }
  out.push('', '## Compare', '', `\`shootdown compare\` on its bundled recording, seeds 1 to ${seeds}.`, '');
  out.push(
    '| design | safe | gap | not exercised | unsafe | properties violated (in runs) | windows, least | open, most | device failed | max. refaults |',
  );
  out.push('|---|--:|--:|--:|--:|---|--:|--:|--:|--:|');
  const rows = Object.entries(results)
    .filter(([name]) => name.startsWith('compare '))
    .flatMap(([, r]) => r);
  for (const design of new Set(rows.map((r) => r.design))) {
    const mine = rows.filter((r) => r.design === design);
    /** @type {(v: string) => number} */
    const verdicts = (v) => mine.filter((r) => r.verdict === v).length;
    /** @type {Record<string, number>} */
    const properties = {};
    for (const r of mine) for (const p of Object.keys(r.byProperty)) properties[p] = (properties[p] ?? 0) + 1;
    const listed = Object.entries(properties)
      .map(([p, n]) => `${p} (${n})`)
      .join(', ');
    out.push(
      `| ${design} | ${verdicts('safe')} | ${verdicts('gap')} | ${verdicts('not exercised')} | ${verdicts('unsafe')} | ${listed} | ` +
        `${Math.min(...mine.map((r) => r.windows))} | ${Math.max(...mine.map((r) => r.windowsOpen))} | ` +
        `${mine.filter((r) => r.deviceState === 'failed').length} | ${Math.max(...mine.map((r) => r.maxRefaults))} |`,
    );
  }
  out.push(...conformanceFigures(results), ...suitesFigures(results));
  out.push(...checkFigures(results, checkExecutions), ...wrongFigures(results), ...museumFigures(results['museum']));
  out.push('', '## Tests at full size', '', '| tests | passed | failed | seconds |', '|---|--:|--:|--:|');
  for (const [name, r] of Object.entries(results)) {
    if (typeof r.passed === 'number') out.push(`| ${name} | ${r.passed} | ${r.failed} | ${r.seconds.toFixed(0)} |`);
  }
  return `${out.join('\n')}\n`;
}

/** @param {Record<string, any>} results @param {number} executionsMax */
function checkFigures(results, executionsMax) {
  const out = [
    '',
    '## Check',
    '',
    `\`shootdown check DRIVER --executions ${executionsMax}\`: operations, and pairs of two with a tenth of that.`,
    '',
  ];
  out.push(
    '| driver | design | device | operations | clean, all seen | clean, bounded | gap | violation | not exercised | executions | seconds |',
  );
  out.push('|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|');
  const bounded = [];
  for (const [name, r] of Object.entries(results)) {
    if (!name.startsWith('check ')) continue;
    const of = (/** @type {string} */ verdict) => r.operations.filter((/** @type {any} */ o) => o.verdict === verdict);
    const clean = of('clean');
    const all = clean.filter((/** @type {any} */ o) => o.exhaustive);
    const executions = r.operations.reduce((/** @type {number} */ n, /** @type {any} */ o) => n + o.executions, 0);
    const counts = [
      r.operations.length,
      all.length,
      clean.length - all.length,
      of('gap').length,
      of('violation').length,
    ];
    out.push(
      `| ${r.driver} | ${r.design} | ${r.device} | ${counts.join(' | ')} | ${of('not exercised').length} | ${executions} | ${r.seconds.toFixed(0)} |`,
    );
    const rest = r.operations.filter((/** @type {any} */ o) => !o.exhaustive && !o.operation.includes('+'));
    if (rest.length > 0) bounded.push(`- ${r.driver}: ${rest.map((/** @type {any} */ o) => o.operation).join(', ')}`);
  }
  if (bounded.length > 0)
    out.push('', 'Single operations that the bound ended before every execution was seen:', '', ...bounded);
  return out;
}

/** @param {Record<string, any>} results */
function wrongFigures(results) {
  const rows = Object.entries(results).filter(([name]) => name.startsWith('wrong '));
  const caught = rows.filter(([, r]) => r.operation !== null || r.lockFindings.length > 0);
  const out = [
    '',
    '## Wrong drivers',
    '',
    `${caught.length} of ${rows.length} drivers of \`drivers/wrong\` are caught (\`shootdown check NAME --first --no-pairs --executions 3000\`).`,
    '',
  ];
  out.push('| driver | caught by | property | steps |', '|---|---|---|--:|');
  for (const [name, r] of rows) {
    const v = r.violations[0] ?? r.lockFindings[0];
    const by = r.operation ?? (v === undefined ? 'nothing' : 'any run (locks)');
    out.push(`| ${name.slice(6)} | ${by} | ${v === undefined ? '' : `${v.property} ${v.tag}`} | ${v?.steps ?? ''} |`);
  }
  return out;
}

/** @param {any[]} bugs */
function museumFigures(bugs) {
  const out = ['', '## Museum', '', '`shootdown bugs --all`', ''];
  out.push(
    '| entry | found | expected | steps | story steps | switches | fixed form | executions | seconds |',
    '|---|---|---|--:|--:|--:|---|--:|--:|',
  );
  for (const b of bugs) {
    const fixed = `${b.fixedVerdict}${b.fixedExhaustive ? ', every execution' : ''}`;
    const found = b.found ? b.property : 'not found';
    out.push(
      `| ${b.id} | ${found} | ${b.expectedProperty} | ${b.steps} | ${b.storySteps} | ${b.switches} | ${fixed} | ${b.executions} | ${b.seconds.toFixed(1)} |`,
    );
  }
  return out;
}

const LEVELS = ['calls', 'maps', 'callbacks', 'events', 'pages'];

/** @param {Record<string, any>} results */
function conformanceFigures(results) {
  const out = [
    '',
    '## Conformance',
    '',
    '`shootdown conformance DIRECTORY`: cases that match, and known gaps, at each level.',
    '',
  ];
  out.push(`| recordings | cases | ${LEVELS.join(' | ')} |`, `|---|--:|${'--:|'.repeat(LEVELS.length)}`);
  for (const group of results['conformance'].groups) {
    const cells = LEVELS.map((level) => {
      const { matching, gaps, diverging } = group.levels[level];
      const rest = `${gaps > 0 ? `, ${gaps} gaps` : ''}${diverging > 0 ? `, ${diverging} diverging` : ''}`;
      return `${((100 * matching) / (matching + gaps + diverging)).toFixed(1)} % (${matching}${rest})`;
    });
    out.push(`| ${group.group} | ${group.cases} | ${cells.join(' | ')} |`);
  }
  return out;
}

/** @param {Record<string, any>} results */
function suitesFigures(results) {
  const out = [
    '',
    '## Test suites',
    '',
    '`shootdown suites`: memory calls and final maps of recorded test programs.',
    '',
  ];
  out.push(
    '| suite | cases | every call verified | mean share verified | exact cases | final maps equal |',
    '|---|--:|--:|--:|--:|--:|',
  );
  for (const s of results['suites'].suites) {
    out.push(
      `| ${s.suite} | ${s.cases} | ${s.full} | ${(100 * s.meanVerified).toFixed(2)} % | ${s.exact} | ${s.exactMapsEqual} |`,
    );
  }
  return out;
}
