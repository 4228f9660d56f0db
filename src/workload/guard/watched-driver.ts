// A driver whose every callback is watched: the heart knows which one runs, and what one throws becomes a DriverFault that says
// where. A path is watched at every resumption, since other threads run between its points.

import { InputError } from '../../base/assert.ts';
import { CALLBACK_NAMES, type Driver } from '../../device/define-driver.ts';
import { type Heart, PHASE_CREATE } from './heart.ts';

/** Somebody's callback threw, or did what no callback can: a finding about the driver, with the place in its file. */
export class DriverFault extends Error {
  override readonly name = 'DriverFault';
  readonly driver: string;
  readonly callback: string;
  /** "driver.ts:12:5", or null when unknown. */
  readonly place: string | null;

  constructor(driver: string, callback: string, what: string, place: string | null, cause?: unknown) {
    super(
      `driver ${driver}: ${callback}${what.startsWith(':') ? '' : ' '}${what}${place === null ? '' : ` (${place})`}`,
      { cause },
    );
    this.driver = driver;
    this.callback = callback;
    this.place = place;
  }
}

export type PlaceOf = (error: unknown) => string | null;

type AnyFunction = (this: unknown, ...args: unknown[]) => unknown;

interface Watch {
  readonly driver: string;
  readonly heart: Heart;
  readonly placeOf: PlaceOf;
}

/** Resumptions of one call of a callback without a notification between them: more than any needs, and so many that it is suspect
 *  of never ending. A fault that starts over because the kernel and the device undo each other's work is no mistake of the driver. */
const LONG = 50;
const VERY_LONG = 150;

/** Names under which a device may call a driver; methods of a class, which stand in its prototype, are watched by these. */
const CALLED = [...new Set([...Object.values(CALLBACK_NAMES).flat(), 'bind', 'unbind', 'fault'])];

/** The same driver, watched. `placeOf` finds where in the author's files an error came from. */
export function watchedDriver(driver: Driver, heart: Heart, placeOf: PlaceOf = () => null): Driver {
  const watch: Watch = { driver: driver.name, heart, placeOf };
  const create = (hw: unknown): unknown => {
    const before = heart.enter(PHASE_CREATE);
    try {
      return watchedCallbacks(watch, driver.create(hw));
    } catch (error) {
      if (error instanceof InputError) throw error;
      const place = placeOf(error);
      const at = place === null ? '' : `${place}: `;
      throw new InputError(`${at}driver ${driver.name}: create(hw) throws: ${lineOf(error)}`, { cause: error });
    } finally {
      heart.leave(before);
    }
  };
  // Its brand is not enumerable.
  const properties = { ...Object.getOwnPropertyDescriptors(driver), create: { value: create, enumerable: true } };
  return Object.freeze(Object.defineProperties({}, properties)) as Driver;
}

/** Callbacks of any shape: own ones stay own, inherited ones inherited. What is no function is for others to complain about. */
function watchedCallbacks(watch: Watch, made: unknown): unknown {
  if (made === null || typeof made !== 'object' || Array.isArray(made)) return made;
  const watched: object = Object.create(made);
  const own = Object.keys(made);
  for (const name of new Set([...own, ...CALLED])) {
    let value: unknown = Reflect.get(made, name);
    if (typeof value === 'function') value = watchedCallback(watch, name, value as AnyFunction, made);
    else if (!own.includes(name)) continue;
    Object.defineProperty(watched, name, { value, enumerable: own.includes(name) });
  }
  return watched;
}

function watchedCallback(watch: Watch, name: string, callback: AnyFunction, self: object): AnyFunction {
  const place = watch.heart.placeNumber(name);
  return (...args) => {
    if (name !== 'fault') watch.heart.told++;
    const result = during(watch, name, place, () => callback.apply(self, args));
    // Whoever called it says what is wrong with that; it must not reject unheard meanwhile.
    if (result instanceof Promise) result.catch(() => {});
    return isPath(result) ? watchedPath(watch, name, place, result) : result;
  };
}

function isPath(value: unknown): value is Generator<unknown, unknown, unknown> {
  return typeof (value as Generator | null | undefined)?.next === 'function';
}

function* watchedPath(
  watch: Watch,
  name: string,
  place: number,
  path: Generator<unknown, unknown, unknown>,
): Generator<unknown, unknown, unknown> {
  const { heart, driver } = watch;
  let turnsThen: Int32Array | null = null;
  let told = heart.told;
  for (let resumed = 1; ; resumed++) {
    if (heart.told !== told) {
      told = heart.told;
      resumed = 1;
    }
    const r = during(watch, name, place, () => path.next());
    if (r.done === true) return r.value;
    if (resumed === LONG) turnsThen = heart.turns.slice();
    if (resumed >= VERY_LONG) heart.suspect = { driver, callback: name, turnsThen: turnsThen! };
    yield r.value;
  }
}

/** Runs a piece of a callback; what it throws becomes a DriverFault. */
function during<T>(watch: Watch, name: string, place: number, work: () => T): T {
  const { heart } = watch;
  const before = heart.at(place);
  try {
    return work();
  } catch (error) {
    throw faultOf(watch, name, error);
  } finally {
    heart.at(before);
  }
}

function faultOf(watch: Watch, name: string, error: unknown): unknown {
  const { driver, placeOf } = watch;
  // Another driver's, or this one's from further in; or an assertion of this program, which is nobody's callback.
  if (error instanceof DriverFault || (error instanceof Error && error.message.startsWith('assertion failed')))
    return error;
  const mine = `driver ${driver}: `;
  if (!(error instanceof InputError))
    return new DriverFault(driver, name, `throws: ${lineOf(error)}`, placeOf(error), error);
  if (!error.message.startsWith(mine)) return error;
  // A misuse of hw, already in words.
  return new DriverFault(driver, name, `: ${error.message.slice(mine.length)}`, placeOf(error), error);
}

/** First line of what was thrown, whatever it was. */
export function lineOf(error: unknown): string {
  const name = error instanceof Error && error.name !== 'Error' ? `${error.name}: ` : '';
  const text = error instanceof Error ? `${name}${error.message}` : `${String(error)}, which is no Error`;
  return text.split('\n')[0]!;
}
