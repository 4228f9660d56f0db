// Which memory a call made accessible, for the touch policies.

import type { MmStruct } from '../../mm/types.ts';
import type { TraceOp } from '../strace/trace-op.ts';

export interface Piece {
  readonly start: number;
  readonly end: number;
}

const pageUp = (n: number): number => Math.ceil(n / 4096) * 4096;

/** The piece that the successful call made accessible; null for calls that make none. */
export function accessiblePiece(mm: MmStruct, op: TraceOp, result: number, previousBrk: number): Piece | null {
  switch (op.op) {
    case 'mmap':
      return op.prot.num === 0 ? null : { start: result, end: result + pageUp(op.length.num) };
    case 'mprotect':
      return op.prot.num === 0 ? null : { start: op.addr.num, end: op.addr.num + pageUp(op.length.num) };
    case 'mremap': {
      const grown = op.newLength.num > op.oldLength.num ? result + pageUp(op.oldLength.num) : result;
      return { start: grown, end: result + pageUp(op.newLength.num) };
    }
    case 'brk':
      return mm.brk > previousBrk ? { start: pageUp(previousBrk), end: pageUp(mm.brk) } : null;
    default:
      return null;
  }
}
