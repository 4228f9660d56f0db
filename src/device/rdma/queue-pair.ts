// A reliable connection (RC): a queue pair on each side. The requester takes one work request after the other and cuts it into packets of
// an MTU, each with a sequence number (PSN); the responder executes packets in order and answers each. One packet of a queue pair is
// under way at a time (hardware has a window of them; for memory the order is the same).
//
//   requester                                  wire        responder
//     local data read by DMA                                 key checked, DMA
//       no translation: stops; page fault;                   no translation: page fault, RNR NAK until it is resumed
//       resumed: the packet begins again
//     packet                                 ------->
//                                            <-------      ACK, data, or NAK
//     RNR NAK: waits for the timer, sends again
//     data written by DMA to local memory
//       no translation: page fault; the packet is sent again with its PSN (read again; of an atomic the answer was kept)
//     last packet: completion
//
// A packet with a PSN that was executed before is a duplicate: acknowledged, read again, or answered from what was kept. Retries are
// counted for a packet; exhausted, the work request fails, the queue pair goes to the error state, and so does all that was posted.

import { E_MSG, MSG_RNR_NAK } from '../../abi/events.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_DEV_MESSAGE } from '../../sched/points.ts';
import { CHOOSE_DELAY, WaitQueue } from '../../sched/scheduler.ts';
import type { RdmaHost } from './host.ts';
import {
  type DmaUnit,
  IB_ACCESS_LOCAL_WRITE,
  IB_ACCESS_REMOTE_ATOMIC,
  IB_ACCESS_REMOTE_READ,
  IB_ACCESS_REMOTE_WRITE,
  LOOKUP_ERROR,
  LOOKUP_OK,
} from './nic.ts';
import * as V from './verbs.ts';

export const QPS_RESET = 0;
/** Ready to send and to receive. */
export const QPS_RTS = 1;
export const QPS_ERR = 2;

const PART_SEND = 10; // [queue pair] requester
const PART_RECEIVE = 11; // [queue pair] responder

export interface QpConfig {
  /** Bytes of a packet. */
  readonly mtu: number;
  /** Times that a packet without an answer is sent again, and one answered by RNR NAK; 7 for ever, as in the specification. */
  readonly retryCount: number;
  readonly rnrRetry: number;
  /** Steps of the world from an RNR NAK to the next attempt. */
  readonly rnrTimerSteps: number;
  /** One packet in so many is lost, by the scheduler's choice (CHOOSE_DELAY); 0: none. */
  readonly lossOneIn: number;
}

export const QP_DEFAULTS: QpConfig = { mtu: 1024, retryCount: 7, rnrRetry: 7, rnrTimerSteps: 20, lossOneIn: 0 };

/** The count that means for ever. */
const FOR_EVER = 7;

export class QueuePair {
  readonly host: RdmaHost;
  readonly number: number;
  readonly config: QpConfig;
  state = QPS_RESET;
  peer: QueuePair | null = null;
  readonly completions: V.Completion[] = [];
  readonly #sends: V.WorkRequest[] = [];
  readonly #receives: V.WorkRequest[] = [];
  readonly #sendQueue = new WaitQueue();
  readonly #receiveQueue = new WaitQueue();
  readonly #sendUnit: DmaUnit;
  readonly #receiveUnit: DmaUnit;
  // Requester.
  #psn = 0;
  #response: V.Response | null = null;
  /** Result of the page fault under way, null while it is. */
  #resumed: number | null = 0;
  // Responder.
  readonly #inbox: V.Packet[] = [];
  #expectedPsn = 0;
  /** A page fault of the responder is under way; or it failed with this. */
  #isFaulting = false;
  #faultError = 0;
  /** Answer of the last atomic, for its duplicates. */
  #kept: Uint8Array | null = null;
  packets = 0;
  rnrNaks = 0;
  retransmissions = 0;
  replays = 0;

