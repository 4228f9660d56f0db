// The event record: the only output of the core. Every observable step is one record of EV_WORDS doubles:
//
//   word 0 type   1 step (scheduler step)   2 actor (thread or device id)   3 mm (address-space id, 0 none)
//        4 start  5 end (byte addresses, half-open; Infinity = ULONG_MAX)   6 pfn   7 generation of that frame
//        8 a      9 b   10 c   11 d (meaning by type, below)
//
// A monitor judges from these records alone. A translation carries the generation that its frame had when it was made;
// an access carries that one (word 7) and the generation at the moment of the access (a): unequal means use after free.
export const EV_WORDS = 12;
export const EV_TYPE = 0;
export const EV_STEP = 1;
export const EV_ACTOR = 2;
export const EV_MM = 3;
export const EV_START = 4;
export const EV_END = 5;
export const EV_PFN = 6;
export const EV_GEN = 7;
export const EV_A = 8;
export const EV_B = 9;
export const EV_C = 10;
export const EV_D = 11;

// --- page tables
/** A page-table word pair was written. start = va of the entry, end = va + span; pfn = table frame; gen = level; a,b = new lo,hi (int32); c,d = old lo,hi. */
export const E_PTE = 1;
/** Hardware set A or D. Same fields as E_PTE. */
export const E_PTE_AD = 2;
// --- frames
/** Frame handed out. a = purpose (FRAME_*), b = order, c = 1 if the request might have reclaimed. gen = its generation now. */
export const E_FRAME_ALLOC = 3;
/** Frame given back to the allocator; gen = generation that just ended. a = purpose, b = order, c = 1: to the hugetlb pool. */
export const E_FRAME_FREE = 4;
/** Page queued in an mmu_gather. start = va or table base; a = 1 for a page-table page, b = its size in bytes when not 4096. */
export const E_GATHER = 5;
// --- CPU side
/** CPU TLB entry made: actor cpu in d; a = flags (bit 0 writable); b = size shift. */
export const E_CPU_FILL = 6;
/** CPU TLB entries of [start,end) of mm dropped on cpu d (end Infinity: all of the mm). */
export const E_CPU_INVAL = 7;
/** CPU load/store reached memory. start = va; gen = generation at fill; a = generation now; b = 1 for a store; d = cpu. */
export const E_CPU_ACCESS = 8;
/** flush_tlb_mm_range entered: [start,end), a = stride shift, b = freed tables. */
export const E_FLUSH = 9;
// --- secondary side: word d = device id (IOMMU: device 0 of the fabric); c = agent (AGENT_*)
/** Translation cached. start = va, end = va + size; pfn, gen; a = flags (bit 0 writable). */
export const E_DEV_FILL = 10;
/** Entries of [start,end) dropped and every in-flight use drained, i.e. the invalidation is complete. a = 1 (AGENT_MIRROR): the entry of
 *  the device's own table had its dirty bit set, and mapped pfn, gen. */
export const E_DEV_INVAL = 11;
/** The device reached memory. gen = generation at translation, a = generation now, b = 1 for a store. */
export const E_DEV_ACCESS = 12;
/** A walker read an entry of a page-table page: pfn = table, gen = generation at which the pointer to it was read, a = generation now, b = level. */
export const E_WALK = 13;
/** A page-walk cache entry made: start,end = span, pfn = table it points to, gen. */
export const E_PWC_FILL = 14;
/** Message between device, IOMMU and driver: a = MSG_*, b = tag (engine, PRG index, ITag or sequence number of a wait),
 *  [start, end) = range. pfn = flags of a request (PAGE_REQUEST_*) or status of a response (PRG_*); gen of a Page Request = the
 *  requests that its device may have outstanding. */
export const E_MSG = 15;
/** The device's state changed: a = DEV_* */
export const E_DEV_STATE = 16;
/** Device bound to mm (a = 1) or unbound (a = 0); b = PASID, where it has one. c = BIND_* of what its driver is known for. */
export const E_BIND = 17;
// --- notifier
/** Section entered by the core: a = MMU_NOTIFY_*, b = SITE_*, c = 1 if blockable, d = section id. */
export const E_SECTION_START = 18;
/** Section left: same fields; a is kept, c = 1 for only_end. */
export const E_SECTION_END = 19;
/** A callback of subscriber d begins: a = CB_*, c = 1 if it must not sleep. */
export const E_CALLBACK = 20;
/** It returned: b = result. */
export const E_CALLBACK_END = 21;
/** Subscriber d was registered: a = 1 when it has an end callback; [start, end) and c = 1 for an interval; b = 1 for an external rmap. */
export const E_SUBSCRIBE = 22;
/** Subscriber d goes: a = 1 taken off the list, so that walks that begin now, and perhaps those under way, pass it by; a = 0
 *  unregister or remove returns, no callback of it runs or will run. */
