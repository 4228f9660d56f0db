// Drivers that come with the package, by name: the files of drivers/ and drivers/wrong/.

import { existsSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { InputError } from '../base/assert.ts';
import { PACKAGE } from './entries.ts';

const FOLDERS = ['drivers', join('drivers', 'wrong')];

/** Names of the shipped drivers, the wrong ones last. */
export function shippedDrivers(): string[] {
  return FOLDERS.flatMap((folder) => {
    const path = join(PACKAGE, folder);
    if (!existsSync(path)) return [];
    const files = readdirSync(path).filter((f) => f.endsWith('.ts') && !f.endsWith('.d.ts'));
    return files.sort().map((f) => f.slice(0, -3));
  });
}

/** Is it a name of a shipped driver, not a path? */
export function isShipped(name: string): boolean {
  return shippedDrivers().includes(name);
}

/** The module of a driver given by path or by the name of a shipped one. Throws InputError for a name that is neither. */
export function driverPath(nameOrPath: string): string {
  if (isShipped(nameOrPath)) {
    for (const folder of FOLDERS) {
      const path = join(PACKAGE, folder, `${nameOrPath}.ts`);
      if (existsSync(path)) return path;
    }
  }
  if (existsSync(nameOrPath) || /[./\\]/.test(nameOrPath)) return nameOrPath;
  throw new InputError(`driver: "${nameOrPath}" is neither a file nor one of ${shippedDrivers().join(', ')}`);
}

/** Modules of the museum's entries, in order. */
export function museumFiles(): string[] {
  const folder = join(PACKAGE, 'bugs');
  const files = existsSync(folder) ? readdirSync(folder).filter((f) => /^\d+-.*\.ts$/.test(f)) : [];
  return files.sort().map((f) => join(folder, f));
}

/** The module of a museum entry, by id or number. Throws InputError for one that is none. */
export function bugPath(id: string): string {
  const file = museumFiles().find((path) => {
    const [, number, name] = /^(\d+)-(.*)\.ts$/.exec(basename(path))!;
    return name === id || Number(number) === Number(id);
  });
  if (file === undefined) throw new InputError(`bug: "${id}" is not in the museum`);
  return file;
}
