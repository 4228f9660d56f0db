// shootdown designs [NAME]: what the notifier designs are, promise and leave open; of one, in which order things happen under it.

import { Command } from 'commander';
import { CALLBACK_NAMES } from '../device/define-driver.ts';
import type { DesignName } from '../device/driver-face.ts';
import { DESIGN_VARIANTS, DESIGNS, type DesignInfo, designInfo } from '../notifier/designs.ts';
import { ORDER_OPERATIONS, orderOf } from '../workload/designs/orders.ts';

interface Options {
  json?: boolean;
}

/** The published form of a design. */
export interface DesignJson {
  readonly name: string;
  readonly year: number;
  readonly variantOf: string | null;
  readonly summary: string;
  readonly guarantees: string;
  readonly window: string;
  /** Names of the callbacks in an author's driver. */
  readonly callbacks: readonly string[];
  /** By operation: what happened, in order. Only of a design that was asked for by name. */
  readonly orders?: Readonly<Record<string, readonly string[]>>;
}

export function designsCommand(setStatus: (status: number) => void): Command {
  return new Command('designs')
    .description('the notifier designs: what each promises, which window it leaves open, in which order it tells what')
    .argument('[name]', 'one design: also its callbacks, and the order of things in each operation, from a run of it')
    .option('--json', 'print JSON')
    .action((name: string | undefined, options: Options) => {
      const text =
        name === undefined
          ? options.json === true
            ? { designs: [...DESIGNS, ...DESIGN_VARIANTS].map((d) => designJson(d)) }
            : listText()
          : options.json === true
            ? designJson(designInfo(name), ordersOf(name))
            : designText(designInfo(name));
      process.stdout.write(typeof text === 'string' ? text : `${JSON.stringify(text, null, 2)}\n`);
      setStatus(0);
    });
}

function callbacksOf(info: DesignInfo): readonly string[] {
  return CALLBACK_NAMES[(info.variantOf ?? info.name) as DesignName];
}

function ordersOf(name: string): Record<string, readonly string[]> {
  return Object.fromEntries(ORDER_OPERATIONS.map((o) => [o.name, orderOf(name, o)]));
}

export function designJson(info: DesignInfo, orders?: Readonly<Record<string, readonly string[]>>): DesignJson {
  const { name, year, variantOf, summary, guarantees, window } = info;
  const json = { name, year, variantOf: variantOf ?? null, summary, guarantees, window, callbacks: callbacksOf(info) };
  return orders === undefined ? json : { ...json, orders };
}

/** All designs, each with its variants after it. */
function listText(): string {
  const out: string[] = [];
  for (const d of DESIGNS) {
    out.push(...entry(d, ''), ...DESIGN_VARIANTS.filter((v) => v.variantOf === d.name).flatMap((v) => entry(v, '  ')));
  }
  out.push('', 'shootdown designs NAME shows what happens under one, in order.');
  return `${out.join('\n').trimStart()}\n`;
}

function entry(d: DesignInfo, indent: string): string[] {
  return [
    '',
    `${indent}${d.name} (${d.year})`,
    `${indent}  ${d.summary}`,
    `${indent}  promise: ${d.guarantees}`,
    `${indent}  window:  ${d.window}`,
  ];
}

/** One design; the form in which docs/designs shows it. */
export function designText(info: DesignInfo): string {
  const width = Math.max(...ORDER_OPERATIONS.map((o) => o.name.length));
  const callbacks = callbacksOf(info);
  const lines = [
    `${info.name} (${info.year}): ${info.summary}`,
    ...(info.variantOf === undefined ? [] : [`variant of ${info.variantOf}`]),
    `promise: ${info.guarantees}`,
    `window:  ${info.window}`,
    `callbacks: ${callbacks.length === 0 ? 'none' : callbacks.join(', ')}`,
    '',
    'One page, in order:',
    ...ORDER_OPERATIONS.flatMap((o) => wrapped(`  ${o.name.padEnd(width)}  `, orderOf(info.name, o))),
  ];
  return `${lines.join('\n')}\n`;
}

/** Words joined by arrows, in lines of at most 110 characters that begin below each other. */
function wrapped(head: string, words: readonly string[]): string[] {
  const lines: string[] = [];
  let line = head;
  words.forEach((word, i) => {
    const piece = i === words.length - 1 ? word : `${word} > `;
    if (line.length + piece.trimEnd().length > 110) {
      lines.push(line.trimEnd());
      line = ' '.repeat(head.length);
    }
    line += piece;
  });
  return [...lines, line.trimEnd()];
}
