// The script of the HTML stepper, as text: it runs in the reader's browser, from a file, with nothing loaded. The page holds the
// steps and their states as JSON; text gets into the page as text alone.

export const STEPPER_SCRIPT = `'use strict';
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const byId = (id) => document.getElementById(id);
  const tables = { story: byId('story'), all: byId('all') };
  const allBox = byId('all-steps');
  let at = data.first;

  const el = (name, text, className) => {
    const node = document.createElement(name);
    if (text !== undefined) node.textContent = text;
    if (className) node.className = className;
    return node;
  };

  const numbers = () => (allBox.checked ? data.steps.map((_, i) => i + 1) : data.story);
  const stateOf = (n) => (n === 0 ? data.start : data.steps[n - 1].state);

  /** A part of the state as rows of cells; cells that differ from those before are marked. */
  function part(title, head, rows, rowsBefore) {
    const section = el('section');
    section.append(el('h3', title));
    if (rows.length === 0) {
      section.append(el('p', 'none', rowsBefore.length > 0 ? 'none changed' : 'none'));
      return section;
    }
    const table = el('table');
    const caption = el('caption', title);
    caption.className = 'hidden';
    const thead = el('thead');
    const tr = el('tr');
    for (const h of head) {
      const th = el('th', h);
      th.scope = 'col';
      tr.append(th);
    }
    thead.append(tr);
    const tbody = el('tbody');
    const old = new Map(rowsBefore.map((r) => [r[0], r]));
    for (const row of rows) {
      const was = old.get(row[0]);
      const line = el('tr');
      row.forEach((cell, i) => {
        const isChanged = was === undefined || was[i] !== cell;
        line.append(el(i === 0 ? 'th' : 'td', cell, (isChanged ? 'changed ' : '') + (cell.startsWith('STALE') ? 'stale' : '')));
        if (i === 0) line.firstChild.scope = 'row';
      });
      tbody.append(line);
    }
    table.append(caption, thead, tbody);
    section.append(table);
    return section;
  }

  const hex = (n) => (n === null ? '0xffffffffffffffff' : '0x' + n.toString(16));
  const parts = [
    ['Page-table entries', ['page', 'entry', 'right', 'frame'], (s) => s.entries.map((e) => [
      hex(e.page), e.word, e.isPresent ? (e.isWritable ? 'writable' : 'read-only') : 'not present',
      e.pfn === null ? '-' : hex(e.pfn) + ' gen ' + e.generation,
    ])],
    ['Translations in TLBs', ['TLB, page', 'frame', 'right', ''], (s) => s.translations.map((t) => [
      t.holder + ' ' + hex(t.start), hex(t.pfn) + ' gen ' + t.generation, t.isWritable ? 'writable' : 'read-only',
      t.isStale ? 'STALE: the frame was freed' : '',
    ])],
    ['Frames', ['frame', 'owner', 'generation'], (s) => s.frames.map((f) => [
      hex(f.pfn), f.owner + (f.isQueued ? ', queued to be freed' : ''), String(f.generation),
    ])],
    ['Open sections', ['section', 'range', 'thread'], (s) => s.sections.map((x) => [
      x.id + ': ' + x.what, hex(x.start) + '..' + hex(x.end), x.thread,
    ])],
    ['Inside of', ['what', 'thread'], (s) => s.inside.map((x) => [x.what, x.thread])],
    ['Locks held', ['lock', 'thread'], (s) => s.locks.map((x) => [x.what, x.thread])],
    ['Waiting', ['thread', 'for'], (s) => s.waits.map((x) => [x.thread, x.what])],
  ];

  function show(number, mayScroll) {
    at = number;
    const step = at === 0 ? null : data.steps[at - 1];
    const list = numbers();
    const i = list.indexOf(at);
    byId('where').textContent = at === 0 ? 'Before the first step' : 'Step ' + at + ' of ' + data.steps.length + ': ' + step.lane;
    const what = byId('what');
    what.replaceChildren();
    if (step !== null) {
      for (const c of step.changes) what.append(el('li', c.text + (c.words ? ' [' + c.words + ']' : ''), c.bad ? 'bad' : c.story ? 'story' : ''));
      if (step.end) what.append(el('li', step.end));
      if (step.changes.length === 0 && !step.end) what.append(el('li', step.plain));
    }
    byId('observable').textContent = step !== null && step.observable ? 'It stands at "' + step.to + '": ' + step.observable + '.' : '';
    const before = stateOf(i > 0 ? list[i - 1] : 0);
    const state = stateOf(at);
    byId('state').replaceChildren(...parts.map(([title, head, rows]) => part(title, head, rows(state), rows(before))));
    for (const table of Object.values(tables)) {
      for (const row of table.querySelectorAll('tr[aria-current]')) row.removeAttribute('aria-current');
      const row = table.querySelector('tr[data-step="' + at + '"]');
      if (row !== null) {
        row.setAttribute('aria-current', 'step');
        if (mayScroll && !table.hidden) row.scrollIntoView({ block: 'nearest' });
      }
    }
    byId('first').disabled = byId('back').disabled = at === 0;
    byId('next').disabled = byId('last').disabled = at === list[list.length - 1] || list.length === 0;
  }

  const next = () => { const n = numbers().find((x) => x > at); if (n !== undefined) show(n, true); };
  const back = () => { const n = numbers().findLast((x) => x < at); show(n === undefined ? 0 : n, true); };
  const last = () => { const n = numbers().at(-1); if (n !== undefined) show(n, true); };
  const bad = () => { if (data.bad > 0) show(data.bad, true); };
  const setAll = (on) => {
    allBox.checked = on;
    tables.all.hidden = !on;
    tables.story.hidden = on;
    if (!on && at > 0 && !data.story.includes(at)) at = data.story.findLast((x) => x <= at) || 0;
    show(at, true);
  };
  byId('first').onclick = () => show(0, true);
  byId('back').onclick = back;
  byId('next').onclick = next;
  byId('last').onclick = last;
  byId('violation').onclick = bad;
  allBox.onchange = () => setAll(allBox.checked);
  for (const table of Object.values(tables)) {
    table.onclick = (event) => {
      const row = event.target.closest('tr[data-step]');
      if (row !== null) show(Number(row.dataset.step), false);
    };
  }
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const keys = { ArrowRight: next, ArrowLeft: back, j: next, k: back, Home: () => show(0, true), End: last, v: bad, a: () => setAll(!allBox.checked) };
    const action = keys[event.key];
    if (action === undefined) return;
    event.preventDefault();
    action();
  });
  byId('controls').hidden = byId('panel').hidden = false;
  setAll(false);
})();
`;
