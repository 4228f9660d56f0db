// Scenarios from YAML or JSON files. Any text gives a Scenario, or one InputError with file, line, column and field: "my.yaml:7:11:
// setup[2].do: "mumap" is none of mmap, munmap, ...".

import { readFileSync } from 'node:fs';
import { isMap, isNode, LineCounter, type Node, parseDocument } from 'yaml';
import { InputError } from '../input-error.ts';
import { checkedScenario, fieldName, type Mistake, oneLine } from './mistakes.ts';
import type { Scenario } from './scenario.ts';

const BYTES_MAX = 1 << 20;

/** Reads a scenario file. Throws InputError. */
export function loadScenario(path: string): Scenario {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const why = (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'there is no such file' : (error as Error).message;
    throw new InputError(path, {}, why, 'a scenario in YAML or JSON');
  }
  return parseScenario(text, path);
}

/** The scenario that the text describes; `path` is for messages. Throws InputError for anything else. */
export function parseScenario(text: string, path: string): Scenario {
  if (text.length > BYTES_MAX)
    throw new PlacedError(path, null, `${text.length} bytes; expected a scenario of at most ${BYTES_MAX}`);
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, stringKeys: true });
  const [bad] = [...document.errors, ...document.warnings];
  if (bad !== undefined) throw new PlacedError(path, lines.linePos(bad.pos[0]), oneLine(bad.message));
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    throw new PlacedError(path, null, oneLine((error as Error).message));
  }
  const { scenario, mistakes } = checkedScenario(value);
  if (scenario !== null) return scenario;
  const placed = mistakes.map((m) => ({ m, at: offsetOf(document.contents, m) }));
  const first = placed.reduce((a, b) => (b.at < a.at ? b : a));
  const more = placed.length === 1 ? '' : ` (and ${placed.length - 1} more)`;
  throw new PlacedError(path, lines.linePos(first.at), `${fieldName(first.m.path)}${first.m.what}${more}`);
}

/** The one error of this file: path:line:column: what. */
class PlacedError extends InputError {
  constructor(path: string, at: { readonly line: number; readonly col: number } | null, what: string) {
    super(path, at === null ? {} : { line: at.line }, what, 'a scenario');
    this.message = `${path}${at === null ? '' : `:${at.line}:${at.col}`}: ${what}`;
  }
}

// --- where it stands

/** Offset in the text of what is wrong; of the innermost thing around it when it is missing. */
function offsetOf(root: Node | null, mistake: Mistake): number {
  let node: unknown = root;
  let offset = 0;
  for (let i = 0; ; i++) {
    if (!isNode(node)) return offset;
    offset = node.range?.[0] ?? offset;
    if (i === mistake.path.length) return offset;
    const key = mistake.path[i];
    if (isMap(node)) {
      const pair = node.items.find((p) => String(isNode(p.key) ? p.key.toJSON() : p.key) === String(key));
      if (mistake.isKey && i === mistake.path.length - 1 && isNode(pair?.key)) return pair.key.range?.[0] ?? offset;
      node = pair?.value;
    } else if ('get' in node && typeof node.get === 'function') node = node.get(key, true);
    else return offset;
  }
}
