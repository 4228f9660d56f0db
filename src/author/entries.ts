// The entries of this package, as an author imports them.

import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** This package's folder: two above this file in the sources and in what is published alike. */
export const PACKAGE = fileURLToPath(new URL('../..', import.meta.url));

/** Addresses of the package's entries by the name that a module imports them with. */
export function packageEntries(): ReadonlyMap<string, { readonly code: string; readonly types: string }> {
  const { exports } = JSON.parse(readFileSync(resolve(PACKAGE, 'package.json'), 'utf8')) as {
    exports: Record<string, { types: string; import: string } | string>;
  };
  const modules = Object.entries(exports).flatMap(([name, at]) => (typeof at === 'string' ? [] : [{ name, at }]));
  return new Map(
    modules.map(({ name, at }) => [
      `shootdown${name.slice(1)}`,
      { code: resolve(PACKAGE, at.import), types: resolve(PACKAGE, at.types) },
    ]),
  );
}
