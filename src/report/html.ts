// The report as one HTML file: no script, no external resource, light and dark by the reader's preference. Everything that
// comes from a run is escaped.

import { gapText } from '../check/properties.ts';
import type { ResidencyCourse } from '../check/residency.ts';
import { COMPARISON_COLUMNS, type ComparisonRow } from './rows.ts';
import { escapeMarkup, residencySvg, timelineSvg } from './svg.ts';
import { formatCount } from './table.ts';
import { formatTimeline, type TimelineLayout } from './timeline.ts';

/** One design's part of the report. */
export interface HtmlDesign {
  readonly row: ComparisonRow;
  readonly timelines: readonly TimelineLayout[];
  readonly residency: ResidencyCourse | null;
}

export interface HtmlReport {
  readonly title: string;
  /** Lines under the title: program, device, seed, bounds. */
  readonly facts: readonly string[];
  readonly designs: readonly HtmlDesign[];
}

const STYLE = `
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1a1a1a; --faint: #c4c4c4; --soft: #f3f3f1; --bad: #a5160f;
  --warn: #7a4d00; --good: #1b6a2f; --mark: #22577a; --series-1: #22577a; --series-2: #b3541e; --series-3: #57813a; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181a; --ink: #e6e6e3; --faint: #4a4e52; --soft: #202326;
  --bad: #ff8a80; --warn: #ffc46b; --good: #8bd39a; --mark: #7cb8e6; --series-1: #7cb8e6; --series-2: #ffab73;
  --series-3: #a8d48a; } }
body { margin: 2rem auto; padding: 0 1rem; max-width: 76rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .5rem; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--faint); text-align: left; vertical-align: bottom; }
td.n, th.n { text-align: right; }
.unsafe { color: var(--bad); font-weight: 600; } .gap { color: var(--warn); font-weight: 600; }
.safe { color: var(--good); font-weight: 600; }
figure { margin: 1rem 0; } pre { background: var(--soft); padding: .75rem; overflow-x: auto; }
`;

/** The whole document. */
export function htmlReport(report: HtmlReport): string {
  const e = escapeMarkup;
  const facts = report.facts.map((fact) => `<p>${e(fact)}</p>`).join('\n');
  const max = report.designs.reduce((m, d) => Math.max(m, d.row.residentPeak, d.row.pinnedPeak, d.row.swappedPeak), 0);
  const designs = report.designs.map((design, i) => designSection(design, `d${i}`, max)).join('\n');
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${e(report.title)}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>${e(report.title)}</h1>
${facts}
<h2>Comparison</h2>
${comparison(report.designs.map((d) => d.row))}
${designs}
</main>
</body>
</html>
`;
}

function comparison(rows: readonly ComparisonRow[]): string {
  const e = escapeMarkup;
  const head = COMPARISON_COLUMNS.map((column) => {
    const numeric = column.align === 'right' ? ' class="n"' : '';
    return `<th scope="col"${numeric} title="${e(column.hint)}">${e(column.title)}</th>`;
  }).join('');
  const body = rows
    .map((row) => {
      const cells = COMPARISON_COLUMNS.map((column, i) => {
        const text = e(column.cell(row));
        if (i === 0) return `<th scope="row">${text}</th>`;
        const kind = column.align === 'right' ? 'n' : column.title === 'verdict' ? verdictClass(row) : '';
        return kind === '' ? `<td>${text}</td>` : `<td class="${kind}">${text}</td>`;
      });
      return `<tr>${cells.join('')}</tr>`;
    })
    .join('\n');
  return `<div class="wide" role="region" aria-label="Comparison of the designs" tabindex="0">
<table>
<caption>What each notifier design allowed and cost for the same program and device.</caption>
<thead><tr>${head}</tr></thead>
<tbody>
${body}
</tbody>
</table>
</div>`;
}

function verdictClass(row: ComparisonRow): string {
  return row.verdict === 'not exercised' ? '' : row.verdict;
}

function designSection(design: HtmlDesign, id: string, max: number): string {
  const e = escapeMarkup;
  const { row } = design;
  const out: string[] = [
    `<section aria-labelledby="${id}">`,
    `<h2 id="${id}">${e(row.design)}: ${e(row.verdict)}</h2>`,
  ];
  if (design.residency !== null) {
    const title = `Memory under ${row.design}`;
    out.push(`<figure>\n${residencySvg(design.residency, title, `${id}-r`, max)}`);
    out.push(`<figcaption>${e(title)}: frames resident, pinned and swapped over the run.</figcaption>\n</figure>`);
  }
  if (row.violations.length > 0) out.push(violationTable(row));
  design.timelines.forEach((layout, i) => {
    out.push(`<h3>${e(layout.title)}</h3>`);
    out.push(`<figure class="wide" tabindex="0" role="region" aria-label="${e(`Timeline of ${layout.title}`)}">`);
    out.push(timelineSvg(layout, `${id}-t${i}`));
    out.push('</figure>');
    out.push(`<details><summary>The same as text</summary>\n<pre>${e(formatTimeline(layout))}</pre></details>`);
  });
  out.push('</section>');
  return out.join('\n');
}

function violationTable(row: ComparisonRow): string {
  const e = escapeMarkup;
  const rows = row.violations.map((v) => {
    const gap = v.gap === null ? '' : `${v.gap}: ${gapText(v.gap)}`;
    const step = formatCount(v.step);
    return `<tr><th scope="row">${e(v.property)}</th><td class="n">${step}</td><td>${e(v.text)}</td><td>${e(gap)}</td></tr>`;
  });
  return `<div class="wide" role="region" aria-label="${e(`Violations under ${row.design}`)}" tabindex="0">
<table>
<caption>${e(`What the monitors found under ${row.design} (the first of each property).`)}</caption>
<thead><tr><th scope="col">property</th><th scope="col" class="n">step</th><th scope="col">what happened</th><th scope="col">documented gap</th></tr></thead>
<tbody>
${rows.join('\n')}
</tbody>
</table>
</div>`;
}
