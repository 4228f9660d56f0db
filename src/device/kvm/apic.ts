// The APIC-access page (arch/x86/kvm/lapic.c kvm_alloc_apic_access_page, vmx.c vmx_set_apic_access_page_addr): the one page whose frame
// stands in a vCPU's control structure instead of an spte. Zapping sptes does not take it away there: whoever moves or frees the
// page must be followed by a look-up before the next entry into the guest.
//
//   until 3.18   the page is pinned
//   3.19 - 6.5   invalidate_range kicks the vCPUs: entries of the page have changed, it is not free yet
//   6.6 -        start kicks them, and the look-up is tried again while a section is open, as with any fault

import { EFAULT } from '../../abi/errno.ts';
import { AGENT_MIRROR_TLB, E_DEV_FILL } from '../../abi/events.ts';
import { getUserPagesUnlocked } from '../../mm/gup/fast.ts';
import { FOLL_WRITE } from '../../mm/gup/flags.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import { P_GUP } from '../../sched/points.ts';
import type { Kvm } from './kvm.ts';
import { KVM_REQ_APIC_PAGE_RELOAD, type Vcpu } from './vcpu.ts';

/** kvm_arch_mmu_notifier_invalidate_range: on return no vCPU runs with the page that it had. */
export function* reloadApicPage(kvm: Kvm, start: number, end: number): AtomicPath<void> {
  const { apicAccessHva } = kvm.config;
  if (apicAccessHva === 0 || apicAccessHva < start || apicAccessHva >= end) return;
  kvm.stats.apicReloads++;
  yield* kvm.fn.makeAllCpusRequest(kvm, KVM_REQ_APIC_PAGE_RELOAD);
  kvm.emitFlushed(apicAccessHva, apicAccessHva + 4096);
}

/** kvm_vcpu_reload_apic_access_page: looks the page up for the vCPU, which is outside of the guest. 0; -EFAULT. */
export function* loadApicPage(v: Vcpu): KernelPath<number> {
  const { kvm } = v;
  const { k, mm, config, rules } = kvm;
  for (;;) {
    const seq = kvm.fn.sampleSequence(kvm);
    const got = yield* getUserPagesUnlocked(k, mm, config.apicAccessHva, 1, FOLL_WRITE, v.page);
    if (got !== 1) return got < 0 ? got : -EFAULT;
    const pfn = v.page[0]!;
    if (k.sched.points) yield P_GUP;
    if (rules.reloadsApicAtStart) {
      yield* kvm.mmuLock.readLock();
      const isStale = kvm.fn.isStale(kvm, seq, config.apicAccessHva);
      if (!isStale) install(v, pfn);
      kvm.mmuLock.readUnlock();
      k.fn.putPage(k, pfn);
      if (!isStale) return 0;
      yield* kvm.sectionEnd(config.apicAccessHva);
      continue;
    }
    install(v, pfn);
    // Not pinned: invalidate_range makes a request that the entry sees, whenever the page goes.
    if (rules.pinsApicPage) kvm.pinnedPages.push(pfn);
    else k.fn.putPage(k, pfn);
    return 0;
  }
}

function install(v: Vcpu, pfn: number): void {
  const { kvm } = v;
  const { memory } = kvm.k;
  const va = kvm.config.apicAccessHva;
  v.note();
  v.apicPfn = pfn;
  v.apicGeneration = memory.generation[pfn]!;
  if (memory.log.on)
    memory.log.emit(E_DEV_FILL, kvm.mm.id, va, va + 4096, pfn, v.apicGeneration, 1, 0, AGENT_MIRROR_TLB, kvm.id);
}
