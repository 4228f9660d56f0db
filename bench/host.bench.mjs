// @ts-check
/** The running kernel's own figures: what the simulated one is measured against. */
import { mayWant, reportHost } from './harness.mjs';

/** hostref's commands, and how the names of their figures start. @type {Record<string, string[]>} */
const COMMANDS = {
  fault: ['fault-'],
  unmap: ['munmap', 'dontneed'],
  protect: ['mprotect-'],
  fork: ['fork-'],
  move: ['mremap-'],
  empty: ['empty-'],
  vmas: ['vmas-'],
};

for (const [command, prefixes] of Object.entries(COMMANDS)) {
  if (prefixes.some((prefix) => mayWant(`host:${prefix}`) || mayWant(prefix))) reportHost(command);
}
