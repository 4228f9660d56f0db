// Work requests and completions (InfiniBand Architecture Specification, volume 1, chapters 10 and 11; include/rdma/ib_verbs.h): what an
// application posts to a queue pair and what it gets back.

export const WR_SEND = 0;
export const WR_RECV = 1;
export const WR_RDMA_WRITE = 2;
export const WR_RDMA_READ = 3;
export const WR_ATOMIC_CMP_AND_SWP = 4;
export const WR_ATOMIC_FETCH_AND_ADD = 5;

// Status of a completion (enum ib_wc_status).
export const WC_SUCCESS = 0;
/** A local key does not allow it, or its page cannot be had. */
export const WC_LOC_PROT_ERR = 1;
/** The queue pair had failed before. */
export const WC_WR_FLUSH_ERR = 2;
/** The remote key does not allow it, or its page cannot be had. */
export const WC_REM_ACCESS_ERR = 3;
/** A message is longer than the buffer that the peer posted for it. */
export const WC_REM_INV_REQ_ERR = 4;
/** No answer, time and again. */
export const WC_RETRY_EXC_ERR = 5;
/** The receiver was not ready, time and again. */
export const WC_RNR_RETRY_EXC_ERR = 6;
export const WC_NAMES: readonly string[] = [
  'success',
  'local protection error',
  'flushed',
  'remote access error',
  'remote invalid request error',
  'retries exceeded',
  'RNR retries exceeded',
];

/** What is posted: one buffer on each side. Bytes. */
export interface WorkRequest {
  readonly id: number;
  readonly opcode: number;
  readonly lkey: number;
  readonly va: number;
  readonly length: number;
  /** RDMA and atomics. */
  readonly rkey?: number;
  readonly remoteVa?: number;
  /** Atomics: 64-bit operands, here below 2^53. */
  readonly compare?: number;
  readonly operand?: number;
}

export interface Completion {
  readonly id: number;
  readonly opcode: number;
  readonly status: number;
  /** Of a receive: bytes that arrived. */
  readonly length: number;
}

/** A request packet: a part of a work request, at most an MTU. */
export interface Packet {
  readonly psn: number;
  readonly opcode: number;
  readonly rkey: number;
  readonly va: number;
  readonly length: number;
  /** Of a message: bytes before this packet, and is it the last? */
  readonly offset: number;
  readonly isLast: boolean;
  readonly data: Uint8Array | null;
  readonly compare: number;
  readonly operand: number;
}

// Kinds of a response.
export const RESPONSE_ACK = 0;
export const RESPONSE_RNR_NAK = 1;
export const RESPONSE_NAK_ACCESS = 2;
export const RESPONSE_NAK_INVALID = 3;
/** None came: request or response was lost, or the peer's queue pair has failed. */
export const RESPONSE_NONE = 4;

export interface Response {
  readonly kind: number;
  readonly psn: number;
  /** Of reads and atomics. */
  readonly data: Uint8Array | null;
}