export const E_UNSUBSCRIBE = 23;
/** release of the address space: a = 1 begin, 0 end. */
export const E_RELEASE = 24;
// --- mm
/** System call entered: a = number of abi/syscalls, start = first argument, end = second, b = third, c = fourth. */
export const E_SYSCALL = 25;
/** It returned: a = number, start = result (negative errno). */
export const E_SYSCALL_END = 26;
/** handle_mm_fault entered: start = address, a = FAULT_FLAG_*. */
export const E_FAULT = 27;
export const E_FAULT_END = 28;
/** rmap added / removed: start = va. a = 1 anon, b = RMAP_* (added only), c = order of a huge mapping. */
export const E_RMAP_ADD = 29;
export const E_RMAP_REMOVE = 30;
/** Long-term pin taken / dropped: start = va. */
export const E_PIN = 31;
export const E_UNPIN = 32;
export const E_SWAP_OUT = 33;
export const E_SWAP_IN = 34;
/** VMA put in / taken out of an address space: a = vm_flags. */
export const E_VMA_ADD = 35;
export const E_VMA_REMOVE = 36;
/** Lock taken / dropped (lock order monitor): a = lock class, b = instance, c = LOCKF_* (abi/locks). */
export const E_LOCK = 37;
export const E_UNLOCK = 38;
/** Address space created / destroyed (a = parent mm or 0). */
export const E_MM_NEW = 39;
export const E_MM_FREE = 40;
/** A fault attempt of the device did not make progress: start = va, a = consecutive refaults. */
export const E_REFAULT = 41;
/** Free-form mark of a test or tool: a = id. */
export const E_MARK = 42;
/** A lock is wanted that somebody holds: same fields as E_LOCK, which follows when it was got. */
export const E_LOCK_CONTENDED = 43;
/** The thread may sleep here, whether or not it had to: a = SLEEP_*, b = class that names what it waits for (abi/locks). SLEEP_WAIT
 *  is announced only in atomic context. */
export const E_MIGHT_SLEEP = 44;
/** A page was marked dirty (PG_dirty). Here and below: pfn, gen. */
export const E_DIRTY = 45;
/** Its contents were copied to where they are kept: a = KEPT_*. */
export const E_WRITE_OUT = 46;
/** It is dropped as clean: a = KEPT_* says where its contents are. */
export const E_DISCARD = 47;
/** MADV_FREE gave its contents up. */
export const E_LAZYFREE = 48;
/** ptep_clear_flush entered: start = address. */
export const E_PTE_CLEAR_FLUSH = 49;
/** ptep_clear_flush_young entered: start = address. */
export const E_PTE_YOUNG_FLUSH = 50;
/** pmdp_clear_flush_young entered: start = address. */
export const E_PMD_YOUNG_FLUSH = 51;
/** A PMD leaf is taken away: start = address, a = PMD_* (which function). */
export const E_PMD_FLUSH = 52;
/** arch_tlbbatch_flush entered: what reclaim or migration put off. */
export const E_BATCH_FLUSH = 53;
/** exit_mmap: a = 1 begin, 0 end. */
export const E_EXIT_MMAP = 54;
/** A driver mapped a page for DMA, or unmapped it: start = bus address, pfn, gen, d = device. */
export const E_DMA_MAP = 55;
export const E_DMA_UNMAP = 56;
/** Frames [pfn, pfn + a) are memory of device d, in which pages of programs may live (device-private). */
export const E_DEV_MEMORY = 57;
/** The driver of device d asks to have the page at [start, end) for itself (device-exclusive); a = 0: it does not have it. */
export const E_DEV_EXCLUSIVE = 58;
/** The access of device d to [start, end) that follows is an atomic operation: pfn, gen. */
export const E_DEV_ATOMIC = 59;
/** The driver of device d has made entries for the part [start, end) of a range, which it does not take for mapped before the rest is. */
export const E_DEV_PART_MAPPED = 60;

