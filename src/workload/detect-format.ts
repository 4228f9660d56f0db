/** Which text form a file has, by its first lines. The order matters: the strace shape is the loosest and comes last. */

export type TraceFormat =
  | 'lackey'
  | 'ftrace'
  | 'chrome'
  | 'bpftrace'
  | 'perf-trace'
  | 'perf'
  | 'strace'
  | 'strace-summary'
  | 'maps';

const RULES: readonly (readonly [TraceFormat, RegExp])[] = [
  ['lackey', /^(?:==\d+== (?:Lackey\b|$)|--\d+-- | *[ILSM] +[0-9a-fA-F]{4,16},\d+$)/],
  ['ftrace', /^# tracer:/],
  ['chrome', /^(?:\{\s*"traceEvents"|\[\s*\{.*"ph")/],
  ['bpftrace', /^(?:Attaching \d+ probe|\{"type": "attached_probes")/],
  ['maps', /^(?:# task \d+ (?:after execve|at exit)|[0-9a-f]{8,16}-[0-9a-f]{8,16} [r-][w-][x-][sp] )/],
  ['perf-trace', /^\s*\d+\.\d+ \(/],
  [
    'perf',
    /^\s*\S.{0,64}?\s+-?\d+(?:\/-?\d+)?\s+(?:\[\d{3,}\]\s+)?(?:\d+\.\d+:\s+)(?:\d+\s+)?(?:PERF_RECORD_\w+|[A-Za-z_][\w.:/-]*:(?:\s|$))/,
  ],
  ['strace-summary', /^% time +seconds/],
  [
    'strace',
    /^(?:\[pid +\d+(?:<.*>)?\] |\d+(?:<.*>)? +)?(?:(?:\d\d:\d\d:\d\d(?:\.\d+)?|\d+(?:\.\d+)?)(?: \(\+ *[\d.]+\))? +| +\d+\.\d+ +){0,3}(?:\[[0-9a-f?]{16}\] )?(?:\[ *\d+\] )?(?:[a-z_][a-z0-9_]* ?\(|<\.\.\. [a-z_][a-z0-9_]* resumed>|--- SIG|\+\+\+ |strace: )/,
  ],
];

const LINE_LENGTH_MAX = 2048;

/** Format of a text by its first non-empty lines (the first that any rule knows, of at most 20); null if none is known. */
export function detectFormat(firstLines: readonly string[]): TraceFormat | null {
  let tried = 0;
  for (const line of firstLines) {
    const text = line
      .replace(/^\xef\xbb\xbf/, '')
      .replace(/\r$/, '')
      .slice(0, LINE_LENGTH_MAX);
    if (text.trim() === '') continue;
    for (const [format, pattern] of RULES) if (pattern.test(text)) return format;
    if (++tried === 20) break;
  }
  return null;
}
