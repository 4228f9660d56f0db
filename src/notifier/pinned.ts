// No notifier at all: devices pin what they use and learn nothing (ib_umem_get, vfio). The design against which the others are
// measured: safe, because a pinned page is never freed under the device; but the memory stays, is charged as locked, and
// after munmap or MADV_DONTNEED the device goes on with pages that the program no longer has.

import { QuietDesign } from './quiet-design.ts';

export class PinnedDesign extends QuietDesign {
  readonly name = 'pinned';
}
