// docs/designs.md shows what `shootdown designs NAME` prints. UPDATE=1 writes it there instead.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { designText } from '../src/cli/designs.ts';
import { DESIGNS, designInfo } from '../src/notifier/designs.ts';

const PAGE = fileURLToPath(new URL('../docs/designs.md', import.meta.url));
const BLOCK = /^```\n\$ shootdown designs (\S+)\n([\s\S]*?)^```$/gm;

test('each timeline in docs/designs.md is the output of the command above it', () => {
  const text = readFileSync(PAGE, 'utf8');
  const shown: string[] = [];
  const now = text.replace(BLOCK, (_block, name: string) => {
    shown.push(name);
    return `\`\`\`\n$ shootdown designs ${name}\n${designText(designInfo(name))}\`\`\``;
  });
  if (process.env['UPDATE'] === '1') writeFileSync(PAGE, now);
  expect(now).toBe(readFileSync(PAGE, 'utf8'));
  // linux-6.12 is told of with linux-6.6.
  expect([...shown].sort()).toEqual(
    DESIGNS.map((d) => d.name)
      .filter((n) => n !== 'linux-6.12')
      .sort(),
  );
});

test('the page says of each design and variant what the list says', () => {
  const text = readFileSync(PAGE, 'utf8');
  for (const { name, guarantees, window } of DESIGNS.filter((d) => d.name !== 'linux-6.12')) {
    expect(text, name).toContain(`promise: ${guarantees}`);
    expect(text, name).toContain(`window:  ${window}`);
  }
});
