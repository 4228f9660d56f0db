// @ts-check
/** The running kernel's own figures: what the simulated one is measured against. */
import { reportHost, wanted } from './harness.mjs';

for (const command of ['fault', 'unmap', 'protect', 'fork', 'move', 'empty', 'vmas']) {
  if (wanted(`host:${command}`)) reportHost(command);
}
