// Arguments of a system call as the kernel gets them: six 64-bit words, each as two unsigned 32-bit halves. Wrap-around and
// alignment are judged on the words; what passes those checks is an exact double. After rounding to pages a word is exact
// too (52 bits), and so is the sum of two: 2^64 stands for a rounding that overflowed to 0.

const TWO32 = 4294967296;
const TWO64 = TWO32 * TWO32;

export class SyscallArgs {
  readonly hi = new Uint32Array(6);
  readonly lo = new Uint32Array(6);

  /** Argument i from an exact integer; negative numbers become sign-extended words. */
  set(i: number, value: number): void {
    this.hi[i] = Math.floor(value / TWO32);
    this.lo[i] = value;
  }

  setWords(i: number, hi: number, lo: number): void {
    this.hi[i] = hi;
    this.lo[i] = lo;
  }

  /** All six; missing ones are 0. Returns itself. */
  of(a = 0, b = 0, c = 0, d = 0, e = 0, f = 0): this {
    this.set(0, a);
    this.set(1, b);
    this.set(2, c);
    this.set(3, d);
    this.set(4, e);
    this.set(5, f);
    return this;
  }

  /** The word as an unsigned number: exact below 2^53, rounded above. */
  num(i: number): number {
    return this.hi[i]! * TWO32 + this.lo[i]!;
  }

  /** The word as a signed number (long). */
  signed(i: number): number {
    return (this.hi[i]! | 0) * TWO32 + this.lo[i]!;
  }

  /** The word cut to an int. */
  int(i: number): number {
    return this.lo[i]! | 0;
  }

  isZero(i: number): boolean {
    return (this.lo[i]! | this.hi[i]!) === 0;
  }

  /** Is the word a multiple of 4096? */
  isPageAligned(i: number): boolean {
    return (this.lo[i]! & 4095) === 0;
  }

  /** The word rounded down to a page: exact. */
  pageDown(i: number): number {
    return this.hi[i]! * TWO32 + ((this.lo[i]! & ~4095) >>> 0);
  }

  /** PAGE_ALIGN of the word: exact; 2^64 when it overflows to 0. */
  pageAlign(i: number): number {
    const lo = this.lo[i]!;
    const down = this.hi[i]! * TWO32 + ((lo & ~4095) >>> 0);
    return (lo & 4095) === 0 ? down : down + 4096;
  }

  /** PAGE_ALIGN of the word plus `add` (below 4096): exact; 2^64 or more when the addition or the rounding overflows. */
  pageAlignPlus(i: number, add: number): number {
    const sum = (this.lo[i]! & 4095) + add;
    return this.pageDown(i) + (sum === 0 ? 0 : sum > 4096 ? 8192 : 4096);
  }
}

/** The sum of two page-aligned words as a 64-bit addition leaves it (both exact). */
export function wrap64(sum: number): number {
  return sum >= TWO64 ? sum - TWO64 : sum;
}

export { TWO64 };
