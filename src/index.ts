// The package's entry: machines (system/), scenarios and bugs (workload/), and what livepatches, designs and drivers of one's own
// are made of. The judge is "shootdown/check", events in words are "shootdown/report".

export * from './abi/locks.ts';
export * from './abi/pte.ts';
export { createDevice, createDriverDevice } from './device/device.ts';
export { DEVICES, type DeviceInfo, deviceInfo } from './device/devices.ts';
export { pteWord, vpnHi, vpnLo } from './hw/page-table.ts';
export { entryHi, entryLo, entryWord, ptePfn, writeEntry } from './hw/pte.ts';
export { pteOffset, pteTable } from './mm/fault/page-tables.ts';
export * from './mm/gup/flags.ts';
export { pteFree } from './mm/huge/deposit.ts';
export { pmdpCollapseFlush } from './mm/huge/pmd-flush.ts';
export { lockPage, tryLockPage, unlockPage } from './mm/page/page-lock.ts';
export * from './mm/page/pages.ts';
export { notePage } from './mm/rmap/rmap.ts';
export type { AddressSpace, Inode, VmArea } from './mm/types.ts';
export type { MmuGather } from './mm/zap/mmu-gather.ts';
export { FLUSH_OF_GATHER } from './mm/zap/tlb-flush.ts';
export { FreePages2011, type FreePages2011Ops } from './notifier/free-pages-2011.ts';
export type { NotifierDesign, NotifierHost, NotifierMm, NotifierRange, NotifierVma } from './notifier/host.ts';
export { InvalidateRangeDesign, type InvalidateRangeOps } from './notifier/invalidate-range.ts';
export { Linux37, Linux2627, type Linux2627Ops } from './notifier/linux-2.6.27.ts';
export { Linux61, type MmuNotifierOps } from './notifier/linux-6.1.ts';
export { Linux66, type Linux66Ops } from './notifier/linux-6.6.ts';
export { type AndreaOps, MmuNotifiersAndrea } from './notifier/mmu-notifiers-andrea.ts';
export { MmuNotifiersV4, type MmuNotifiersV4Ops } from './notifier/mmu-notifiers-v4.ts';
export { PteNotifier, type PteNotifierOps, PteNotifiers } from './notifier/pte-notifiers.ts';
export { QuietDesign } from './notifier/quiet-design.ts';
export { MmuRmapNotifier } from './notifier/rmap-notifiers.ts';
export { MmuNotifier, type Subscription, SubscriptionList, Subscriptions } from './notifier/subscriptions.ts';
export * from './sched/points.ts';
export { CHOOSE_WORKLOAD, WaitQueue } from './sched/scheduler.ts';
export * from './system/index.ts';
export { defineLivepatch, type Livepatch, livepatched } from './system/livepatch.ts';
export {
  BUG_TAGS,
  type Bug,
  type BugDefinition,
  type DesignClass,
  type DeviceMaker,
  defineBug,
  isBug,
  type Revision,
} from './workload/museum/bug.ts';
export type { ScenarioContext } from './workload/scenario/context.ts';
export type { Scenario, Step, ThreadScript } from './workload/scenario/scenario.ts';
