// @ts-check
// docs/figures.md from the results of `npm run verify`.

/** @typedef {{ title: string, isOf: (part: string) => boolean, lines: (results: Record<string, any>) => string[] }} Section */

/** @typedef {{ seeds: number, checkExecutions: number, matrix: { seeds: number, sample: number, exploration: number, explored: string, everyOperation: number } }} Sizes */

/**
 * The sections of docs/figures.md, in order: which parts of the verification each is made of, and how.
 * @param {Sizes} sizes
 * @returns {Section[]}
 */
export function sections({ seeds, checkExecutions, matrix }) {
  /** @type {(prefix: string) => (part: string) => boolean} */
  const begins = (prefix) => (part) => part.startsWith(prefix);
  const named = [
    { title: 'Replay', isOf: begins('replay '), lines: replayFigures },
    { title: 'Compare', isOf: begins('compare '), lines: (/** @type {any} */ r) => compareFigures(r, seeds) },
    {
      title: 'Devices and designs',
      isOf: (/** @type {string} */ part) => /^(exhaustive )?matrix /.test(part),
      lines: (/** @type {any} */ r) => matrixFigures(r, matrix),
    },
    {
      title: 'Every operation',
      isOf: begins('newest matrix '),
      lines: (/** @type {any} */ r) => newestFigures(r, matrix),
    },
    { title: 'Shared programs', isOf: begins('shared '), lines: sharedFigures },
    { title: 'Conformance', isOf: begins('conformance'), lines: conformanceFigures },
    { title: 'Test suites', isOf: begins('suites'), lines: suitesFigures },
    { title: 'Check', isOf: begins('check '), lines: (/** @type {any} */ r) => checkFigures(r, checkExecutions) },
    { title: 'Wrong drivers', isOf: begins('wrong '), lines: wrongFigures },
    { title: 'Museum', isOf: begins('museum'), lines: (/** @type {any} */ r) => museumFigures(r['museum']) },
    { title: 'Soaks of devices', isOf: begins('soak of a device: '), lines: deviceSoakFigures },
  ];
  /** @type {(part: string) => boolean} */
  const isRest = (part) => !named.some((s) => s.isOf(part));
  return [...named, { title: 'Tests at full size', isOf: isRest, lines: testFigures }];
}

/**
 * docs/figures.md: sections all of whose parts have results are made anew, the others stay as they are in `old`.
 * @param {string} old
 * @param {string[]} parts names of all parts
 * @param {Record<string, any>} results by name of the part
 * @param {Sizes} sizes
 */
export function figures(old, parts, results, sizes) {
  const out = ['# Figures', '', 'Made by `npm run verify`.'];
  for (const { title, isOf, lines } of sections(sizes)) {
    const mine = parts.filter(isOf);
    const isDone = mine.length > 0 && mine.every((p) => results[p] !== undefined);
    const section = isDone ? lines(results).join('\n').trim() : sectionOf(old, title);
    if (section !== '') out.push('', section);
  }
  return `${out.join('\n')}\n`;
}

/** The section of a page, with its heading; '' when it has none. @param {string} page @param {string} title */
function sectionOf(page, title) {
  const at = page.indexOf(`\n## ${title}\n`);
  if (at < 0) return '';
  const end = page.indexOf('\n## ', at + 1);
  return page.slice(at, end < 0 ? undefined : end).trim();
}

/** What README says of the checks, the wrong drivers and the museum; null while one of them has no results.
 * @param {string[]} parts @param {Record<string, any>} results @param {number} executionsMax */
export function readmeFigures(parts, results, executionsMax) {
  const wanted = parts.filter((p) => /^(check |wrong |museum)/.test(p));
  if (wanted.some((p) => results[p] === undefined)) return null;
  const of = (/** @type {string} */ prefix) => wanted.filter((p) => p.startsWith(prefix)).map((p) => results[p]);
  const checks = of('check ');
  const singles = checks.map((r) => r.operations.filter((/** @type {any} */ o) => !o.operation.includes('+')));
  const span = (/** @type {(os: any[]) => number} */ count) => {
    const counts = singles.map(count);
    const [low, high] = [Math.min(...counts), Math.max(...counts)];
    return low === high ? `${low}` : `${low} to ${high}`;
  };
  const verdict = (/** @type {string} */ v) => span((os) => os.filter((o) => o.verdict === v).length);
  const violated = checks.flatMap((r) => r.operations).filter((o) => o.verdict === 'violation').length;
  const wrong = of('wrong ');
  const caught = wrong.filter((r) => r.operation !== null || r.lockFindings.length > 0).length;
  const bugs = results['museum'];
  const found = bugs.filter((/** @type {any} */ b) => b.found).length;
  const exhaustive = bugs.filter((/** @type {any} */ b) => b.fixedExhaustive).length;
  return [
    `What [docs/figures.md](docs/figures.md) measured (\`npm run verify\`): of **${singles[0].length} operations**, ${verdict('clean')} are clean for each`,
    `of the ${checks.length} shipped drivers, ${verdict('gap')} show a documented gap of the real kernel, ${verdict('not exercised')} are not exercised, ${violated} violated; every execution`,
    `was seen in ${span((os) => os.filter((o) => o.exhaustive).length)} of them, ${executionsMax.toLocaleString('en')} of the others. **${caught} of ${wrong.length} wrong drivers** in \`drivers/wrong\` are caught.`,
    `**${found} of ${bugs.length} museum entries** are found with their property; their fixes are clean, ${exhaustive} of them in every execution.`,
  ].join('\n');
}

