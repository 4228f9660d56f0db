// Where a worker stands that does not give control back. It cannot be asked, but the debugger of this thread can interrupt it: pause,
// read the frames, and translate the innermost one that lies in the author's text back to the author's file.

import { Session } from 'node:inspector';
import { SourceMap } from 'node:module';
import { dirname, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Bundle } from './bundle.ts';
import { nearPath } from './place.ts';

const PATIENCE_MS = 1500;

/** A place in a script, counted from 0. */
interface Place {
  readonly scriptId: string;
  readonly lineNumber: number;
  readonly columnNumber?: number;
}

interface Answer {
  readonly id?: number;
  readonly method?: string;
  readonly params?: {
    readonly scriptId?: string;
    readonly url?: string;
    readonly callFrames?: readonly { readonly location: Place }[];
  };
}

/** "driver.ts:12:5": where the innermost frame of the author's text stands in the worker of that name. Null when that cannot be
 *  found out. */
export async function stuckPlace(name: string, bundle: Bundle): Promise<string | null> {
  try {
    const place = await pausedPlace(name, pathToFileURL(bundle.path).href);
    return place === null ? null : originalPlace(bundle, place.lineNumber, place.columnNumber ?? 0);
  } catch {
    // The debugger is in other hands, or this build of Node has none: the place stays unknown.
    return null;
  }
}

/** The innermost frame in the script. The worker runs again when it is known: one that stands in the debugger cannot be ended. */
async function pausedPlace(name: string, url: string): Promise<Place | null> {
  const session = new Session();
  session.connect();
  let sessionId = '';
  const post = (id: number, method: string): void => {
    session.post('NodeWorker.sendMessageToWorker', { sessionId, message: JSON.stringify({ id, method }) });
  };
  const answer = (is: (m: Answer) => boolean): Promise<Answer> =>
    new Promise((done, fail) => {
      const timer = setTimeout(() => fail(new Error('no answer')), PATIENCE_MS);
      session.on('NodeWorker.receivedMessageFromWorker', ({ params }) => {
        const message = JSON.parse(params.message) as Answer;
        if (params.sessionId !== sessionId || !is(message)) return;
        clearTimeout(timer);
        done(message);
      });
    });
  // Other workers of this process are attached too; only ours is interrupted.
  session.on('NodeWorker.attachedToWorker', ({ params }) => {
    if (!params.workerInfo.title.endsWith(name)) return;
    sessionId = params.sessionId;
    post(1, 'Debugger.enable');
    post(2, 'Debugger.pause');
  });
  try {
    const script = answer((m) => m.method === 'Debugger.scriptParsed' && m.params?.url === url);
    const paused = answer((m) => m.method === 'Debugger.paused');
    session.post('NodeWorker.enable', { waitForDebuggerOnStart: false });
    const [{ params }, stopped] = await Promise.all([script, paused]);
    const locations = stopped.params!.callFrames!.map((f) => f.location);
    return locations.find((l) => l.scriptId === params!.scriptId) ?? null;
  } finally {
    const resumed = answer((m) => m.id === 3).catch(() => {});
    if (sessionId !== '') {
      post(3, 'Debugger.disable');
      await resumed;
    }
    session.disconnect();
  }
}

function originalPlace(bundle: Bundle, line: number, column: number): string | null {
  const mark = 'sourceMappingURL=data:application/json;base64,';
  const { text } = bundle;
  const at = text.lastIndexOf(mark);
  if (at < 0) return null;
  const json = Buffer.from(text.slice(at + mark.length).trim(), 'base64').toString('utf8');
  const entry = new SourceMap(JSON.parse(json)).findEntry(line, column);
  if (!('originalSource' in entry)) return null;
  const path = resolve(dirname(bundle.path), entry.originalSource);
  return `${nearPath(path)}:${entry.originalLine + 1}:${entry.originalColumn + 1}`;
}
