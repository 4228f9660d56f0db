// The same device without any notifier: what the others are measured against. A property that even this driver keeps was not
// exercised.

import type { KernelPath } from '../../sched/path.ts';
import type { IommuDriver } from '../sva-iommu.ts';

export class NoCallbacks implements IommuDriver {
  readonly name = 'no-callbacks';

  *subscribe(): KernelPath<number> {
    return 0;
  }

  *unsubscribe(): KernelPath<void> {}
}