/** @param {Record<string, any>} results */
function replayFigures(results) {
  const out = ['## Replay', ''];
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
  return out;
}

/** @param {Record<string, any>} results @param {number} seeds */
function compareFigures(results, seeds) {
  const out = ['## Compare', ''];
  out.push(`\`shootdown compare\` on its bundled recording, seeds 1 to ${seeds}.`, '');
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
  return out;
}

/** The matrix: sampled, and explored. @param {Record<string, any>} results @param {Sizes['matrix']} sizes */
function matrixFigures(results, { seeds, sample, exploration, explored }) {
  const out = ['## Devices and designs', ''];
  const count = sample === 1 ? 'one execution' : `${sample} executions`;
  out.push(
    `\`shootdown compare --matrix --seeds ${seeds} --executions ${sample}\`: ${count} of each operation for each seed.`,
  );
  out.push('', ...matrixTable(results, 'matrix '), '');
  out.push(
    `\`shootdown compare --matrix --exhaustive --executions ${exploration}\` of ${explored.split(',').join(', ')}: every execution of an`,
    'operation, or so many and some by random priorities. In brackets: operations of which every execution was seen, of all.',
  );
  out.push('', ...matrixTable(results, 'exhaustive matrix '));
  return out;
}

/** Each device under its newest design. @param {Record<string, any>} results @param {Sizes['matrix']} sizes */
function newestFigures(results, { everyOperation }) {
  const out = ['## Every operation', ''];
  out.push(
    `Every operation that \`shootdown check --list\` names, each device under its newest design, up to ${everyOperation} executions each`,
    `(\`compare --matrix --exhaustive --executions ${everyOperation}\`):`,
    '',
    '| device | design | verdict | operations | every execution seen | not exercised | executions |',
    '|---|---|---|--:|--:|--:|--:|',
  );
  for (const [name, cells] of Object.entries(results)) {
    if (!name.startsWith('newest matrix ')) continue;
    for (const c of cells) {
      const counts = [c.operations, c.exhausted, c.operations - c.exercised, c.executions.toLocaleString('en')];
      out.push(`| ${c.device} | ${c.design} | ${verdictText(c)} | ${counts.join(' | ')} |`);
    }
  }
  return out;
}

/** @param {Record<string, any>} results @param {string} prefix */
function matrixTable(results, prefix) {
  const rows = Object.entries(results).filter(([name]) => name.startsWith(prefix));
  const designs = [...new Set(rows.flatMap(([, cells]) => cells.map((/** @type {any} */ c) => c.design)))];
  const out = [`| device | ${designs.join(' | ')} | executions |`, `|---|${'---|'.repeat(designs.length)}--:|`];
  for (const [name, cells] of rows) {
    const shown = designs.map((design) => cellText(cells.find((/** @type {any} */ c) => c.design === design)));
    const executions = cells.reduce((/** @type {number} */ n, /** @type {any} */ c) => n + c.executions, 0);
    out.push(`| ${name.slice(prefix.length)} | ${shown.join(' | ')} | ${executions.toLocaleString('en')} |`);
  }
  return out;
}

/** @param {any} c */
function cellText(c) {
  if (c === undefined || c.verdict === 'no driver') return '-';
  return `${verdictText(c)}${c.exhausted > 0 ? ` (${c.exhausted} of ${c.operations})` : ''}`;
}

/** @param {any} c */
function verdictText({ verdict, gaps, found }) {
  return `${verdict === 'gap' ? `gap ${gaps.join(', ')}` : verdict}${found === null ? '' : ` ${found.property}`}`;
}

/** @param {Record<string, any>} results */
function sharedFigures(results) {
  const out = ['## Shared programs', ''];
  out.push(
    '`shootdown compare PROGRAM --devices all --newest`: each device under its newest design, with half of the memory that the',
  );
  out.push('program uses alone. Data: words of program and device compared with what was stored last.', '');
  out.push(
    '| program | frames | pinned needs | device/design | verdict | device | program | windows, open | max. refaults | words compared, wrong |',
  );
  out.push('|---|--:|--:|---|---|---|---|--:|--:|--:|');
  for (const [name, r] of Object.entries(results)) {
    if (!name.startsWith('shared ')) continue;
    for (const d of r.runs) {
      const cells = [
        name.slice(7),
        r.frames,
        r.pinnedFrames ?? '-',
        d.design,
        d.verdict,
        d.deviceState,
        d.programState,
      ];
      const counts = [`${d.windows}, ${d.windowsOpen}`, d.maxRefaults, `${d.data.compared}, ${d.data.wrong}`];
      out.push(`| ${[...cells, ...counts].join(' | ')} |`);
    }
  }
  return out;
}

