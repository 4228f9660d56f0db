// Worker threads that answer requests: the life cycle that every run on several processors has. Requests wait for an idle worker in
// their order. A worker may send messages before its last one, and may be sent some: progress, and the wish to stop. A thread that
// fails or ends by itself fails every request. Whoever makes the threads closes them, however the run ends.

import { Worker } from 'node:worker_threads';

export interface ThreadsOptions<Answer> {
  /** What a thread runs: it answers each message of its port. */
  readonly module: URL;
  readonly count: number;
  /** What thread `number` is started with. */
  readonly workerData?: (number: number) => unknown;
  /** Does this message end its request? Every one does, when left out. */
  readonly isLast?: (message: Answer) => boolean;
}

/** Told every message of a request, the last included (its thread is idle by then). `send` reaches the thread until then. */
export type OnMessage<Answer> = (message: Answer, send: (message: unknown) => void) => void | Promise<void>;

interface Request<Answer> {
  readonly message: unknown;
  readonly onMessage: OnMessage<Answer>;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: Error) => void;
}

export class WorkerThreads<Answer> {
  readonly #workers: Worker[] = [];
  readonly #idle: Worker[] = [];
  readonly #queue: Request<Answer>[] = [];
  readonly #running = new Map<Worker, Request<Answer>>();
  readonly #isLast: (message: Answer) => boolean;
  #failure: Error | null = null;
  #isClosed = false;

  constructor(options: ThreadsOptions<Answer>) {
    this.#isLast = options.isLast ?? (() => true);
    for (let i = 0; i < options.count; i++) {
      const worker = new Worker(options.module, { workerData: options.workerData?.(i) });
      worker.on('message', (message: Answer) => this.#answered(worker, message));
      worker.on('error', (error: Error) => this.#fail(error));
      worker.on('exit', (code) => this.#fail(new Error(`worker ${i} ended with status ${code}`)));
      this.#workers.push(worker);
      this.#idle.push(worker);
    }
  }

  /** Threads without a request. */
  get idle(): number {
    return this.#idle.length;
  }

  /** The last message of the thread that gets the request. */
  ask(message: unknown, onMessage: OnMessage<Answer> = () => {}): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== null) {
        reject(this.#failure);
        return;
      }
      this.#queue.push({ message, onMessage, resolve, reject });
      this.#giveOut();
    });
  }

  #giveOut(): void {
    while (this.#idle.length > 0 && this.#queue.length > 0) {
      const worker = this.#idle.pop()!;
      const request = this.#queue.shift()!;
      this.#running.set(worker, request);
      worker.postMessage(request.message);
    }
  }

  #answered(worker: Worker, message: Answer): void {
    const request = this.#running.get(worker);
    if (request === undefined || this.#isClosed) return;
    const isLast = this.#isLast(message);
    if (isLast) {
      this.#running.delete(worker);
      this.#idle.push(worker);
    }
    void this.#tell(worker, request, message);
    if (!isLast) return;
    request.resolve(message);
    this.#giveOut();
  }

  async #tell(worker: Worker, request: Request<Answer>, message: Answer): Promise<void> {
    try {
      await request.onMessage(message, (answer) => {
        if (this.#running.get(worker) === request) worker.postMessage(answer);
      });
    } catch (error) {
      request.reject(error as Error);
    }
  }

  #fail(error: Error): void {
    if (this.#isClosed) return;
    this.#failure ??= error;
    for (const request of this.#running.values()) request.reject(this.#failure);
    for (const request of this.#queue.splice(0)) request.reject(this.#failure);
  }

  /** Ends the threads at once. Requests under way are never answered. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.all(this.#workers.map((w) => w.terminate()));
  }
}
