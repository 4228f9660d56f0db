// The tree of all choices of a search, walked depth first by running the program again for each leaf: a node is a choice with two
// or more alternatives, in the order in which they are tried.

export class ChoiceTree {
  readonly #options: (readonly number[])[] = [];
  readonly #index: number[] = [];
  /** Choices made in the execution at hand. */
  #at = 0;

  /** Makes the next choice of the execution: one of `options`, which are at least two. */
  choose(options: readonly number[]): number {
    const at = this.#at++;
    if (at === this.#options.length) {
      this.#options.push(options);
      this.#index.push(0);
    }
    return this.#options[at]![this.#index[at]!]!;
  }

  /** The same leaf again. */
  restart(): void {
    this.#at = 0;
  }

  /** On to the next leaf. False when there is none: the tree is seen. */
  advance(): boolean {
    this.#at = 0;
    while (this.#options.length > 0) {
      const last = this.#options.length - 1;
      if (++this.#index[last]! < this.#options[last]!.length) return true;
      this.#options.pop();
      this.#index.pop();
    }
    return false;
  }
}
