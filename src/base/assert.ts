// Assertions for the model's own errors. Outcomes of the simulated kernel (BUG_ON, WARN_ON) are findings, not these.

/** Throws when `condition` is false: an error of this program, never of its input. */
export function assert(condition: boolean, claim: string): asserts condition {
  if (!condition) throw new Error(`assertion failed: ${claim}`);
}

/** As a false assert: where the claim is a text that costs something to make. */
export function fail(claim: string): never {
  throw new Error(`assertion failed: ${claim}`);
}

/** Unusable input of a user (configuration, trace, option): names the input and the place. The CLI exits with status 2. */
export class InputError extends Error {
  override readonly name = 'InputError';
}
