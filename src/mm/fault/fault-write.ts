// VM_FAULT_WRITE: until 6.1 a fault told that it had broken copy-on-write, for get_user_pages with FOLL_FORCE.

import { VM_FAULT_WRITE } from '../../abi/mman.ts';
import type { Kernel } from '../kernel.ts';

/** What a write fault that doWpPage served returns. */
export function faultWrite(k: Kernel): number {
  return k.profile.faultReturnsWrite ? VM_FAULT_WRITE : 0;
}
