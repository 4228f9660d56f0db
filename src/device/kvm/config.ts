// What can be chosen of a virtual machine, and the rules that KVM followed at different times (History in docs/devices/kvm.md).

/** Memslot as user space sets it (struct kvm_userspace_memory_region), in pages. */
export interface MemslotRegion {
  readonly baseGfn: number;
  readonly pages: number;
  /** Byte address in the process. */
  readonly hva: number;
  /** KVM_MEM_READONLY. */
  readonly isReadonly?: boolean;
  /** KVM_MEM_LOG_DIRTY_PAGES. */
  readonly logsDirty?: boolean;
}

export interface KvmConfig {
  /** vCPUs, each an engine of the device: 1 to 8. */
  readonly vcpus: number;
  /** Slot i of the VM; null: every address of the process is reachable, at gpa = hva. */
  readonly slots: readonly MemslotRegion[] | null;
  /** Do sptes have accessed and dirty bits (EPT A/D)? Without, accesses are tracked by taking the rights away. */
  readonly hasAdBits: boolean;
  /** Map 2 MiB where the host does. */
  readonly hasLargePages: boolean;
  /** Address of the page behind APIC_ACCESS_ADDR; 0 = the VM has none. */
  readonly apicAccessHva: number;
  /** gfn-to-pfn caches of the kernel's own (steal time, shared info, ...), by address; users of the caches are threads of the host. */
  readonly pfnCaches: readonly number[];
  /** Sptes zapped before a contended mmu_lock is handed over. */
  readonly zapBatch: number;
  /** A store through a translation whose frame was freed changes memory, as it does in reality. */
  readonly staleStoresLand: boolean;
  /** Other rules than those of the design's time. */
  readonly rules: Partial<KvmRules>;
  /** Name of a mistake in the driver (mistakes.ts); '' = none. */
  readonly mistake: string;
}

export const KVM_DEFAULTS: KvmConfig = {
  vcpus: 4,
  slots: null,
  hasAdBits: true,
  hasLargePages: true,
  apicAccessHva: 0,
  pfnCaches: [],
  zapBatch: 64,
  staleStoresLand: true,
  rules: {},
  mistake: '',
};

/** What changed over the years. Each rule says since when it holds. */
export interface KvmRules {
  /** 5.12: an open section blocks only the faults inside the union of the open ranges; before, every fault. */
  readonly checksRange: boolean;
  /** 5.12: faults take the read side of mmu_lock; before, it is a spinlock. */
  readonly sharesLock: boolean;
  /** 5.13: sections that hit no memslot take no lock and are not counted in mmu_invalidate_in_progress. */
  readonly countsOnlySlots: boolean;
  /** 6.9: a fault asks before the look-up too whether a section is open over it. */
  readonly asksBeforeLookup: boolean;
  /** Patches of January 2008: each spte holds a reference on its page. */
  readonly holdsReferences: boolean;
  /** Until 3.7 change_pte came without a section and had to repoint the spte itself. */
  readonly repointsOutsideSections: boolean;
  /** Until 3.18 the APIC-access page is pinned. */
  readonly pinsApicPage: boolean;
  /** 6.6: the APIC-access page is reloaded from the start of a section; from 3.19 to 6.5 from invalidate_range. */
  readonly reloadsApicAtStart: boolean;
}

const RULES_2008: KvmRules = {
  checksRange: false,
  sharesLock: false,
  countsOnlySlots: false,
  asksBeforeLookup: false,
  holdsReferences: false,
  repointsOutsideSections: true,
  pinsApicPage: true,
  reloadsApicAtStart: false,
};
const RULES_61: KvmRules = {
  ...RULES_2008,
  checksRange: true,
  sharesLock: true,
  countsOnlySlots: true,
  repointsOutsideSections: false,
  pinsApicPage: false,
};

const BY_DESIGN: Readonly<Record<string, KvmRules>> = {
  'mmu-notifiers-andrea': { ...RULES_2008, holdsReferences: true },
  'invalidate-range': { ...RULES_2008, repointsOutsideSections: false, pinsApicPage: false },
  'linux-6.1': RULES_61,
  'linux-6.6': { ...RULES_61, reloadsApicAtStart: true },
  'linux-6.12': { ...RULES_61, reloadsApicAtStart: true, asksBeforeLookup: true },
};

/** The rules of the time of that notifier design. */
export function rulesOf(design: string): KvmRules {
  return BY_DESIGN[design] ?? RULES_2008;
}
