// A shown run as one HTML file that steps forward and back: the timeline at the left, at the right the state after the chosen
// step. Nothing is loaded; without scripts the timeline alone is there. Everything that comes from a run is escaped.

import type { ShownStep, ShownTrace } from './counterexample.ts';
import { STEPPER_SCRIPT } from './stepper-script.ts';
import { escapeMarkup } from './svg.ts';
import { formatCount } from './table.ts';
import type { TimelineLayout, TimelineLine } from './timeline.ts';
import { findingLines, layoutTrace, plainText } from './trace-layout.ts';

const STYLE = `
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1a1a1a; --faint: #c4c4c4; --soft: #f3f3f1; --bad: #a5160f;
  --warn: #7a4d00; --good: #1b6a2f; --mark: #22577a; --chosen: #dcebf5; --changed: #fff1c9; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181a; --ink: #e6e6e3; --faint: #4a4e52; --soft: #202326;
  --bad: #ff8a80; --warn: #ffc46b; --good: #8bd39a; --mark: #7cb8e6; --chosen: #1f3647; --changed: #45390f; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 110rem; background: var(--paper); color: var(--ink);
  font: 16px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.35rem; } h2 { font-size: 1.1rem; margin: .5rem 0; } h3 { font-size: .95rem; margin: .8rem 0 .2rem; }
.violation, .bad, .stale { color: var(--bad); font-weight: 600; } .gap { color: var(--warn); font-weight: 600; }
.passes { color: var(--good); font-weight: 600; }
.columns { display: grid; grid-template-columns: minmax(0, 3fr) minmax(22rem, 2fr); gap: 1.5rem; align-items: start; }
@media (max-width: 60rem) { .columns { grid-template-columns: minmax(0, 1fr); } }
#panel { position: sticky; top: 4rem; max-height: calc(100vh - 5rem); overflow: auto; }
#controls { position: sticky; top: 0; z-index: 1; background: var(--paper); padding: .5rem 0; display: flex; flex-wrap: wrap;
  gap: .5rem; align-items: center; border-bottom: 1px solid var(--faint); }
button { font: inherit; padding: .3rem .8rem; border: 1px solid var(--mark); border-radius: .3rem; background: var(--soft);
  color: var(--ink); cursor: pointer; }
button:disabled { opacity: .5; cursor: default; }
:focus-visible { outline: 3px solid var(--mark); outline-offset: 1px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font: 13px/1.4 ui-monospace, monospace; }
th, td { text-align: left; vertical-align: top; padding: .1rem .5rem; }
#panel table { width: 100%; } #panel td, #panel th { border-bottom: 1px solid var(--faint); font-weight: 400; }
#panel thead th { color: var(--ink); opacity: .75; }
.steps { width: 100%; }
.steps thead th.lane { writing-mode: vertical-rl; transform: rotate(180deg); padding: .3rem 0; text-align: left; }
.steps td.lane { position: relative; width: 1.5rem; padding: 0; text-align: center; color: var(--mark); }
.steps td.lane::before { content: ""; position: absolute; left: 50%; top: 0; bottom: 0; border-left: 1px solid var(--faint); }
.steps td.lane span { position: relative; background: var(--paper); }
.steps .n { text-align: right; width: 4rem; }
.steps tr[data-step] { cursor: pointer; }
.steps tr[data-step]:hover td { background: var(--soft); }
.steps tr[aria-current] td { background: var(--chosen); }
.steps .switch td { color: var(--ink); opacity: .75; } .steps .preemption td { color: var(--warn); opacity: 1; font-weight: 600; }
.steps button { padding: 0 .3rem; border-color: transparent; background: none; font: inherit; }
.changed { background: var(--changed); } .none { margin: 0; opacity: .75; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
#what { margin: .2rem 0; padding-left: 1.2rem; font: 13px/1.4 ui-monospace, monospace; } #what .story { font-weight: 600; }
code { overflow-wrap: anywhere; } kbd { border: 1px solid var(--faint); border-radius: .2rem; padding: 0 .3rem; }
[hidden] { display: none !important; }
`;

