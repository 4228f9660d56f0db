// The callbacks of a walker with shared page tables under each design that tells one at the flush, whoever made the IOMMU: what
// differs between makers is in their SvaIommu. Linux: the mmu_notifier_ops of iommu_v2.c, intel/svm.c and arm-smmu-v3-sva.c.

import { InputError } from '../../base/assert.ts';
import type { NotifierDesign } from '../../notifier/host.ts';
import { InvalidateRangeDesign } from '../../notifier/invalidate-range.ts';
import { Linux61 } from '../../notifier/linux-6.1.ts';
import { Linux66 } from '../../notifier/linux-6.6.ts';
import type { ListOps, SubscriptionList } from '../../notifier/subscriptions.ts';
import type { IommuDriver, SvaIommu } from '../sva-iommu.ts';
import { IommuSvaOps } from './iommu-sva.ts';
import { IommuV2Ops } from './iommu-v2.ts';
import { IommuV2Linux319Ops } from './iommu-v2-3.19.ts';
import { ListDriver, type Registrar } from './subscribing-driver.ts';

/** How a subscription ends: mmu_notifier_unregister, which runs release if it has not run, or mmu_notifier_put, which does not. */
export type Ending = 'unregister' | 'put';

/** release and invalidate_range (with invalidate_page where reclaim speaks through it), or since 6.6 arch_invalidate_secondary_tlbs.
 *  Throws InputError for a design that tells nobody at the flush. */
export function sharedTableDriver(name: string, sva: SvaIommu, design: NotifierDesign, ending: Ending): IommuDriver {
  if (design instanceof Linux61)
    return new ListDriver(name, registrar(design.list, design.list, ending), (s) => new IommuV2Ops(sva, s));
  if (design instanceof InvalidateRangeDesign)
    return new ListDriver(name, registrar(design.list, design.list, ending), (s) => new IommuV2Linux319Ops(sva, s));
  if (design instanceof Linux66)
    return new ListDriver(name, registrar(design, design.list, ending), (s) => new IommuSvaOps(sva, s));
  throw new InputError(`driver ${name}: design ${design.name} has no call at the flush`);
}

function registrar<Ops extends ListOps>(
  registers: Pick<Registrar<Ops>, 'register'>,
  list: SubscriptionList<Ops>,
  ending: Ending,
): Registrar<Ops> {
  return {
    register: (mn, mm) => registers.register(mn, mm),
    *unregister(mn, mm) {
      if (ending === 'put') list.put(mn);
      else yield* list.unregister(mn, mm);
    },
  };
}
