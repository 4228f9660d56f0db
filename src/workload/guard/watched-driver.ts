// A driver whose every callback is watched: the heart knows which one runs, and what one throws becomes a DriverFault that says
// where. A path is watched at every resumption, since other threads run between its points.

import { InputError } from '../../base/assert.ts';
import { type Heart, PHASE_CREATE } from './heart.ts';

/** Somebody's callback threw, or did what no callback can: a finding about the driver, with the place in its file. */
export class DriverFault extends Error {
  override readonly name = 'DriverFault';
  readonly driver: string;
  readonly callback: string;
  /** "driver.ts:12:5", or null when unknown. */
  readonly place: string | null;

  constructor(driver: string, callback: string, what: string, place: string | null, cause?: unknown) {
    super(`driver ${driver}: ${callback} ${what}${place === null ? '' : ` (${place})`}`, { cause });
    this.driver = driver;
    this.callback = callback;
    this.place = place;
  }
}

/** What is watched: anything that is made for hardware and is then a set of callbacks. */
interface AnyDriver {
  readonly name: string;
  create(hw: never): unknown;
}

export type PlaceOf = (error: unknown) => string | null;

type AnyFunction = (this: unknown, ...args: unknown[]) => unknown;

interface Watch {
  readonly driver: string;
  readonly heart: Heart;
  readonly placeOf: PlaceOf;
}

/** The same driver, watched. `placeOf` finds where in the author's files an error came from. */
export function watchedDriver<D extends AnyDriver>(driver: D, heart: Heart, placeOf: PlaceOf = () => null): D {
  const watch: Watch = { driver: driver.name, heart, placeOf };
  const create = (hw: never): unknown => {
    const before = heart.enter(PHASE_CREATE);
    try {
      return watchedCallbacks(watch, driver.create(hw));
    } catch (error) {
      throw error instanceof InputError
        ? error
        : new InputError(`${atPlace(watch, error)}driver ${driver.name}: create threw: ${lineOf(error)}`);
    } finally {
      heart.leave(before);
    }
  };
  return Object.freeze({ ...driver, create });
}

/** Callbacks of any shape; what is no function is left for others to complain about. */
function watchedCallbacks(watch: Watch, callbacks: unknown): unknown {
  if (callbacks === null || typeof callbacks !== 'object') return callbacks;
  const watched: Record<string, unknown> = {};
  // Methods of a class stand in its prototype.
  for (let o: object | null = callbacks; o !== null && o !== Object.prototype; o = Object.getPrototypeOf(o)) {
    for (const name of Object.getOwnPropertyNames(o)) {
      if (name === 'constructor' || Object.hasOwn(watched, name)) continue;
      const value: unknown = Reflect.get(callbacks, name);
      watched[name] =
        typeof value === 'function' ? watchedCallback(watch, name, value as AnyFunction, callbacks) : value;
    }
  }
  return watched;
}

function watchedCallback(watch: Watch, name: string, callback: AnyFunction, self: object): AnyFunction {
  const place = watch.heart.placeNumber(name);
  return (...args) => {
    const result = during(watch, name, place, () => callback.apply(self, args));
    if (result instanceof Promise) {
      result.catch(() => {});
      throw new DriverFault(watch.driver, name, 'is an async function; expected a plain function or function*', null);
    }
    return isPath(result) ? watchedPath(watch, name, place, result) : result;
  };
}

function isPath(value: unknown): value is Generator<unknown, unknown, unknown> {
  return value !== null && typeof value === 'object' && Symbol.iterator in value && 'next' in value;
}

function* watchedPath(
  watch: Watch,
  name: string,
  place: number,
  path: Generator<unknown, unknown, unknown>,
): Generator<unknown, unknown, unknown> {
  for (;;) {
    const r = during(watch, name, place, () => path.next());
    if (r.done === true) return r.value;
    yield r.value;
  }
}

/** Runs a piece of a callback; what it throws becomes a DriverFault, unless it already says what is wrong. */
function during<T>(watch: Watch, name: string, place: number, work: () => T): T {
  const { heart } = watch;
  const before = heart.at(place);
  try {
    return work();
  } catch (error) {
    if (error instanceof DriverFault || error instanceof InputError) throw error;
    throw new DriverFault(watch.driver, name, `threw: ${lineOf(error)}`, watch.placeOf(error), error);
  } finally {
    heart.at(before);
  }
}

function atPlace(watch: Watch, error: unknown): string {
  const place = watch.placeOf(error);
  return place === null ? '' : `${place}: `;
}

/** First line of what was thrown, whatever it was. */
export function lineOf(error: unknown): string {
  const name = error instanceof Error && error.name !== 'Error' ? `${error.name}: ` : '';
  const text = error instanceof Error ? `${name}${error.message}` : `a value that is no Error: ${String(error)}`;
  return text.split('\n')[0]!;
}
