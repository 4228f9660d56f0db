import { expect, it } from 'vitest';
import { FRAME_ANON } from '../../abi/events.ts';
import { createMachine } from '../../system/index.ts';
import { compoundHead, compoundNr, isCompound } from './compound.ts';
import { GFP_KERNEL } from './pages.ts';

it('a compound page is referenced through any of its frames and freed as one aligned block', () => {
  const k = createMachine({ kernel: { frames: 4096 } }).kernel;
  const free = k.pages.free;
  const head = k.fn.allocPages(k, GFP_KERNEL, 9, FRAME_ANON);
  expect(head % 512).toBe(0);
  expect(k.pages.free).toBe(free - 512);
  expect(compoundNr(k.pages, head)).toBe(512);
  const before = k.memory.generation.slice(head, head + 512);
  for (const i of [1, 255, 511]) expect(compoundHead(k.pages, head + i)).toBe(head);
  k.pages.refcount[head]!++;
  k.fn.putPage(k, head + 511);
  expect(k.pages.refcount[head]).toBe(1);
  k.fn.putPage(k, head + 3);
  expect(k.pages.free).toBe(free);
  expect(isCompound(k.pages, head) || isCompound(k.pages, head + 1)).toBe(false);
  expect([...k.memory.generation.slice(head, head + 512)]).toEqual([...before].map((g) => g + 1));
  k.buddy.checkInvariants();
});

it('a block that is not there, or that would eat the reserve, is refused', () => {
  const k = createMachine({ kernel: { frames: 600 } }).kernel;
  expect(k.fn.allocPages(k, GFP_KERNEL, 10, FRAME_ANON)).toBe(0);
  k.buddy.checkInvariants();
});
