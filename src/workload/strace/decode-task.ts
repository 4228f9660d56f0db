/** Decoders of the calls that make, replace and end tasks, and of the settings that later calls depend on. */

import { type Word64, word64, ZERO64 } from '../word64.ts';
import type { ArgReader } from './arg-reader.ts';
import * as C from './constants.ts';
import type { Decoder } from './decode-memory.ts';
import { splitList } from './scan.ts';
import type { Limit, TraceOp } from './trace-op.ts';
import { parseStruct, parseText, parseWord } from './values.ts';

const CLONE_VM = 0x100;
const CLONE_FILES = 0x400;
const CLONE_VFORK = 0x4000;
const CLONE_THREAD = 0x1_0000;
const SIGCHLD = 17;
const CSIGNAL = 0xff;
const NO_NAMES: C.ConstantTable = new Map();

function fork(
  how: 'fork' | 'vfork' | 'clone' | 'clone3',
  flags: Word64,
  exitSignal: number,
  stack: Word64 | null,
  stackSize: Word64 | null,
): TraceOp {
  return {
    op: 'fork',
    how,
    flags,
    exitSignal,
    sharesMm: (flags.lo & CLONE_VM) !== 0,
    isThread: (flags.lo & CLONE_THREAD) !== 0,
    isVfork: (flags.lo & CLONE_VFORK) !== 0,
    sharesFiles: (flags.lo & CLONE_FILES) !== 0,
    stack: stack !== null && stack.hi === 0 && stack.lo === 0 ? null : stack,
    stackSize,
  };
}

/** `clone(child_stack=NULL, flags=...|SIGCHLD, ...)`, and without names as -X raw prints it: flags, stack. */
function clone(a: ArgReader): TraceOp {
  const named = a.named('flags');
  const all = named === null ? a.flags(0, C.CLONE) : a.flagsOf(1, named, C.CLONE);
  const stackText = a.named('child_stack') ?? a.named('stack') ?? (named === null ? a.raw(1) : '0');
  return fork(
    'clone',
    word64(all.hi, all.lo & ~CSIGNAL),
    all.lo & CSIGNAL,
    parseWord(stackText),
    parseWord(a.named('stack_size') ?? ''),
  );
}

function clone3(a: ArgReader): TraceOp {
  // the kernel's answers follow behind ` => `
  const text = a.raw(0);
  const fields = parseStruct(text.split('} => {')[0] === text ? text : `${text.split('} => {')[0]}}`);
  if (fields === null) a.fail(0, 'no struct clone_args');
  const field = (name: string): string => fields?.get(name) ?? '0';
  const signal = a.flagsOf(0, field('exit_signal'), C.SIGNAL);
  return fork(
    'clone3',
    a.flagsOf(0, field('flags'), C.CLONE),
    signal.lo & CSIGNAL,
    parseWord(field('stack')),
    parseWord(field('stack_size')),
  );
}

function argv(text: string | undefined): string[] | null {
  const items = text === undefined ? null : splitList(text);
  return items === null ? null : items.map((item) => parseText(item)?.text ?? item);
}

function limit(text: string | undefined): Limit | null {
  const fields = text === undefined ? null : parseStruct(text);
  const cur = parseWord(fields?.get('rlim_cur') ?? '');
  const max = parseWord(fields?.get('rlim_max') ?? '');
  return cur === null || max === null ? null : { cur, max };
}

function prctl(a: ArgReader): TraceOp {
  const option = a.flags(0, C.PRCTL).lo | 0;
  const texts = a.args.slice(1);
  const args = texts.map((text) => {
    const name = C.PR_SET_MM.get(text);
    return name === undefined ? parseWord(text) : word64(0, name);
  });
  return { op: 'prctl', option, args, texts };
}

/** setuid(2), setresuid(3) ...: every argument is a number. */
function setid(a: ArgReader): TraceOp {
  return { op: 'setid', how: a.call.name, ids: a.args.map((_, i) => a.int(i)) };
}

function setgroups(a: ArgReader): TraceOp {
  const items = splitList(a.raw(1)) ?? [];
  return { op: 'setgroups', groups: items.map((item) => parseWord(item)?.lo ?? -1) };
}

/** capset(header, {effective=1<<CAP_CHOWN|..., permitted=0, inheritable=0}). */
function capset(a: ArgReader): TraceOp {
  const fields = parseStruct(a.raw(1));
  const set = (name: string): number => {
    const text = fields?.get(name);
    if (text === undefined) return 0;
    return a.flagsOf(1, text, NO_NAMES).lo | 0;
  };
  return { op: 'capset', effective: set('effective'), permitted: set('permitted'), inheritable: set('inheritable') };
}

/** exit status: a plain int. */
function exit(isGroup: boolean): Decoder {
  return (a) => ({ op: 'exit', isGroup, status: a.int(0) });
}

export const TASK_DECODERS: Readonly<Record<string, Decoder>> = {
  fork: () => fork('fork', ZERO64, SIGCHLD, null, null),
  vfork: () => fork('vfork', word64(0, CLONE_VM | CLONE_VFORK), SIGCHLD, null, null),
  clone,
  clone3,
  execve: (a) => ({ op: 'execve', how: 'execve', dirFd: null, path: a.text(0), argv: argv(a.args[1]) }),
  execveat: (a) => ({ op: 'execve', how: 'execveat', dirFd: a.fd(0), path: a.text(1), argv: argv(a.args[2]) }),
  exit: exit(false),
  exit_group: exit(true),
  wait4: (a) => ({ op: 'wait', how: 'wait4', pid: a.pid(0), statusText: a.args[1] ?? '' }),
  waitid: (a) => ({
    op: 'wait',
    how: 'waitid',
    pid: a.count > 1 ? (parseWord(a.raw(1))?.lo ?? -1) | 0 : -1,
    statusText: a.args[2] ?? '',
  }),
  prlimit64: (a) => ({
    op: 'prlimit',
    pid: a.pid(0),
    resource: a.flags(1, C.RLIMIT).lo | 0,
    next: limit(a.args[2]),
    old: a.isOk ? limit(a.args[3]) : null,
  }),
  getrlimit: (a) => ({
    op: 'prlimit',
    pid: 0,
    resource: a.flags(0, C.RLIMIT).lo | 0,
    next: null,
    old: a.isOk ? limit(a.args[1]) : null,
  }),
  setrlimit: (a) => ({
    op: 'prlimit',
    pid: 0,
    resource: a.flags(0, C.RLIMIT).lo | 0,
    next: limit(a.args[1]),
    old: null,
  }),
  personality: (a) => ({ op: 'personality', persona: a.flags(0, C.PERSONALITY) }),
  prctl,
  arch_prctl: (a) => ({ op: 'arch_prctl', option: a.flags(0, C.ARCH_PRCTL).lo | 0, addr: a.wordOrNull(1) }),
  unshare: (a) => ({ op: 'unshare', flags: a.flags(0, C.CLONE) }),
  ...Object.fromEntries('setuid setgid setreuid setregid setresuid setresgid'.split(' ').map((name) => [name, setid])),
  setgroups,
  capset,
};
