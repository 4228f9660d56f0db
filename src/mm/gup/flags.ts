// FOLL_* flags of get_user_pages (include/linux/mm.h, 6.1).
export const FOLL_WRITE = 0x01;
export const FOLL_TOUCH = 0x02;
export const FOLL_GET = 0x04;
/** Read what the program itself may not read (VM_MAYREAD is enough). */
export const FOLL_FORCE = 0x10;
/** Start what the page needs, do not wait for it. */
export const FOLL_NOWAIT = 0x20;
/** Do not fault: stop at the first page that is not mapped. */
export const FOLL_NOFAULT = 0x80;
/** Tell a broken page by -EHWPOISON. */
export const FOLL_HWPOISON = 0x100;
export const FOLL_LONGTERM = 0x10000;
export const FOLL_PIN = 0x40000;
/** The caller gave `locked`: the fault may drop mmapLock. */
export const FOLL_UNLOCKABLE = 0x100000;
/** The address space is not the caller's own. */
export const FOLL_REMOTE = 0x2000;
/** get_user_pages_fast: nothing but the walk without locks. */
export const FOLL_FAST_ONLY = 0x80000;
