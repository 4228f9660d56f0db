// Kernel paths: generators whose yields are preemption points. The type says what a path may do:
//
//   plain function   runs at once; nothing can come between
//   AtomicPath<T>    other CPUs and the hardware may run between its points, but it never sleeps (spinlocks, busy waits)
//   KernelPath<T>    may also sleep
//
// An AtomicPath may be used where a KernelPath is expected (yield*); the reverse is a type error. A yielded value is the
// number of the point (abi/points). With points off nothing is yielded but waits.

declare const atomic: unique symbol;
declare const sleeping: unique symbol;
export type AtomicPoint = number & { readonly [atomic]: true };
export type SleepPoint = number & { readonly [sleeping]: true };

export type AtomicPath<T> = Generator<AtomicPoint, T, void>;
export type KernelPath<T> = Generator<AtomicPoint | SleepPoint, T, void>;

/** A path that ends at once: refused before anything was done, or nothing to do. */
export function* done(result: number): AtomicPath<number> {
  return result;
}