export const EVENT_NAMES: readonly string[] = [
  '',
  'pte',
  'pte_ad',
  'frame_alloc',
  'frame_free',
  'gather',
  'cpu_fill',
  'cpu_inval',
  'cpu_access',
  'flush',
  'dev_fill',
  'dev_inval',
  'dev_access',
  'walk',
  'pwc_fill',
  'msg',
  'dev_state',
  'bind',
  'section_start',
  'section_end',
  'callback',
  'callback_end',
  'subscribe',
  'unsubscribe',
  'release',
  'syscall',
  'syscall_end',
  'fault',
  'fault_end',
  'rmap_add',
  'rmap_remove',
  'pin',
  'unpin',
  'swap_out',
  'swap_in',
  'vma_add',
  'vma_remove',
  'lock',
  'unlock',
  'mm_new',
  'mm_free',
  'refault',
  'mark',
  'lock_contended',
  'might_sleep',
  'dirty',
  'write_out',
  'discard',
  'lazyfree',
  'pte_clear_flush',
  'pte_young_flush',
  'pmd_young_flush',
  'pmd_flush',
  'batch_flush',
  'exit_mmap',
  'dma_map',
  'dma_unmap',
  'dev_memory',
  'dev_exclusive',
  'dev_atomic',
  'dev_part_mapped',
];

// Kinds of an added rmap. A copy by fork is none of them.
export const RMAP_DUP = 0;
export const RMAP_ANON = 1;
export const RMAP_ANON_NEW = 2;
export const RMAP_FILE = 3;

// Functions that take a PMD leaf away (E_PMD_FLUSH).
export const PMD_INVALIDATE = 0;
export const PMD_HUGE_CLEAR_FLUSH = 1;
export const PMD_COLLAPSE_FLUSH = 2;
export const PMD_FLUSH_NAMES: readonly string[] = ['pmdp_invalidate', 'pmdp_huge_clear_flush', 'pmdp_collapse_flush'];

// Purposes of a frame.
export const FRAME_ANON = 1;
export const FRAME_FILE = 2;
export const FRAME_TABLE = 3;
export const FRAME_GATHER = 4;
export const FRAME_KERNEL = 5;
export const FRAME_HUGETLB = 6;
export const FRAME_NAMES: readonly string[] = ['', 'anon', 'file', 'table', 'gather', 'kernel', 'hugetlb'];

// Where the contents of a page are kept once it is gone.
export const KEPT_FILE = 0;
export const KEPT_SWAP = 1;
/** Nowhere: MADV_FREE said that nobody needs them. */
export const KEPT_LAZYFREE = 2;

// Agents that cache translations on the device side.
export const AGENT_IOTLB = 1;
export const AGENT_PWC = 2;
export const AGENT_ATC = 3;
export const AGENT_PIN = 4; // a DMA mapping of pinned pages
export const AGENT_MIRROR = 5; // the table of a device that a driver fills
export const AGENT_MIRROR_TLB = 6; // the TLBs of that device's engines
export const AGENT_PFN_CACHE = 7; // a page that the host kernel keeps for a guest (KVM's gfn-to-pfn caches)
export const AGENT_NAMES: readonly string[] = [
  '',
  'IOMMU TLB',
  'IOMMU walk cache',
  'device TLB',
  'DMA mapping',
  'mirror table',
  'mirror TLB',
  'pfn cache',
];

// Callbacks, over all designs.
export const CB_RELEASE = 1;
export const CB_INVALIDATE_RANGE_START = 2;
export const CB_INVALIDATE_RANGE_END = 3;
export const CB_INVALIDATE_RANGE = 4;
export const CB_INVALIDATE_PAGE = 5;
export const CB_CHANGE_PTE = 6;
export const CB_CLEAR_FLUSH_YOUNG = 7;
export const CB_CLEAR_YOUNG = 8;
export const CB_TEST_YOUNG = 9;
export const CB_INTERVAL_INVALIDATE = 10;
export const CB_ALLOC_NOTIFIER = 11;
export const CB_FREE_NOTIFIER = 12;
export const CB_INVALIDATE_RANGE_FREE_PAGES = 13;
export const CB_ARCH_INVALIDATE_SECONDARY_TLBS = 14;
// Of the proposals before 2.6.27. Their pairs need not match the sections of mm, hence numbers of their own.
export const CB_PTE_CLEAR = 15;
export const CB_VMA_CLOSE = 16;
export const CB_AGE_PAGE = 17;
export const CB_INVALIDATE_RANGE_BEGIN = 18;
export const CB_INVALIDATE_RANGE_FINISH = 19;
export const CB_INVALIDATE_ALL = 20;
export const CB_RMAP_INVALIDATE_PAGE = 21;
export const CB_NAMES: readonly string[] = [
  '',
  'release',
  'invalidate_range_start',
  'invalidate_range_end',
  'invalidate_range',
  'invalidate_page',
  'change_pte',
  'clear_flush_young',
  'clear_young',
  'test_young',
  'invalidate',
  'alloc_notifier',
  'free_notifier',
  'invalidate_range_free_pages',
  'arch_invalidate_secondary_tlbs',
  'clear',
  'close',
  'age_page',
  'invalidate_range_begin',
  'invalidate_range_end',
  'invalidate_all',
  'rmap invalidate_page',
];