/** README's table of the programs that each device shares: what became of device and data. Null while a program has no results.
 * @param {string[]} parts @param {Record<string, any>} results */
export function readmeShared(parts, results) {
  const wanted = parts.filter((p) => p.startsWith('shared '));
  if (wanted.some((p) => results[p] === undefined)) return null;
  const programs = wanted.map((p) => p.slice(7));
  const out = [
    `| device / design | ${programs.join(' | ')} | words compared |`,
    `|---|${'---|'.repeat(programs.length)}--:|`,
  ];
  for (const { design } of results[/** @type {string} */ (wanted[0])].runs) {
    if (design.endsWith(LEAST)) continue;
    const runs = wanted.map((p) => results[p].runs.find((/** @type {any} */ r) => r.design === design));
    const words = runs.reduce((n, r) => n + (r?.data.compared ?? 0), 0);
    const cells = runs.map((r, i) => sharedCell(r, results[/** @type {string} */ (wanted[i])]));
    out.push(`| ${design} | ${cells.join(' | ')} | ${words.toLocaleString('en')} |`);
  }
  return out.join('\n');
}

/** Ends the name of a pinned row with the memory that it needs. */
const LEAST = '(least memory)';

/** @param {any} r @param {any} program */
function sharedCell(r, program) {
  if (r === undefined) return '';
  const needs = program.pinnedFrames === null ? '' : ` in ${program.frames} frames, needs ${program.pinnedFrames}`;
  const said = [
    r.programState === 'failed' ? `no memory${needs}` : r.deviceState === 'failed' ? 'device gave up' : r.verdict,
  ];
  const properties = Object.keys(r.byProperty);
  if (r.verdict === 'unsafe' || r.verdict === 'gap') said.push(properties.join(', '));
  if (r.data.wrong > 0) said.push(`${r.data.wrong} words differ`);
  return said.join(': ');
}

/** @param {Record<string, any>} results */
function deviceSoakFigures(results) {
  const out = ['## Soaks of devices', ''];
  out.push(
    'Each device under the designs that it was made for, beside two threads of a program and their children, with little memory, swap,',
    'compaction and huge pages (`test/support/soak.ts`). Passed: no finding of the monitors that no documented gap explains, safety or',
    'liveness; every word that a CPU or the device read is the one stored last; what else the file says of its device.',
    '',
    '| device | design | | steps | passed | seconds |',
    '|---|---|---|--:|---|--:|',
  );
  for (const [name, r] of Object.entries(results)) {
    if (!name.startsWith('soak of a device: ')) continue;
    for (const { device, design, option, steps, isPassed, seconds } of r.runs)
      out.push(`| ${device} | ${design} | ${option} | ${steps} | ${isPassed ? 'yes' : 'NO'} | ${seconds.toFixed(0)} |`);
  }
  return out;
}

/** @param {Record<string, any>} results */
function testFigures(results) {
  const out = ['## Tests at full size', ''];
  out.push('| tests | passed | failed | seconds |', '|---|--:|--:|--:|');
  for (const [name, r] of Object.entries(results)) {
    if (typeof r.passed === 'number') out.push(`| ${name} | ${r.passed} | ${r.failed} | ${r.seconds.toFixed(0)} |`);
  }
  return out;
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
  out.push(
    '',
    ...operationTable(
      Object.entries(results)
        .filter(([name]) => name.startsWith('check '))
        .map(([, r]) => r),
    ),
  );
  return out;
}

/** A row for each operation, a column for each driver. @param {any[]} checks */
function operationTable(checks) {
  const out = ['`+` clean in every execution, `~` clean in those seen, `.` not exercised; executions behind it.', ''];
  out.push(`| operation | ${checks.map((r) => r.driver).join(' | ')} |`, `|---|${'--:|'.repeat(checks.length)}`);
  for (const { operation } of checks[0].operations) {
    const cells = checks.map((r) => {
      const o = r.operations.find((/** @type {any} */ x) => x.operation === operation);
      const sign = { clean: o.exhaustive ? '+' : '~', 'not exercised': '.' }[/** @type {'clean'} */ (o.verdict)];
      return `${sign ?? o.verdict} ${o.executions.toLocaleString('en')}`;
    });
    out.push(`| ${operation} | ${cells.join(' | ')} |`);
  }
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
    '`shootdown conformance DIRECTORY`: cases that match, and known gaps, at each level. Rows without a version: Linux 6.1.',
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
