// docs/designs/NAME.md shows what `shootdown designs NAME` prints, and a run under the design that goes wrong. UPDATE=1 writes it there.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { PROT_READ } from '../src/abi/mman.ts';
import { NR_mprotect, NR_munmap } from '../src/abi/syscalls.ts';
import { designText } from '../src/cli/designs.ts';
import { DESIGN_VARIANTS, DESIGNS, designInfo } from '../src/notifier/designs.ts';
import { expectTimeline, type TimelineRun } from './support/first-timeline.ts';

const BLOCK = /^```\n\$ shootdown designs (\S+)\n([\s\S]*?)^```$/gm;

function pageOf(name: string): string {
  return fileURLToPath(new URL(`../docs/designs/${name}.md`, import.meta.url));
}

describe.each(DESIGNS.map((d) => d.name))('docs/designs/%s.md', (name) => {
  it('shows the output of the command', () => {
    const text = readFileSync(pageOf(name), 'utf8');
    const shown: string[] = [];
    const now = text.replace(BLOCK, (_block, of: string) => {
      shown.push(of);
      return `\`\`\`\n$ shootdown designs ${of}\n${designText(designInfo(of))}\`\`\``;
    });
    if (process.env['UPDATE'] === '1') writeFileSync(pageOf(name), now);
    expect(now).toBe(readFileSync(pageOf(name), 'utf8'));
    expect(shown).toEqual([name]);
  });

  it('has what every page of a design has, and the table of designs leads to it', () => {
    const text = readFileSync(pageOf(name), 'utf8');
    const headings = [...text.matchAll(/^## (.*)$/gm)].map((m) => m[1]);
    expect(headings).toEqual(['How it works', 'What it promises', 'Where it breaks', 'Source']);
    for (const { name: variant } of DESIGN_VARIANTS.filter((v) => v.variantOf === name))
      expect(text).toContain(`*${variant}*`);
    const overview = fileURLToPath(new URL('../docs/designs.md', import.meta.url));
    expect(readFileSync(overview, 'utf8')).toContain(`[${name}](designs/${name}.md)`);
  });
});

const RDMA: Pick<TimelineRun, 'device' | 'deviceName' | 'access'> = {
  device: { device: 'rdma-odp', rdma: { engines: 1 } },
  deviceName: 'adapter',
  access: 'work request',
};
const WALKER: Pick<TimelineRun, 'deviceName' | 'access'> = { deviceName: 'device', access: 'engine' };
const MUNMAP: Pick<TimelineRun, 'call' | 'path'> = {
  call: 'munmap',
  path: (m, task, va) => m.call(task, NR_munmap, va, 4096),
};

/** Designs that leave a window which one device and one call show. */
const RUNS: Readonly<Record<string, TimelineRun>> = {
  'pte-notifiers': { ...RDMA, ...MUNMAP },
  'mmu-notifiers-andrea': { ...RDMA, ...MUNMAP },
  'mmu-notifiers-v4': {
    ...RDMA,
    isStore: true,
    call: 'mprotect',
    path: (m, task, va) => m.call(task, NR_mprotect, va, 4096, PROT_READ),
  },
  'linux-2.6.27': { ...WALKER, ...MUNMAP, device: { device: 'iommu-flush-start-end', ats: { engines: 1 } } },
  'free-pages-2011': { ...WALKER, ...MUNMAP, device: { device: 'iommu-free-pages', ats: { engines: 1 } } },
};

it.each(Object.entries(RUNS))('docs/designs/%s.md shows a run as it is', (design, run) => {
  expectTimeline(pageOf(design), { ...run, design });
});
