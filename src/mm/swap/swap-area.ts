// The swap area: slots, their use counts and contents. Filled in by the room's owner.
export class SwapArea {
  readonly pages: number;
  constructor(pages: number) {
    this.pages = pages;
  }
}
