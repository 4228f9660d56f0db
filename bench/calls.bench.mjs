// @ts-check
/** Recorded programs' memory calls on the running kernel, repeated to a million. */
import { join } from 'node:path';
import { hostref, note, recording, report, wanted, withTemporary } from './harness.mjs';
import { writeRecordedCalls } from './recorded-calls.mjs';

withTemporary((dir) => {
  for (const program of ['malloc-threads', 'mmap-copy', 'perl-sort', 'gcc-compile']) {
    if (!wanted(`host:calls:${program}`)) continue;
    const strace = recording(`programs/${program}.strace`);
    if (!strace) continue;
    const file = join(dir, `${program}.calls`);
    const calls = writeRecordedCalls(strace, file);
    note(`${program}: ${calls.count} calls, ${calls.setup} to set up and ${calls.teardown} to tear down among them`);
    for (const line of hostref('calls', file)?.values() ?? []) {
      const name = line.name === 'calls' ? program : `${program}:${line.name.slice('calls-'.length)}`;
      report(`host:calls:${name}`, line.unit, line.ns, null, null, `median ${line.median}, ${line.detail}`);
    }
  }
});
