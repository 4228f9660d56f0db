// Names for locks beyond the kernel's own, and for what threads wait for: one number for each name. Two locks of one name are
// two instances of one class, as with lockdep's keys: what is learned of one holds for all.

import { LOCK_DYNAMIC, LOCK_NAMES } from '../abi/locks.ts';

export class LockClasses {
  readonly #names: string[] = [];
  readonly #numbers = new Map<string, number>();

  /** Number of the class of that name, made at its first use. */
  define(name: string): number {
    let number = this.#numbers.get(name);
    if (number === undefined) {
      number = LOCK_DYNAMIC + this.#names.length;
      this.#names.push(name);
      this.#numbers.set(name, number);
    }
    return number;
  }

  name(lockClass: number): string {
    return LOCK_NAMES[lockClass] ?? this.#names[lockClass - LOCK_DYNAMIC] ?? `lock class ${lockClass}`;
  }
}
