// Scenarios as they are written in files: one definition, from which the parser, the published JSON schema and the texts that editors
// show are made. A test holds it together with the types of scenario.ts.

import * as z from 'zod';

/** Limits of what a file may ask for: far more than can be explored. */
const PAGES = 4096;
const STEPS = 200;
const THREADS = 8;
const NAME = /^[A-Za-z][\w.+ -]{0,39}$/;

const at = z
  .int()
  .min(0)
  .max(PAGES)
  .describe('First page, counted from a base that starts a page table; 512 pages are a table.');
const pages = z.int().min(1).max(PAGES).exactOptional().describe('Number of pages; 1 when left out.');
const prot = z.enum(['none', 'r', 'rw', 'rx', 'rwx']).describe('What the program may do with the pages.');
const name = z.string().regex(NAME);
const flag = z.boolean().exactOptional();

const mmap = z
  .strictObject({
    do: z.literal('mmap'),
    at,
    pages,
    prot: prot.exactOptional(),
    shared: flag.describe('MAP_SHARED; MAP_PRIVATE when left out.'),
    file: name.exactOptional().describe('Name of the file that is mapped; anonymous memory when left out.'),
    filePage: z.int().min(0).max(PAGES).exactOptional().describe('Page of the file that is mapped first.'),
    populate: flag.describe('MAP_POPULATE.'),
    hugetlb: flag.describe('MAP_HUGETLB, from the pool of kernel.hugePages; pages are small ones.'),
    noReserve: flag.describe('MAP_NORESERVE.'),
  })
  .describe('mmap(MAP_FIXED)');
const range = z
  .strictObject({ do: z.enum(['munmap', 'msync', 'mlock', 'mlock-onfault', 'munlock']), at, pages })
  .describe('A system call over pages');
const mprotect = z
  .strictObject({
    do: z.literal('mprotect'),
    at,
    pages,
    prot,
    key: flag.describe('pkey_mprotect, with a key that is allocated (kernel.pkeys).'),
  })
  .describe('mprotect');
const madvise = z
  .strictObject({
    do: z.literal('madvise'),
    at,
    pages,
    advice: z.enum([
      'dontneed',
      'free',
      'cold',
      'pageout',
      'willneed',
      'dontfork',
      'remove',
      'dontneed-locked',
      'populate-read',
      'populate-write',
      'mergeable',
      'unmergeable',
      'hugepage',
      'nohugepage',
      'collapse',
      'hwpoison',
      'soft-offline',
      'guard-install',
      'guard-remove',
    ]),
    remote: flag.describe('process_madvise, by another process.'),
  })
  .describe('madvise');
const mremap = z
  .strictObject({
    do: z.literal('mremap'),
    at,
    pages,
    newPages: pages.describe('Pages afterwards; as before when left out.'),
    to: at.exactOptional().describe('Fixed new place (MREMAP_FIXED).'),
    mayMove: flag.describe('MREMAP_MAYMOVE.'),
    dontUnmap: flag.describe('MREMAP_DONTUNMAP.'),
  })
  .describe('mremap');
const access = z
  .strictObject({
    do: z.enum(['load', 'store']),
    at,
    by: z.enum(['cpu', 'device']).exactOptional().describe('Who; by default what the thread runs on.'),
    offset: z
      .int()
      .min(0)
      .max(4092)
      .multipleOf(4)
      .exactOptional()
      .describe('Bytes into the page; four bytes are accessed.'),
    value: z.int().min(0).max(0xffffffff).exactOptional().describe('What is stored; 1 when left out.'),
    mayFail: flag.describe('The access may be refused.'),
  })
  .describe('An access of a CPU or of the device');
const fork = z
  .strictObject({
    do: z.literal('fork'),
    as: name.exactOptional().describe('Name of the child; "child" when left out.'),
  })
  .describe('fork');
const exit = z
  .strictObject({
    do: z.literal('exit'),
    task: name.exactOptional().describe("Task that ends; the thread's own when left out."),
  })
  .describe('exit');
const file = z
  .strictObject({
    do: z.enum(['truncate', 'punch', 'zero', 'collapse', 'insert', 'fsync']),
    file: name,
    page: z.int().min(0).max(PAGES).exactOptional().describe('punch, zero, collapse, insert: first page.'),
    pages: z
      .int()
      .min(0)
      .max(PAGES)
      .exactOptional()
      .describe('truncate: length. punch, zero, collapse, insert: number of pages.'),
  })
  .describe('A system call on a file');