  constructor(host: RdmaHost, number: number, config: Partial<QpConfig> = {}) {
    this.host = host;
    this.number = number;
    this.config = { ...QP_DEFAULTS, ...config };
    this.#sendUnit = host.nic.addUnit();
    this.#receiveUnit = host.nic.addUnit();
    const { sched } = host.k;
    host.startWorkers(1);
    sched.spawn(`qp ${host.nic.id}.${number} send`, 'device', this.#requester(), true);
    sched.spawn(`qp ${host.nic.id}.${number} receive`, 'device', this.#responder(), true);
  }

  // --- the application's side

  /** Posts to the send queue. A failed queue pair completes it with an error. */
  postSend(wr: V.WorkRequest): void {
    this.#noteSend(true);
    this.#sends.push(wr);
    this.#sendQueue.wakeAll(this.host.k.sched);
  }

  /** Posts a buffer for a message. */
  postReceive(wr: V.WorkRequest): void {
    this.#noteReceive(true);
    if (this.state === QPS_ERR) this.#complete(wr, V.WC_WR_FLUSH_ERR, 0);
    else this.#receives.push(wr);
  }

  /** Takes the oldest completion; null: none. */
  poll(): V.Completion | null {
    this.#noteSend(true);
    return this.completions.shift() ?? null;
  }

  /** Sleeps until there is a completion, and takes it. */
  *await(): KernelPath<V.Completion> {
    const isThere = (): boolean => {
      this.#noteSend(false);
      return this.completions.length > 0;
    };
    yield* this.host.k.sched.waitUntil(isThere, this.#sendQueue, 'completion');
    return this.poll()!;
  }

  #complete(wr: V.WorkRequest, status: number, length: number): void {
    this.#noteSend(true);
    this.completions.push({ id: wr.id, opcode: wr.opcode, status, length });
    this.#sendQueue.wakeAll(this.host.k.sched);
  }

  /** The error state: what was posted is flushed; packets are not answered. */
  #fail(): void {
    this.#noteReceive(true);
    if (this.state === QPS_ERR) return;
    this.state = QPS_ERR;
    for (const wr of this.#receives.splice(0)) this.#complete(wr, V.WC_WR_FLUSH_ERR, 0);
  }

  /** To RESET and RTS again, as an application does after an error; nothing may be under way on either side. */
  restart(): void {
    this.#noteSend(true);
    this.#noteReceive(true);
    this.state = QPS_RTS;
    this.#psn = 0;
    this.#expectedPsn = 0;
    this.#kept = null;
    this.#faultError = 0;
  }

  #noteSend(isWrite: boolean): void {
    this.host.nic.note(PART_SEND, this.number, isWrite);
  }

  #noteReceive(isWrite: boolean): void {
    this.host.nic.note(PART_RECEIVE, this.number, isWrite);
  }

  // --- requester

  *#requester(): KernelPath<void> {
    const { sched } = this.host.k;
    const hasWork = (): boolean => {
      this.#noteSend(false);
      return this.#sends.length > 0;
    };
    for (;;) {
      yield* sched.waitUntil(hasWork, this.#sendQueue, 'work request');
      const wr = this.#sends[0]!;
      this.#noteReceive(false);
      const status = this.state === QPS_RTS ? yield* this.#execute(wr) : V.WC_WR_FLUSH_ERR;
      this.#noteSend(true);
      this.#sends.shift();
      if (status !== V.WC_SUCCESS) this.#fail();
      this.#complete(wr, status, wr.length);
      if (sched.points) yield P_DEV_MESSAGE;
    }
  }

