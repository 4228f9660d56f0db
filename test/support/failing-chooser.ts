import { CHOOSE_ALLOC_FAILURE, RandomChooser } from '../../src/sched/scheduler.ts';

/** The seeded random chooser, which lets allocations fail with a chance that the test sets. For kernels with injectAllocFailures. */
export class FailingChooser extends RandomChooser {
  percent = 0;
  failures = 0;

  override choose(n: number, why: number): number {
    if (why !== CHOOSE_ALLOC_FAILURE) return super.choose(n, why);
    const fails = this.percent > 0 && this.rng.below(100) < this.percent;
    if (fails) this.failures++;
    return fails ? 1 : 0;
  }
}