const reclaim = z
  .strictObject({ do: z.enum(['reclaim', 'swapoff']), pages })
  .describe('Reclaim of that many pages, or an end to swap');
const uffdRegister = z
  .strictObject({
    do: z.literal('uffd-register'),
    at,
    pages,
    mode: z.enum(['missing', 'wp']).describe('Faults on pages that are missing, or writes to protected ones.'),
  })
  .describe('UFFDIO_REGISTER: who faults there waits for a thread that answers');
const uffdCopy = z
  .strictObject({ do: z.literal('uffd-copy'), at, pages, from: at.describe('Page that is copied.') })
  .describe('UFFDIO_COPY');
const uffdRange = z
  .strictObject({ do: z.enum(['uffd-zeropage', 'uffd-unregister', 'uffd-protect', 'uffd-unprotect']), at, pages })
  .describe('UFFDIO_ZEROPAGE, UFFDIO_UNREGISTER or UFFDIO_WRITEPROTECT');
const kill = z
  .strictObject({
    do: z.enum(['kill', 'mrelease']),
    task: name.exactOptional().describe('Task that is killed, or whose memory is taken; "main" when left out.'),
  })
  .describe('SIGKILL to a task (which still has to `exit`), process_mrelease of a killed one');
const migrate = z
  .strictObject({ do: z.enum(['move-pages', 'to-device', 'to-ram', 'exclusive']), at, pages })
  .describe("Pages go to another NUMA node, to memory of a device, back to RAM, or are a device's alone for a while");
const numa = z
  .strictObject({ do: z.enum(['mbind', 'numa-scan']), at, pages })
  .describe('The task binds pages to the last NUMA node and moves them there, or NUMA balancing looks at them');
const compact = z.strictObject({ do: z.literal('compact') }).describe('Compaction of all memory');
const ksm = z
  .strictObject({
    do: z.literal('ksm'),
    scans: z.int().min(1).max(16).exactOptional().describe('Whole scans; 1 when left out.'),
  })
  .describe('KSM merges equal pages');
const outside = z
  .strictObject({
    do: z.enum(['soft-dirty', 'referenced', 'idle', 'poke', 'vm-write', 'damon']),
    at: at.exactOptional(),
    value: z.int().min(0).max(0xffffffff).exactOptional().describe('poke, vm-write: what is written; 1 when left out.'),
  })
  .describe(
    'What is done to the task from outside: clear_refs 4 and 1, idle page tracking, writes of a debugger and of another process, DAMON',
  );
const probe = z
  .strictObject({ do: z.enum(['probe', 'unprobe']), file: name, page: z.int().min(0).max(PAGES).exactOptional() })
  .describe('A breakpoint at the start of a page of a file (uprobe)');
const attach = z
  .strictObject({ do: z.enum(['shmat', 'shmdt', 'io-setup', 'io-destroy']), at, pages })
  .describe('A SysV segment, or the ring of an AIO context');
const remap = z
  .strictObject({ do: z.literal('remap-file-pages'), at, pages, filePage: z.int().min(0).max(PAGES) })
  .describe('remap_file_pages of a shared mapping');
const brk = z
  .strictObject({ do: z.literal('brk'), pages: z.int().min(0).max(PAGES) })
  .describe('The heap is that long');
const whole = z.strictObject({ do: z.enum(['exec', 'mlockall']) }).describe('Of the whole address space');
const pin = z
  .strictObject({ do: z.enum(['pin', 'unpin']), at, pages })
  .describe('Another driver pins pages (FOLL_PIN | FOLL_LONGTERM), or gives them back');
const admin = z
  .strictObject({ do: z.enum(['memory-max', 'migrate-pages', 'khugepaged', 'lru-gen']), pages })
  .describe(
    'A limit for the memory of the task, its pages to another NUMA node, khugepaged, or multi-generation reclaim',
  );
const bind = z
  .strictObject({ do: z.enum(['bind', 'unbind']) })
  .describe("Puts the device on the address space of the thread's task, or takes it off");

