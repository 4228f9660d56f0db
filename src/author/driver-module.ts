// What an author's module exports, as a driver or a scenario.

import { InputError } from '../base/assert.ts';
import { type Driver, isDriver } from '../device/define-driver.ts';
import { nearPath } from './place.ts';
import type { AuthorModule } from './task.ts';

/** The driver that the module exports: by default, or under any one name. Throws InputError that says what is there instead. */
export function driverOf(module: AuthorModule): Driver {
  const { exports } = module;
  const path = nearPath(module.path);
  if (isDriver(exports['default'])) return exports['default'];
  const drivers = Object.values(exports).filter(isDriver);
  if (drivers.length === 1) return drivers[0]!;
  const wanted = 'expected "export default defineDriver({ ... })"';
  if (drivers.length > 1) {
    const names = Object.keys(exports).filter((name) => isDriver(exports[name]));
    throw new InputError(`${path}: exports several drivers (${names.join(', ')}) and none as default; ${wanted}`);
  }
  if (typeof exports['default'] === 'object' && exports['default'] !== null && 'create' in exports['default'])
    throw new InputError(`${path}: the default export did not go through defineDriver; ${wanted}`);
  // An empty file is no ES module yet: its default is an empty object.
  const isEmpty = (value: unknown): boolean =>
    typeof value === 'object' && value !== null && Object.keys(value).length === 0;
  const names = Object.keys(exports).filter((name) => !isEmpty(exports[name]));
  const has = names.length === 0 ? 'exports nothing' : `exports ${names.join(', ')} and no driver`;
  throw new InputError(`${path}: ${has}; ${wanted}`);
}
