// Where an error came from, in the author's words: the first frame of its stack that lies in one of the author's files.

import { isAbsolute, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PACKAGE } from './entries.ts';

const FRAME = /\(?((?:file:\/\/|\/|[A-Za-z]:[\\/])[^()]*?):(\d+):(\d+)\)?$/;

/** "driver.ts:12:5" of the first frame in one of `files` (absolute paths), or null. */
export function placeOf(error: unknown, files: ReadonlySet<string>): string | null {
  return firstPlace(error, (path) => files.has(path));
}

/** The first frame that is neither this package's nor Node's. */
export function placeOutside(error: unknown): string | null {
  const inside = ['dist', 'src', 'node_modules'].map((folder) => join(PACKAGE, folder, sep));
  return firstPlace(error, (path) => isAbsolute(path) && !inside.some((folder) => path.startsWith(folder)));
}

function firstPlace(error: unknown, isOurs: (path: string) => boolean): string | null {
  if (!(error instanceof Error) || typeof error.stack !== 'string') return null;
  for (const line of error.stack.split('\n')) {
    const match = FRAME.exec(line.trimEnd());
    if (match === null) continue;
    const path = match[1]!.startsWith('file://') ? fileURLToPath(match[1]!) : match[1]!;
    if (isOurs(path)) return `${nearPath(path)}:${match[2]}:${match[3]}`;
  }
  return null;
}

/** First line of what was thrown, whatever it was. */
export function errorLine(error: unknown): string {
  const text =
    error instanceof Error ? `${error.name === 'Error' ? '' : `${error.name}: `}${error.message}` : String(error);
  return text.split('\n')[0]!;
}

/** Path as an author would write it: relative to the working directory where it lies below it. */
export function nearPath(path: string): string {
  const near = relative(process.cwd(), path);
  return near.startsWith('..') ? path : near;
}