/** The whole document. */
export function stepperHtml(trace: ShownTrace): string {
  const e = escapeMarkup;
  const story = layoutTrace(trace);
  const all = layoutTrace(trace, { hasAllSteps: true });
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>${e(story.title)}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>${e(story.title)}</h1>
${conclusion(trace)}
<p>${e((story.facts ?? []).join(' ').trim())}</p>
${trace.schedule === null ? '' : `<p>Replay it: <code>shootdown trace ${e(trace.schedule)}</code></p>`}
<div id="controls" role="toolbar" aria-label="Steps" hidden>
<button type="button" id="first">First</button>
<button type="button" id="back" aria-keyshortcuts="ArrowLeft">Back</button>
<button type="button" id="next" aria-keyshortcuts="ArrowRight">Forward</button>
<button type="button" id="last">Last</button>
<button type="button" id="violation"${trace.finding === null ? ' hidden' : ''}>Violation</button>
<label><input type="checkbox" id="all-steps"> All steps</label>
<span>Keys: <kbd>←</kbd> <kbd>→</kbd> <kbd>Home</kbd> <kbd>End</kbd>, <kbd>v</kbd> violation, <kbd>a</kbd> all steps</span>
</div>
<div class="columns">
<section aria-labelledby="timeline">
<h2 id="timeline">Timeline</h2>
${(story.before ?? []).map((line) => `<p>${e(line)}</p>`).join('\n')}
<div class="wide" tabindex="0" role="region" aria-label="Steps of the run">
${stepTable(story, 'story', 'Steps of the story')}
${stepTable(all, 'all', 'All steps', true)}
</div>
</section>
<section id="panel" aria-labelledby="where" hidden>
<div aria-live="polite">
<h2 id="where">State</h2>
<ul id="what"></ul>
<p id="observable"></p>
</div>
<div id="state"></div>
</section>
</div>
<noscript><p>The state of each step needs scripts; the timeline above is complete without them.</p></noscript>
</main>
<script type="application/json" id="data">${dataOf(trace)}</script>
<script>${STEPPER_SCRIPT}</script>
</body>
</html>
`;
}

function conclusion(trace: ShownTrace): string {
  if (trace.finding === null) return '<p class="passes">No property was violated.</p>';
  const lines = findingLines(trace.finding).map((line) => `<p class="${trace.verdict}">${escapeMarkup(line)}</p>`);
  const others = trace.otherFindings.map(
    (f) => `<li>${escapeMarkup(`${f.property} (${f.tag}) at step ${f.step}: ${f.sentence}`)}</li>`,
  );
  if (others.length > 0)
    lines.push(`<details><summary>${others.length} more</summary><ul>${others.join('')}</ul></details>`);
  return lines.join('\n');
}

function stepTable(layout: TimelineLayout, id: string, caption: string, isHidden = false): string {
  const e = escapeMarkup;
  const head = layout.lanes.map((lane) => `<th scope="col" class="lane">${e(lane.name)}</th>`).join('');
  const rows = layout.lines.map((line) => row(line, layout.lanes.length)).join('\n');
  return `<table class="steps" id="${id}"${isHidden ? ' hidden' : ''}>
<caption class="hidden">${e(caption)}</caption>
<thead><tr><th scope="col" class="n">step</th>${head}<th scope="col">what happened</th></tr></thead>
<tbody>
${rows}
</tbody>
</table>`;
}

function row(line: TimelineLine, lanes: number): string {
  const e = escapeMarkup;
  const isSwitch = line.to !== undefined;
  const cells = Array.from({ length: lanes }, (_, lane) => `<td class="lane">${cell(line, lane)}</td>`).join('');
  const text = `<td class="${line.isBad ? 'bad' : ''}">${e(line.text)}</td>`;
  if (isSwitch)
    return `<tr class="switch${line.isPreemption === true ? ' preemption' : ''}"><td class="n"></td>${cells}${text}</tr>`;
  const n = formatCount(line.step);
  const number = line.isMore === true ? '' : `<button type="button" aria-label="Step ${n}">${n}</button>`;
  const step = line.isMore === true ? '' : ` data-step="${line.step}"`;
  return `<tr${step}><td class="n">${number}</td>${cells}${text}</tr>`;
}

function cell(line: TimelineLine, lane: number): string {
  const isTo = line.to === lane;
  if (lane !== line.lane && !isTo) return '';
  if (line.to !== undefined) return `<span aria-hidden="true">${isTo ? '▾' : '▴'}</span>`;
  if (line.isMore === true) return '';
  return `<span aria-hidden="true"${line.isBad ? ' class="bad"' : ''}>${line.isBad ? '✗' : '●'}</span>`;
}

/** The steps and states as JSON that may stand in a script element. */
function dataOf(trace: ShownTrace): string {
  const last = trace.finding?.step ?? trace.steps.length;
  const data = {
    start: trace.start,
    steps: trace.steps.map((step) => dataOfStep(trace, step)),
    story: trace.steps.filter((s) => s.isStory && s.number <= last).map((s) => s.number),
    first: 0,
    bad: trace.finding?.step ?? 0,
  };
  return JSON.stringify(data)
    .replaceAll('<', '\\u003c')
    .replaceAll('\u2028', '\\u2028')
    .replaceAll('\u2029', '\\u2029');
}

function dataOfStep(trace: ShownTrace, step: ShownStep): object {
  return {
    lane: trace.lanes[step.lane]!.name,
    to: step.to,
    observable: step.observable,
    end: step.isLast ? 'ends' : step.waitsFor === null ? null : `waits for ${step.waitsFor}`,
    plain: plainText(step),
    changes: step.changes.map((c) => ({
      text: c.text,
      words: c.words === null ? null : `${c.words.old} → ${c.words.new}`,
      story: c.isStory,
      bad: c.isBad,
    })),
    state: step.state,
  };
}