// What a driver is known for (E_BIND).
/** It has no release: it lets go when its mapping is closed. */
export const BIND_CLOSES_LATE = 1;
/** It takes its mutexes in callbacks that must not sleep. */
export const BIND_SLEEPS_ALWAYS = 2;
/** Unbound: every page request of the PASID has been answered. */
export const BIND_DRAINED = 3;

// Messages of ATS, PRI and the IOMMU command queue.
export const MSG_TRANSLATION_REQUEST = 1;
export const MSG_TRANSLATION_COMPLETION = 2;
export const MSG_PAGE_REQUEST = 3;
export const MSG_PRG_RESPONSE = 4;
export const MSG_INVALIDATE_REQUEST = 5;
export const MSG_INVALIDATE_COMPLETION = 6;
export const MSG_CMD_INVALIDATE_IOMMU_PAGES = 7;
export const MSG_CMD_INVALIDATE_IOTLB_PAGES = 8;
export const MSG_CMD_COMPLETION_WAIT = 9;
export const MSG_COMPLETION_WAIT_DONE = 10;
/** An RDMA adapter's page fault (pfn: 1 = write), the driver's answer to it (pfn = errno or 0), and the NAK to whoever sent the request. */
export const MSG_NIC_PAGE_FAULT = 11;
export const MSG_NIC_RESUME = 12;
export const MSG_RNR_NAK = 13;
/** XPMEM: a partition wants a page, is answered, is told to give pages back, has given them back. b = partition. */
export const MSG_XPMEM_FAULT = 14;
export const MSG_XPMEM_REPLY = 15;
export const MSG_XPMEM_RECALL = 16;
export const MSG_XPMEM_ACK = 17;
/** Commands of an Intel IOMMU: IOTLB of a PASID, device TLB, wait descriptor. */
export const MSG_QI_PIOTLB = 18;
export const MSG_QI_DEVICE_TLB = 19;
export const MSG_QI_WAIT = 20;
/** Commands of an ARM SMMU. */
export const MSG_SMMU_TLBI = 21;
export const MSG_SMMU_ATC_INV = 22;
export const MSG_SMMU_SYNC = 23;
/** A page request that nobody will serve: the queue was full, or the rest of its group was lost so. b = PRG index. */
export const MSG_PAGE_REQUEST_LOST = 24;
export const MSG_NAMES: readonly string[] = [
  '',
  'Translation Request',
  'Translation Completion',
  'Page Request',
  'PRG Response',
  'Invalidate Request',
  'Invalidate Completion',
  'INVALIDATE_IOMMU_PAGES',
  'INVALIDATE_IOTLB_PAGES',
  'COMPLETION_WAIT',
  'completion stored',
  'page fault',
  'resume',
  'RNR NAK',
  'XPMEM fault',
  'XPMEM reply',
  'XPMEM recall',
  'XPMEM acknowledgement',
  'PASID IOTLB invalidate',
  'device TLB invalidate',
  'invalidation wait',
  'TLBI',
  'ATC_INV',
  'CMD_SYNC',
  'Page Request lost',
];

// Flags of a Page Request. A Stop Marker is the last message for its PASID; nobody answers it.
export const PAGE_REQUEST_WRITE = 1;
export const PAGE_REQUEST_LAST = 2;
export const PAGE_REQUEST_EXEC = 4;
export const PAGE_REQUEST_STOP = 8;

// Codes of a PRG response.
export const PRG_SUCCESS = 0;
export const PRG_INVALID = 1;
export const PRG_FAILURE = 15;

export const DEV_RUNNING = 0;
export const DEV_DONE = 1;
export const DEV_FAILED = 2;
