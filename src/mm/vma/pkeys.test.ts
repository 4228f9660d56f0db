// Protection keys: which are given out, which mprotect takes, where they stand, what they keep apart.
import { expect, test } from 'vitest';
import { EINVAL, ENOSPC } from '../../abi/errno.ts';
import * as A from '../../abi/mman.ts';
import { PTE_HI_PKEY_SHIFT } from '../../abi/pte.ts';
import * as NR from '../../abi/syscalls.ts';
import { pteWord, vpnHi, vpnLo } from '../../hw/page-table.ts';
import { entryHi } from '../../hw/pte.ts';
import { userStore } from '../cpu-access.ts';
import { World } from './test-world.ts';

const AT = 0x100000000;
const PAGE = 4096;

function world(pkeys: boolean): World {
  const w = new World('6.1', { pkeys });
  w.call(NR.NR_mmap, AT, 4 * PAGE, 3, A.MAP_PRIVATE | A.MAP_ANONYMOUS | A.MAP_FIXED, -1, 0);
  w.k.sched.run(userStore(w.k, w.task, AT, 1));
  return w;
}

function keyOfEntry(w: World): number {
  const word = pteWord(w.k.memory, w.task.mm!.pgd, vpnHi(AT), vpnLo(AT));
  return (entryHi(w.k.memory, word) >>> PTE_HI_PKEY_SHIFT) & 15;
}

test('a CPU without keys has none', () => {
  const w = world(false);
  expect(w.call(NR.NR_pkey_alloc, 0, 0)).toBe(-EINVAL);
  expect(w.call(NR.NR_pkey_free, 1)).toBe(-EINVAL);
  expect(w.call(NR.NR_pkey_mprotect, AT, PAGE, 1, 1)).toBe(-EINVAL);
  expect(w.call(NR.NR_pkey_mprotect, AT, PAGE, 1, -1)).toBe(0);
});

test('15 keys, each once; a key that is not held is refused; free gives it back', () => {
  const w = world(true);
  const keys = Array.from({ length: 16 }, () => w.call(NR.NR_pkey_alloc, 0, 0));
  expect(keys).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, -ENOSPC]);
  expect(w.call(NR.NR_pkey_alloc, 1, 0)).toBe(-EINVAL);
  expect(w.call(NR.NR_pkey_free, 5)).toBe(0);
  expect(w.call(NR.NR_pkey_free, 5)).toBe(-EINVAL);
  expect(w.call(NR.NR_pkey_mprotect, AT, PAGE, 3, 5)).toBe(-EINVAL);
  expect(w.call(NR.NR_pkey_alloc, 0, 0)).toBe(5);
});

test('the key stands in the entry and keeps VMAs apart; plain mprotect keeps it; a child has it', () => {
  const w = world(true);
  const key = w.call(NR.NR_pkey_alloc, 0, 0);
  expect(w.call(NR.NR_pkey_mprotect, AT, PAGE, 3, key)).toBe(0);
  expect([keyOfEntry(w), w.maps().length]).toEqual([key, 2]);
  expect(w.call(NR.NR_mprotect, AT, PAGE, 1)).toBe(0);
  expect(keyOfEntry(w)).toBe(key);
  const child = w.k.tasks.get(w.call(NR.NR_fork))!;
  expect([child.mm!.vmas.findExact(AT)!.pkey, child.mm!.pkeyMap]).toEqual([key, 3]);
  expect(w.call(NR.NR_pkey_mprotect, AT, PAGE, 3, 0)).toBe(0);
  expect([keyOfEntry(w), w.maps().length]).toEqual([0, 1]);
});

test('memory that may only be executed gets a key of its own, which the program cannot name', () => {
  const w = world(true);
  expect(w.call(NR.NR_mprotect, AT, PAGE, A.PROT_EXEC)).toBe(0);
  const key = w.task.mm!.executeOnlyPkey;
  expect([keyOfEntry(w), key]).toEqual([key, 1]);
  expect(w.call(NR.NR_pkey_mprotect, AT, PAGE, 3, key)).toBe(-EINVAL);
  expect(w.call(NR.NR_mprotect, AT, PAGE, 3)).toBe(0);
  expect([keyOfEntry(w), w.maps().length]).toEqual([0, 1]);
});