  *#execute(wr: V.WorkRequest): KernelPath<number> {
    const isAtomic = wr.opcode >= V.WR_ATOMIC_CMP_AND_SWP;
    const size = isAtomic ? 8 : this.config.mtu;
    let offset = 0;
    do {
      const length = Math.min(size, wr.length - offset);
      const status = yield* this.#packet(wr, offset, length);
      if (status !== V.WC_SUCCESS) return status;
      offset += length;
    } while (offset < wr.length);
    return V.WC_SUCCESS;
  }

  /** One packet until it is done, or its retries are exhausted. */
  *#packet(wr: V.WorkRequest, offset: number, length: number): KernelPath<number> {
    const { config, host } = this;
    this.#noteSend(true);
    const psn = this.#psn++;
    const hasData = wr.opcode === V.WR_SEND || wr.opcode === V.WR_RDMA_WRITE;
    let retries = 0;
    let rnrRetries = 0;
    for (;;) {
      const data = hasData ? new Uint8Array(length) : null;
      if (data !== null) {
        const read = yield* host.dmaRead(this.#sendUnit, wr.lkey, wr.va + offset, length, 0, data);
        if (read === LOOKUP_ERROR) return V.WC_LOC_PROT_ERR;
        if (read !== LOOKUP_OK) {
          if (!(yield* this.#localFault(wr, offset, length, false))) return V.WC_LOC_PROT_ERR;
          continue;
        }
      }
      const response = yield* this.#exchange(wr, psn, offset, length, data);
      switch (response.kind) {
        case V.RESPONSE_NONE:
          if (retries++ === config.retryCount) return V.WC_RETRY_EXC_ERR;
          this.retransmissions++;
          continue;
        case V.RESPONSE_RNR_NAK:
          if (rnrRetries++ === config.rnrRetry && config.rnrRetry !== FOR_EVER) return V.WC_RNR_RETRY_EXC_ERR;
          this.retransmissions++;
          yield* host.k.sched.sleepSteps(config.rnrTimerSteps, 'RNR timer');
          continue;
        case V.RESPONSE_NAK_ACCESS:
          return V.WC_REM_ACCESS_ERR;
        case V.RESPONSE_NAK_INVALID:
          return V.WC_REM_INV_REQ_ERR;
      }
      if (response.data === null) return V.WC_SUCCESS;
      const va = wr.va + offset;
      const written = yield* host.dmaWrite(this.#sendUnit, wr.lkey, va, IB_ACCESS_LOCAL_WRITE, response.data);
      if (written === LOOKUP_OK) return V.WC_SUCCESS;
      if (written === LOOKUP_ERROR) return V.WC_LOC_PROT_ERR;
      if (!(yield* this.#localFault(wr, offset, length, true))) return V.WC_LOC_PROT_ERR;
    }
  }

  /** The work request stops until the driver has answered. False: it fails. */
  *#localFault(wr: V.WorkRequest, offset: number, length: number, isWrite: boolean): KernelPath<boolean> {
    this.replays++;
    this.#noteSend(true);
    this.#resumed = null;
    this.host.raise({
      key: wr.lkey,
      va: wr.va + offset,
      length,
      isWrite,
      resume: (result) => {
        this.#noteSend(true);
        this.#resumed = result;
        this.#sendQueue.wakeAll(this.host.k.sched);
      },
    });
    const isResumed = (): boolean => {
      this.#noteSend(false);
      return this.#resumed !== null;
    };
    yield* this.host.k.sched.waitUntil(isResumed, this.#sendQueue, 'page fault');
    return this.#resumed! >= 0;
  }

  /** Sends the packet and waits for what comes back. */
  *#exchange(
    wr: V.WorkRequest,
    psn: number,
    offset: number,
    length: number,
    data: Uint8Array | null,
  ): KernelPath<V.Response> {
    if (this.host.k.sched.points) yield P_DEV_MESSAGE;
    this.#noteSend(true);
    this.#response = null;
    this.packets++;
    const packet: V.Packet = {
      psn,
      opcode: wr.opcode,
      rkey: wr.rkey ?? 0,
      va: (wr.remoteVa ?? 0) + offset,
      length,
      offset,
      isLast: offset + length >= wr.length,
      data,
      compare: wr.compare ?? 0,
      operand: wr.operand ?? 0,
    };
    if (this.#isLost()) this.receiveResponse({ kind: V.RESPONSE_NONE, psn, data: null });
    else this.peer!.#receivePacket(packet);
    const isAnswered = (): boolean => {
      this.#noteSend(false);
      return this.#response !== null;
    };
    yield* this.host.k.sched.waitUntil(isAnswered, this.#sendQueue, 'response');
    return this.#response!;
  }

  #isLost(): boolean {
    const { lossOneIn } = this.config;
    return lossOneIn > 0 && this.host.k.sched.choose(lossOneIn, CHOOSE_DELAY) === lossOneIn - 1;
  }

  /** The wire delivers. A response to an earlier attempt of the packet is as good. */
  receiveResponse(response: V.Response): void {
    this.#noteSend(true);
    this.#response = response;
    this.#sendQueue.wakeAll(this.host.k.sched);
  }

  // --- responder

  #receivePacket(packet: V.Packet): void {
    this.#noteReceive(true);
    this.#inbox.push(packet);
    this.#receiveQueue.wakeAll(this.host.k.sched);
  }

  *#responder(): KernelPath<void> {
    const { sched } = this.host.k;
    const hasPacket = (): boolean => {
      this.#noteReceive(false);
      return this.#inbox.length > 0;
    };
    for (;;) {
      yield* sched.waitUntil(hasPacket, this.#receiveQueue, 'packet');
      this.#noteReceive(true);
      const packet = this.#inbox.shift()!;
      const response = yield* this.#serve(packet);
      if (sched.points) yield P_DEV_MESSAGE;
      const isLost = this.#isLost();
      this.peer!.receiveResponse(isLost ? { kind: V.RESPONSE_NONE, psn: packet.psn, data: null } : response);
    }
  }

  *#serve(packet: V.Packet): KernelPath<V.Response> {
    const { psn } = packet;
    const answer = (kind: number, data: Uint8Array | null = null): V.Response => ({ kind, psn, data });
    if (this.state !== QPS_RTS) return answer(V.RESPONSE_NONE);
    if (this.#faultError !== 0) {
      this.#fail();
      return answer(V.RESPONSE_NAK_ACCESS);
    }
    if (this.#isFaulting) return this.#rnrNak(packet);
    const isDuplicate = psn < this.#expectedPsn;
    const data = packet.opcode === V.WR_RDMA_READ ? new Uint8Array(packet.length) : null;
    let found = LOOKUP_OK;
    if (packet.opcode === V.WR_SEND) {
      if (isDuplicate) return answer(V.RESPONSE_ACK);
      return yield* this.#serveSend(packet);
    }
    if (data !== null)
      found = yield* this.host.dmaRead(
        this.#receiveUnit,
        packet.rkey,
        packet.va,
        packet.length,
        IB_ACCESS_REMOTE_READ,
        data,
      );
    else if (packet.opcode === V.WR_RDMA_WRITE) {
      if (!isDuplicate)
        found = yield* this.host.dmaWrite(
          this.#receiveUnit,
          packet.rkey,
          packet.va,
          IB_ACCESS_REMOTE_WRITE,
          packet.data!,
        );
    } else {
      if (packet.va % 8 !== 0) return this.#refuse(packet, V.RESPONSE_NAK_INVALID);
      if (isDuplicate) return answer(V.RESPONSE_ACK, this.#kept);
      return yield* this.#serveAtomic(packet);
    }
    if (found !== LOOKUP_OK) return this.#stopped(packet, found, packet.rkey, packet.va, data === null);
    this.#executed(psn);
    return answer(V.RESPONSE_ACK, data);
  }

  #executed(psn: number): void {
    this.#noteReceive(true);
    if (psn === this.#expectedPsn) this.#expectedPsn++;
  }

  *#serveAtomic(packet: V.Packet): KernelPath<V.Response> {
    const { compare, operand, psn } = packet;
    const isSwap = packet.opcode === V.WR_ATOMIC_CMP_AND_SWP;
    const change = isSwap
      ? (old: number): number => (old === compare ? operand : old)
      : (old: number): number => old + operand;
    const old = new Uint8Array(8);
    const unit = this.#receiveUnit;
    const found = yield* this.host.dmaAtomic(unit, packet.rkey, packet.va, IB_ACCESS_REMOTE_ATOMIC, change, old);
    if (found !== LOOKUP_OK) return this.#stopped(packet, found, packet.rkey, packet.va, true);
    this.#executed(psn);
    this.#kept = old;
    return { kind: V.RESPONSE_ACK, psn, data: old };
  }

  /** A part of a message, into the oldest buffer that was posted. */
  *#serveSend(packet: V.Packet): KernelPath<V.Response> {
    this.#noteReceive(false);
    const buffer = this.#receives[0];
    if (buffer === undefined) return this.#rnrNak(packet);
    if (packet.offset + packet.length > buffer.length) return this.#refuse(packet, V.RESPONSE_NAK_INVALID);
    const va = buffer.va + packet.offset;
    const found = yield* this.host.dmaWrite(this.#receiveUnit, buffer.lkey, va, IB_ACCESS_LOCAL_WRITE, packet.data!);
    if (found !== LOOKUP_OK) return this.#stopped(packet, found, buffer.lkey, va, true);
    this.#executed(packet.psn);
    if (packet.isLast) {
      this.#receives.shift();
      this.#complete(buffer, V.WC_SUCCESS, packet.offset + packet.length);
    }
    return { kind: V.RESPONSE_ACK, psn: packet.psn, data: null };
  }

  /** Memory could not be reached: a page fault, which the sender waits for by sending again; or an error. */
  #stopped(packet: V.Packet, found: number, key: number, va: number, isWrite: boolean): V.Response {
    if (found === LOOKUP_ERROR) return this.#refuse(packet, V.RESPONSE_NAK_ACCESS);
    this.#noteReceive(true);
    this.#isFaulting = true;
    this.host.raise({
      key,
      va,
      length: packet.length,
      isWrite,
      resume: (result) => {
        this.#noteReceive(true);
        this.#isFaulting = false;
        if (result < 0) this.#faultError = result;
      },
    });
    return this.#rnrNak(packet);
  }

  #rnrNak(packet: V.Packet): V.Response {
    this.rnrNaks++;
    const { nic, k } = this.host;
    const { log } = k.memory;
    if (log.on)
      log.emit(E_MSG, nic.mm, packet.va, packet.va + packet.length, 0, 0, MSG_RNR_NAK, this.number, 0, nic.id);
    return { kind: V.RESPONSE_RNR_NAK, psn: packet.psn, data: null };
  }

  #refuse(packet: V.Packet, kind: number): V.Response {
    this.#fail();
    return { kind, psn: packet.psn, data: null };
  }
}

/** Connects two queue pairs: both are ready. */
export function connect(a: QueuePair, b: QueuePair): void {
  a.peer = b;
  b.peer = a;
  a.restart();
  b.restart();
}
