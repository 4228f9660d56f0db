// A driver author's modules as one text that a worker can import. TypeScript is stripped, imports of relative files and of
// packages are taken in; `shootdown` and its entries are not: they become the addresses of this very package's files, so that
// a driver and the tool share one instance of every class, wherever the driver's file lies.
//
// The text ends in a source map: stack traces name the author's lines. Its exports are the namespaces m0, m1 ... of the
// modules, in order.

import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, extname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type BuildFailure, build, type Message, type OnLoadResult, type Plugin } from 'esbuild';
import { InputError } from '../base/assert.ts';
import { packageEntries } from './entries.ts';
import { nearPath } from './place.ts';

/** What a worker imports. */
export interface Bundle {
  /** Absolute paths of the modules asked for: m0, m1 ... of the text. */
  readonly entries: readonly string[];
  /** Absolute paths of all files of the author that the text contains. */
  readonly files: readonly string[];
  readonly text: string;
  /** File with the text, for workers to import, until `close`. */
  readonly path: string;
  close(): void;
}

const EXTENSIONS = ['.ts', '.mts', '.js', '.mjs'];
const ENTRY = 'shootdown:entry';

/** Refuses what is no module file, before anything is started. Returns the absolute path. */
export function modulePath(path: string): string {
  const full = resolve(path);
  if (!existsSync(full)) throw new InputError(`${path}: there is no such file`);
  if (!statSync(full).isFile())
    throw new InputError(`${path}: is no file; expected a module (${EXTENSIONS.join(', ')})`);
  if (!EXTENSIONS.includes(extname(full)))
    throw new InputError(`${path}: expected a module whose name ends in ${EXTENSIONS.join(', ')}`);
  return full;
}

/** `shootdown` and its entries lead to this package; what else starts with the name is an error that lists them. */
function ownEntries(): Plugin {
  const entries = packageEntries();
  return {
    name: 'shootdown',
    setup(b) {
      b.onResolve({ filter: /^shootdown(\/|$)/ }, (args) => {
        const entry = entries.get(args.path);
        if (entry === undefined) {
          return { errors: [{ text: `"${args.path}" is none of ${[...entries.keys()].join(', ')}` }] };
        }
        if (args.kind === 'require-call' || args.kind === 'require-resolve')
          return { errors: [{ text: `"${args.path}" is an ES module: write import ... from '${args.path}'` }] };
        return { path: pathToFileURL(entry.code).href, external: true };
      });
    },
  };
}

/** The author's files keep their own import.meta.url. The definition stands on the first line, so that lines keep their numbers. */
function ownUrls(): Plugin {
  return {
    name: 'import.meta.url',
    setup(b) {
      b.onLoad({ filter: /\.[mc]?[jt]s$/, namespace: 'file' }, (args): OnLoadResult | undefined => {
        const text = readFileSync(args.path, 'utf8');
        if (!text.includes('import.meta.url')) return undefined;
        const loader = /ts$/.test(args.path) ? 'ts' : 'js';
        const url = JSON.stringify(pathToFileURL(args.path).href);
        return { contents: text.replaceAll('import.meta.url', url), loader };
      });
    },
  };
}

function messageLine(m: Message): string {
  const { location } = m;
  const at = location === null ? '' : `${nearPath(resolve(location.file))}:${location.line}:${location.column + 1}: `;
  return `${at}${m.text}`;
}

/** Makes one text of the modules (also of none), in a folder of its own. Throws InputError with one line, the first error, for what cannot be parsed or
 *  resolved. */
export async function openModules(paths: readonly string[]): Promise<Bundle> {
  const entries = paths.map(modulePath);
  const folder = mkdtempSync(join(tmpdir(), 'shootdown-'));
  const close = (): void => rmSync(folder, { recursive: true, force: true });
  const path = join(folder, 'driver.mjs');
  try {
    const { text, files } = await bundle(entries, path);
    writeFileSync(path, text);
    return { entries, files, text, path, close };
  } catch (error) {
    close();
    const [first] = (error as Partial<BuildFailure>).errors ?? [];
    if (first === undefined) throw error;
    throw new InputError(messageLine(first));
  }
}

/** `path`: where the text will stand, to which its source map is relative. */
async function bundle(entries: readonly string[], path: string): Promise<{ text: string; files: string[] }> {
  const lines = entries.map((entry, i) => `export * as m${i} from ${JSON.stringify(entry)};`);
  const result = await build({
    stdin: { contents: lines.join('\n'), sourcefile: ENTRY, resolveDir: dirname(entries[0] ?? path), loader: 'js' },
    bundle: true,
    write: false,
    metafile: true,
    outfile: path,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    sourcemap: 'inline',
    sourcesContent: false,
    keepNames: true,
    logLevel: 'silent',
    // A package of CommonJS that the author uses may require Node's own modules.
    banner: {
      js: "import { createRequire as $createRequire } from 'node:module'; const require = $createRequire(import.meta.url);",
    },
    plugins: [ownEntries(), ownUrls()],
  });
  const files = Object.keys(result.metafile.inputs).filter((name) => name !== ENTRY);
  return { text: result.outputFiles[0]!.text, files: files.map((name) => resolve(name)) };
}
