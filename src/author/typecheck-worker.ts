// Checks the types of an author's modules, in a thread of its own: the compiler takes a second, in which the exploration goes on.
//
// Options are those of the author's tsconfig.json where there is one, so that this agrees with the author's editor; what decides how
// modules are found is this loader's (bundle.ts) in any case. Left alone: unused names, which hurt no kernel.

import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import ts from 'typescript';
import { PACKAGE, packageEntries } from './entries.ts';
import { sleepOf } from './sleep-mistake.ts';
import type { TypeMistake } from './typecheck.ts';

const { paths } = workerData as { readonly paths: readonly string[] };

/** For an author without @types/node: what is there in every JavaScript that may run a driver. */
const GLOBALS = join(PACKAGE, 'globals.d.ts');
const GLOBALS_TEXT = `declare const console: Readonly<Record<'log' | 'error' | 'warn' | 'info' | 'debug', (...data: unknown[]) => void>>;`;

function mistakeOf(d: ts.Diagnostic, checker: ts.TypeChecker | null): TypeMistake {
  const text = ts.flattenDiagnosticMessageText(d.messageText, '\n');
  const sleep = checker === null ? null : sleepOf(d, text, checker);
  const start = sleep === null ? (d.start ?? 0) : sleep.node.getStart();
  const at = d.file === undefined ? null : ts.getLineAndCharacterOfPosition(d.file, start);
  const place = { file: d.file?.fileName ?? paths[0]!, line: (at?.line ?? 0) + 1, column: (at?.character ?? 0) + 1 };
  const [message = '', ...detail] = text.split('\n');
  if (sleep === null) return { ...place, message, detail };
  return { ...place, message: `${sleep.callback} must not sleep, and ${sleep.step} may`, detail: [] };
}

/** Options of the author, and what is wrong with the file that has them. */
function authorOptions(folder: string): { options: ts.CompilerOptions; errors: readonly ts.Diagnostic[] } {
  const strict: ts.CompilerOptions = { strict: true, target: ts.ScriptTarget.ES2023 };
  const file = ts.findConfigFile(folder, ts.sys.fileExists);
  if (file === undefined) return { options: strict, errors: [] };
  const { config, error } = ts.readConfigFile(file, ts.sys.readFile);
  if (error !== undefined) return { options: strict, errors: [error] };
  // No list of files is wanted of it: only options are.
  const parsed = ts.parseJsonConfigFileContent(
    { ...config, files: [], include: [] },
    ts.sys,
    dirname(file),
    undefined,
    file,
  );
  return { options: parsed.options, errors: [] };
}

function hasNodeTypes(folder: string): boolean {
  for (let at = folder; ; at = dirname(at)) {
    if (existsSync(join(at, 'node_modules', '@types', 'node', 'package.json'))) return true;
    if (at === dirname(at)) return false;
  }
}

function check(): TypeMistake[] {
  const folder = dirname(paths[0]!);
  const { options: author, errors } = authorOptions(folder);
  if (errors.length > 0) return errors.map((d) => mistakeOf(d, null));
  const own = [...packageEntries()].map(([name, { types }]): [string, string[]] => [name, [types]]);
  const isNode = hasNodeTypes(folder);
  const options: ts.CompilerOptions = {
    ...author,
    types: author.types ?? (isNode ? ['node'] : []),
    paths: { ...author.paths, ...Object.fromEntries(own) },
    module: ts.ModuleKind.Preserve,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
    allowImportingTsExtensions: true,
    allowJs: true,
    noEmit: true,
    skipLibCheck: true,
    noUnusedLocals: false,
    noUnusedParameters: false,
    composite: false,
    incremental: false,
    declaration: false,
    declarationMap: false,
    emitDeclarationOnly: false,
  };
  for (const name of ['rootDir', 'outDir', 'tsBuildInfoFile', 'outFile'] as const) delete options[name];
  const host = ts.createCompilerHost(options);
  const { readFile, fileExists, getSourceFile } = host;
  host.getCurrentDirectory = () => folder;
  host.fileExists = (name) => name === GLOBALS || fileExists(name);
  host.readFile = (name) => (name === GLOBALS ? GLOBALS_TEXT : readFile(name));
  host.getSourceFile = (name, ...rest) =>
    name === GLOBALS ? ts.createSourceFile(name, GLOBALS_TEXT, ts.ScriptTarget.ES2023) : getSourceFile(name, ...rest);
  const program = ts.createProgram({ rootNames: isNode ? [...paths] : [...paths, GLOBALS], options, host });
  const files = program.getSourceFiles().filter((f) => !f.isDeclarationFile && !f.fileName.includes('/node_modules/'));
  return files
    .flatMap((f) => [...program.getSyntacticDiagnostics(f), ...program.getSemanticDiagnostics(f)])
    .filter((d) => d.category === ts.DiagnosticCategory.Error)
    .map((d) => mistakeOf(d, program.getTypeChecker()))
    .sort((a, b) => Number(a.file > b.file) - Number(a.file < b.file) || a.line - b.line || a.column - b.column);
}

/** JavaScript is checked where it asks for it. */
function wantsCheck(path: string): boolean {
  return /ts$/.test(path) || readFileSync(path, 'utf8').includes('@ts-check');
}

parentPort!.postMessage(paths.some(wantsCheck) ? check() : []);
