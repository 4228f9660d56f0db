import { describe, expect, it } from 'vitest';
import { VM_EXEC, VM_READ, VM_SHARED, VM_WRITE } from '../../abi/mman.ts';
import { PTE_D, PTE_P, PTE_RW, PTE_SOFT_DIRTY } from '../../abi/pte.ts';
import { Rng } from '../../base/rng.ts';
import {
  isRealSwap,
  mkPteHi,
  mkPteLo,
  mkSwapHi,
  mkSwapLo,
  pteFrame,
  pteIsSwap,
  pteModifyHi,
  pteModifyLo,
  pteNone,
  ptePresent,
  pteProtnone,
  SWP_MIGRATION_READ,
  swapOffset,
  swapType,
  vmPageProtHi,
  vmPageProtLo,
} from './swapops.ts';

const seed = Number(process.env['SEED'] ?? 1);
const word64 = (lo: number, hi: number): bigint => (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);

describe(`entries that the kernel makes (SEED=${seed})`, () => {
  it('swap entry: the 64-bit word is Linux layout, and type and offset come back', () => {
    const rng = new Rng(seed);
    for (let i = 0; i < 20000; i++) {
      const type = rng.below(32);
      const bits = rng.below(51);
      const offset = bits === 0 ? 0 : rng.below(2 ** Math.min(bits, 32)) * (bits > 32 ? 2 ** (bits - 32) : 1);
      const lo = mkSwapLo(offset);
      const hi = mkSwapHi(type, offset);
      const expected = (BigInt(type) << 59n) | ((~BigInt(offset) & ((1n << 50n) - 1n)) << 9n);
      expect(word64(lo, hi)).toBe(expected);
      expect(swapType(hi)).toBe(type);
      expect(swapOffset(lo, hi)).toBe(offset);
      expect(isRealSwap(hi)).toBe(type < SWP_MIGRATION_READ - 1);
      expect(ptePresent(lo)).toBe(false);
      expect(pteIsSwap(lo, hi)).toBe(true);
    }
  });

  it('swap entry: an offset of 23 ones has a zero low word and is still not none', () => {
    const lo = mkSwapLo(0x7fffff);
    const hi = mkSwapHi(0, 0x7fffff);
    expect(lo).toBe(0);
    expect(pteNone(lo, hi)).toBe(false);
    expect(swapOffset(lo, hi)).toBe(0x7fffff);
  });

  it('protection map: the words that Linux prints', () => {
    const prot = (flags: number): bigint => word64(vmPageProtLo(flags), vmPageProtHi(flags));
    expect(prot(0)).toBe(0x120n);
    expect(prot(VM_READ)).toBe(0x8000000000000025n);
    expect(prot(VM_READ | VM_WRITE)).toBe(0x8000000000000025n);
    expect(prot(VM_READ | VM_EXEC)).toBe(0x25n);
    expect(prot(VM_READ | VM_WRITE | VM_SHARED)).toBe(0x8000000000000027n);
    expect(prot(VM_READ | VM_WRITE | VM_EXEC | VM_SHARED)).toBe(0x27n);
  });

  it('PROT_NONE: hardware sees no P, the PFN is inverted, and A, D and soft-dirty survive the way there and back', () => {
    const rw = vmPageProtLo(VM_READ | VM_WRITE | VM_SHARED);
    const rwHi = vmPageProtHi(VM_READ | VM_WRITE | VM_SHARED);
    for (const pfn of [1, 0x12345, 0xfffff]) {
      const lo = mkPteLo(pfn, rw) | PTE_D | PTE_SOFT_DIRTY;
      const none = pteModifyLo(lo, vmPageProtLo(0));
      const noneHi = pteModifyHi(vmPageProtLo(0), vmPageProtHi(0));
      expect(none & PTE_P).toBe(0);
      expect(none & PTE_RW).toBe(0);
      expect(pteProtnone(none)).toBe(true);
      expect((word64(none, noneHi) >> 12n) & ((1n << 40n) - 1n)).toBe(~BigInt(pfn) & ((1n << 40n) - 1n));
      expect(pteFrame(none)).toBe(pfn);
      expect(pteModifyLo(none, rw)).toBe(lo);
      expect(pteModifyHi(rw, rwHi)).toBe(rwHi);
      expect(mkPteLo(pfn, vmPageProtLo(0))).toBe((none & ~(PTE_D | PTE_SOFT_DIRTY)) | 0);
      expect(mkPteHi(vmPageProtLo(0), vmPageProtHi(0))).toBe(noneHi);
    }
  });
});
