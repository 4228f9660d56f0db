// Loads what belongs to one recording: NAME.strace with NAME.maps0, NAME.maps1 and, if asked for, a list of page faults.
// Files lie side by side; each may be compressed.

import { statSync } from 'node:fs';
import { basename } from 'node:path';
import { InputError } from '../../base/assert.ts';
import { detectFormat } from '../detect-format.ts';
import { importFaults, importMaps, importStrace, straceBatches, tidOfFileName } from '../import-file.ts';
import { ImportReport } from '../import-report.ts';
import { readChunks } from '../input.ts';
import { decodeLatin1 } from '../line-reader.ts';
import type { MapsSection } from '../maps.ts';
import { DISK, type RecordingFiles } from '../recording-files.ts';
import { decodeCall } from '../strace/decode.ts';
import type { CallRecord, TraceRecord } from '../strace/record.ts';
import { FaultPlan } from './fault-plan.ts';
import type { ReplayTrace } from './replayer.ts';
import type { Piece } from './touched-pieces.ts';

export interface LoadOptions {
  readonly strict?: boolean;
  /** Paths; undefined = beside the trace if there, null = none. */
  readonly initialMaps?: string | null | undefined;
  readonly finalMaps?: string | null | undefined;
  readonly faults?: string | null | undefined;
  /** Where the files lie: default on the disk. */
  readonly files?: RecordingFiles;
}

/** A recording that was read once, to be read again while it is replayed. */
export interface ScannedTrace extends ReplayTrace {
  readonly recordCount: number;
  /** The leaders of thread groups, ascending. */
  readonly processes: readonly number[];
  /** The records in order, in pieces. */
  readonly batches: () => AsyncIterable<readonly TraceRecord[]> | Iterable<readonly TraceRecord[]>;
  readonly report: ImportReport;
  /** What was wrong with the files that were read, one line each; empty when they were clean. */
  readonly problems: readonly string[];
  /** Faulting addresses by process of the fault list, in order of first appearance. */
  readonly faults: readonly Float64Array[];
  /** Memory that the program gives to a userfaultfd: its first accesses are what the program waits for. */
  readonly untouched: readonly Piece[];
  /** Kernel of the recording: a profile name; null when nothing tells. */
  readonly kernel: string | null;
}

/** A recording with all its records in memory. */
export interface LoadedTrace extends ScannedTrace {
  readonly records: readonly TraceRecord[];
}

/** NAME of NAME.strace, NAME.strace.gz. */
export function recordingName(path: string): string {
  return path.replace(/\.gz$/, '').replace(/\.strace$/, '');
}

/** The file beside the trace with that ending, compressed or not; null when there is none. */
export function besideTrace(path: string, ending: string, files: RecordingFiles = DISK): string | null {
  return files.find(`${recordingName(path)}.${ending}`);
}

/** Refuses what is no strace text, and pipes: they give their text once. Throws InputError. */
async function checkFormat(path: string, files: RecordingFiles): Promise<void> {
  const kind = files === DISK ? statSync(path, { throwIfNoEntry: false }) : undefined;
  if (path === '-' || (kind !== undefined && !kind.isFile() && !kind.isDirectory()))
    throw new InputError(`${path}: not a regular file, and a recording is read more than once; expected a file`);
  const report = new ImportReport(path);
  for await (const chunk of files.chunks(path, report)) {
    const head = decodeLatin1(chunk.subarray(0, 4096));
    const format = detectFormat(head.split('\n'));
    if (format === 'strace' || format === null) return;
    throw new InputError(`${path}: this is ${format} text; expected the output of strace`);
  }
  throw new InputError(`${path}: the file is empty; expected the output of strace`);
}

function noteProblems(report: ImportReport, problems: string[]): void {
  for (const problem of report.problems()) problems.push(`${basename(report.path)}: ${problem}`);
}

async function loadMaps(
  path: string | null,
  strict: boolean,
  problems: string[],
  files: RecordingFiles,
): Promise<MapsSection[]> {
  if (path === null) return [];
  const report = new ImportReport(path, strict);
  const sections = await importMaps(files.chunks(path, report), report);
  if (sections.length === 0) throw new InputError(`${path}: no mapping in it; expected the text of /proc/PID/maps`);
  noteProblems(report, problems);
  return sections;
}

/** Faults of each process, processes in order of first appearance. */
async function loadFaults(path: string | null, strict: boolean, problems: string[]): Promise<Float64Array[]> {
  if (path === null) return [];
  const report = new ImportReport(path, strict);
  const byProcess = new Map<number, number[]>();
  await importFaults(readChunks(path, report), report, (fault) => {
    const list = byProcess.get(fault.pid) ?? [];
    if (!Number.isNaN(fault.addr.num)) list.push(fault.addr.num);
    byProcess.set(fault.pid, list);
  });
  if (byProcess.size === 0)
    throw new InputError(`${path}: no page fault in it; expected perf script lines: comm pid/tid time: event: addr ip`);
  noteProblems(report, problems);
  return [...byProcess.keys()].sort((a, b) => a - b).map((pid) => Float64Array.from(byProcess.get(pid)!));
}