/** One step. */
export const stepSchema = z.discriminatedUnion('do', [
  mmap,
  range,
  mprotect,
  madvise,
  mremap,
  access,
  fork,
  exit,
  file,
  reclaim,
  uffdRegister,
  uffdCopy,
  uffdRange,
  kill,
  migrate,
  numa,
  compact,
  ksm,
  outside,
  attach,
  remap,
  brk,
  whole,
  pin,
  admin,
  probe,
  bind,
]);

const steps = z.array(stepSchema).max(STEPS);

export const threadSchema = z.strictObject({
  on: z
    .enum(['cpu', 'device', 'kernel'])
    .exactOptional()
    .describe("Whose thread: a program's, the device's, or the kernel's."),
  task: name.exactOptional().describe('Task that runs it: "main", or the name that a fork of the setup gave.'),
  cpu: z.int().min(0).max(3).exactOptional().describe('CPU; by default one of its own.'),
  engine: z.int().min(0).max(1).exactOptional().describe('Engine of the device; 0 when left out.'),
  steps,
});

const count = (low: number, high: number) => z.int().min(low).max(high).exactOptional();

/** Limits of the kernel that a file may set: those that are plain numbers and cannot make the machine meaningless. */
export const kernelSchema = z.strictObject({
  frames: count(32, 65536).describe('Frames of memory; 64 when left out.'),
  cpus: count(1, 8),
  swapPages: count(0, 4096).describe('Swap slots; 16 when left out.'),
  overcommitMode: z.union([z.literal(0), z.literal(1), z.literal(2)]).exactOptional(),
  maxMapCount: count(4, 65530),
  gatherBundle: count(1, 64).describe('Pages that are gathered before a flush.'),
  gatherBatchEntries: count(1, 510),
  gatherBatchesMax: count(0, 64),
  tlbFlushCeiling: count(0, 4096),
  faultAroundPages: count(1, 16),
  numaNodes: count(1, 4).describe('Nodes among which the frames are dealt out; 1 when left out.'),
  hugePages: count(0, 64).describe(
    'Huge pages of 2 MiB in the hugetlb pool; they want 512 frames each. 0 when left out.',
  ),
  pkeys: flag.describe('The CPU has protection keys.'),
  devicePrivatePages: count(0, 256).describe('Pages of memory of a device; 0 when left out.'),
  injectAllocFailures: flag.describe('Every allocation may fail.'),
  strideOn: count(1, 512).describe('Entries that are handled between two points.'),
  thpEnabled: z
    .enum(['always', 'madvise', 'never'])
    .exactOptional()
    .describe('Transparent huge pages; madvise when left out.'),
  shmemHuge: z
    .enum(['always', 'within_size', 'advise', 'never'])
    .exactOptional()
    .describe('Huge pages of shared memory; never when left out.'),
  tlbSets: count(1, 128),
  tlbWays: count(1, 8),
});

export const scenarioSchema = z
  .strictObject({
    $schema: z.string().exactOptional().describe('This schema, for editors.'),
    name,
    summary: z.string().max(200).describe('What happens, in a line.'),
    kernel: kernelSchema.exactOptional(),
    files: z
      .record(name, z.int().min(1).max(64))
      .exactOptional()
      .describe('Pages of each file; 4 when it is not here.'),
    memfds: z
      .record(name, z.int().min(1).max(PAGES))
      .exactOptional()
      .describe('Files in memory (memfd_create) and their pages; a name that is not here is a file on a disk.'),
    bound: flag.describe('Is the device on the address space before the setup begins? True when left out.'),
    bounds: z
      .strictObject({ steps: z.int().min(10).max(1_000_000), executions: z.int().min(1).max(1_000_000_000) })
      .exactOptional()
      .describe('For very long executions: steps of one at least, and executions at most.'),
    setup: steps.describe('Steps of the first task, one after the other, nothing else running.'),
    threads: z.record(name, threadSchema).describe('By name; all are interleaved with each other and with the device.'),
  })
  .refine((s) => Object.keys(s.threads).length <= THREADS, {
    path: ['threads'],
    message: `more than ${THREADS} threads`,
  });

/** The JSON schema of scenario files, as published in schema/scenario.schema.json. */
export function scenarioJsonSchema(): unknown {
  const { $schema, ...rest } = z.toJSONSchema(scenarioSchema, { target: 'draft-7', io: 'input' }) as Record<
    string,
    unknown
  >;
  return { $schema, title: 'Shootdown scenario', ...rest };
}
