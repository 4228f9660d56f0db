// The recorded order of callbacks relative to the clearing of the entry, the CPUs' flush and the free of the page, for each design and
// operation, against what the designs say of themselves (docs/designs/): written out once by hand, and as laws.

import { expect, test } from 'vitest';
import { DESIGN_VARIANTS, DESIGNS } from '../../notifier/designs.ts';
import { ORDER_OPERATIONS, orderOf } from './orders.ts';

// One letter a word: - entry cleared, w write-protected, + entry set, F CPUs flushed, X page freed; S E start and end, B and N begin and
// end of 2008, P invalidate_page, R invalidate_range, A arch_invalidate_secondary_tlbs, D invalidate_range_free_pages, C change_pte, y young
// test, K clear, V close, L invalidate_all, Z release.
const LETTERS: Readonly<Record<string, string>> = {
  'entry cleared': '-',
  'write-protected': 'w',
  'entry set': '+',
  'CPUs flushed': 'F',
  'page freed': 'X',
  start: 'S',
  end: 'E',
  begin: 'B',
  invalidate_page: 'P',
  invalidate_range: 'R',
  arch_invalidate_secondary_tlbs: 'A',
  invalidate_range_free_pages: 'D',
  change_pte: 'C',
  clear_flush_young: 'y',
  age_page: 'y',
  clear: 'K',
  close: 'V',
  invalidate_all: 'L',
  release: 'Z',
};

//                      munmap   batch full   madvise  truncate       copy       fork   mprotect mremap      reclaim    write-back exit
const EXPECTED = {
  pinned:
    '               -FX      -FXF         -FX      -FX            -F+        wF     wF       -F          -FXF       -F+        -FXF',
  'pte-notifiers':
    '      -FXV     -FXFV        -FX      -FX            -F+        wF     wF       -F          K-FXF      -F+        -FXFV',
  'pte-notifiers-fixed':
    '-FXV     -FXFV        -FX      -FX            -F+        wF     wF       -FV         K-FXF      -F+        -FXFV',
  'mmu-notifiers-andrea':
    '-FXR     -FXFR        -FXR     -FRXR          -FP+       wF     wF       -FPR        y-FPXF     -FP+       -FXFZ',
  'mmu-notifiers-v4':
    '   B-FXE    B-FXFE       B-FXE    B-FEXBE        B-F+E      BwEF   wF       -FBE        y-FPXF     -FP+       L-FXFZ',
  'mmu-notifiers-v4-sleeping':
    '                     B-FXE    B-FXFE       B-FXE    B-FEXBE        B-F+E      BwEF   wF       -FBE        y-FPXF     -FP+       L-FXFZ',
  'mmu-notifiers-v4-unpaired':
    '                     B-FXE    B-FXFE       B-FXE    B-FEXBE        B-F+E      BwEF   wF       -FBE        y-FPXF     -FP+       L-FXFZ',
  'mmu-notifiers-v5':
    '   B-FXE    B-FXFE       B-FXE    B-FEXBE        B-F+E      BwEF   wF       B-FEBE      y-FPXF     -FP+       Z-FXF',
  'linux-2.6.27':
    '       S-EFX    S-FXEF       S-EFX    S-FEXSE        -FPC+      SwEF   SwEF     S-FESE      y-FPXF     -FP+       Z-FXF',
  'linux-3.7':
    '          S-EFX    S-FXEF       S-EFX    S-FEXSE        S-FC+E     SwEF   SwEF     S-FESE      y-FPXF     -F+P       Z-FXF',
  'free-pages-2011':
    '    S-DEFX   S-DFXDEF     S-DEFX   S-DFDEXSDE     -FPC+      SwEF   SwEF     S-FESDE     y-FPXF     -FP+       Z-FXF',
  'free-pages-2011-all':
    '                     S-DEFX   S-DFXDEF     S-DEFX   S-DFDEXSDE     -FPC+      SwEF   SwEF     S-FESDE     y-FPXF     -FP+       Z-FXF',
  'invalidate-range':
    '   S-REFRX  S-FRXREFR    S-REFRX  S-FREXSRE      S-FRC+RE   SwREF  SwREFR   S-FRESRE    y-FPXFR    -FP+       Z-FXF',
  'linux-6.1':
    '          S-REFRX  S-FRXREFR    S-REFRX  S-FREXSRE      S-FRC+E    SwREF  SwREFR   S-FRESRE    yS-FREXFR  S-F+RE     Z-FXF',
  'linux-6.6':
    '          S-EFAX   S-FAXEFA     S-EFAX   S-FAEXSE       S-FAC+E    SwEFA  SwEFA    S-FAESE     yS-FAEXFA  S-FA+E     Z-FXF',
  'linux-6.12':
    '         S-EFAX   S-FAXEFA     S-EFAX   S-FAEXSE       S-FA+E     SwEFA  SwEFA    S-FAESE     S-FAEX     S-FA+E     Z-FXF',
} as Readonly<Record<string, string>>;

function recorded(design: string): string[] {
  return ORDER_OPERATIONS.map((o) =>
    orderOf(design, o)
      .map((word) => LETTERS[word] ?? `(${word})`)
      .join(''),
  );
}

test.each([...DESIGNS, ...DESIGN_VARIANTS].map((d) => d.name))('%s', (design) => {
  expect(recorded(design)).toEqual(EXPECTED[design]?.trim().split(/\s+/));
});

/** Is there a callback of `letters` after the clear and before the free, wherever the page is freed? */
function toldBetween(order: string, letters: string): boolean {
  const cleared = order.indexOf('-');
  const freed = order.indexOf('X');
  return freed < 0 || [...order.slice(cleared, freed)].some((c) => letters.includes(c));
}

test('who tells a walker between the clear and the free: 2014 and later always, 2011 of unmappings, before that by luck', () => {
  const unmappings = (design: string): string[] => recorded(design).slice(0, 4);
  for (const design of ['invalidate-range', 'linux-6.1', 'linux-6.6', 'linux-6.12', 'free-pages-2011'])
    expect(unmappings(design).every((o) => toldBetween(o, 'RAD'))).toBe(true);
  // The last batch is freed after end; a full one before it.
  expect(unmappings('linux-2.6.27').map((o) => toldBetween(o, 'E'))).toEqual([true, false, true, true]);
  for (const design of ['pte-notifiers', 'mmu-notifiers-andrea', 'mmu-notifiers-v4'])
    expect(
      unmappings(design)
        .slice(0, 3)
        .some((o) => toldBetween(o, 'KVPREN')),
    ).toBe(false);
});

test('2007: the one call comes while the entry is present', () => {
  for (const order of recorded('pte-notifiers')) if (order.includes('K')) expect(order).toMatch(/^K-/);
});

test('December 2007: a range is told when its page is free, and the end of the address space after everything', () => {
  const orders = recorded('mmu-notifiers-andrea');
  for (const order of orders.slice(0, 4)) expect(order).toMatch(/X.*R$/);
  expect(orders.at(-1)).toMatch(/X.*Z$/);
});

test('2008: pages are freed between begin and end', () => {
  for (const order of recorded('mmu-notifiers-v4').slice(0, 3)) expect(order).toMatch(/^B.*X.*E$/);
});