/** What has to be known of a recording before its replay begins. */
class Scan {
  count = 0;
  calls = 0;
  /** Kernel that uname told; null when it was not asked. */
  kernel: string | null = null;
  /** Ranges registered with a userfaultfd. */
  readonly registered: Piece[] = [];
  readonly #tasks = new Set<number>();
  readonly #threads = new Set<number>();

  add(r: TraceRecord): void {
    this.count++;
    if (r.kind !== 'call') return;
    this.calls++;
    this.#tasks.add(r.tid);
    if (r.name === 'ioctl' && r.args?.[1] === 'UFFDIO_REGISTER') this.#addRegistered(r);
    if (r.name === 'uname' && this.kernel === null) {
      const release = /release="(\d+)\.(\d+)/.exec((r.args ?? []).join(','));
      if (release !== null) this.kernel = profileFor(Number(release[1]), Number(release[2]));
    } else if (r.name.startsWith('clone') && r.ret !== null && /CLONE_THREAD/.test((r.args ?? []).join()))
      this.#threads.add(r.ret.num);
  }

  #addRegistered(r: CallRecord): void {
    const op = decodeCall(r);
    if (op.op !== 'uffd_ioctl' || op.start === null || op.length === null) return;
    this.registered.push({ start: op.start.num, end: op.start.num + op.length.num });
  }

  processes(): number[] {
    return [...this.#tasks].filter((t) => !this.#threads.has(t)).sort((a, b) => a - b);
  }
}

/** The kernel that a mapping tells which only later ones have. */
function kernelOfMaps(initialMaps: readonly MapsSection[]): string | null {
  // [vvar_vclock] became a mapping of its own in 6.13.
  return initialMaps.some((s) => s.vmas.some((v) => v.name === '[vvar_vclock]')) ? '6.18' : null;
}

function profileFor(major: number, minor: number): string {
  const version = major * 1000 + minor;
  if (version >= 6013) return '6.18';
  if (version >= 6007) return '6.12';
  return version >= 6006 ? '6.6' : '6.1';
}

/** Reads a recording into memory. Throws InputError for a file that is no trace; damaged ones are used, see `report`. */
export async function loadTrace(path: string, options: LoadOptions = {}): Promise<LoadedTrace> {
  const records: TraceRecord[] = [];
  const scanned = await scan(path, options, (r) => records.push(r));
  return { ...scanned, records, batches: () => [records] };
}

/** Reads a recording through without keeping its records. Errors as loadTrace. */
export function scanTrace(path: string, options: LoadOptions = {}): Promise<ScannedTrace> {
  return scan(path, options, () => {});
}

async function scan(path: string, options: LoadOptions, sink: (r: TraceRecord) => void): Promise<ScannedTrace> {
  const strict = options.strict ?? false;
  const files = options.files ?? DISK;
  await checkFormat(path, files);
  const report = new ImportReport(path, strict);
  const known = new Scan();
  const tid = tidOfFileName(path);
  const straceOptions = tid === null ? {} : { defaultTid: tid };
  await importStrace(
    files.chunks(path, report),
    report,
    (r) => {
      known.add(r);
      sink(r);
    },
    straceOptions,
  );
  if (known.calls === 0)
    throw new InputError(`${path}: no system call in ${report.lines} lines; expected the output of strace`);
  const where = (given: string | null | undefined, ending: string): string | null =>
    given === undefined ? besideTrace(path, ending, files) : given;
  const problems = report.problems();
  const initialMaps = await loadMaps(where(options.initialMaps, 'maps0'), strict, problems, files);
  const finalMaps = await loadMaps(where(options.finalMaps, 'maps1'), strict, problems, files);
  const faults = await loadFaults(options.faults ?? null, strict, problems);
  const again = (): AsyncIterable<readonly TraceRecord[]> => {
    const unread = new ImportReport(path);
    return straceBatches(files.chunks(path, unread), unread, straceOptions);
  };
  return {
    path,
    recordCount: known.count,
    processes: known.processes(),
    batches: again,
    report,
    problems,
    initialMaps,
    finalMaps,
    faults,
    untouched: known.registered,
    kernel: known.kernel ?? kernelOfMaps(initialMaps),
  };
}

/** Plans by process: the fault list's processes in order, matched to the recording's in order of creation. */
export function faultPlans(trace: ScannedTrace): Map<number, FaultPlan> {
  const planned = trace.processes.slice(0, trace.faults.length);
  return new Map(planned.map((process, i) => [process, new FaultPlan(trace.faults[i]!)]));
}
