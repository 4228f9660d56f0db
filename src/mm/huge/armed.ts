// userfaultfd_armed: somebody answers the faults of this VMA, so missing pages must stay missing.

import { VM_UFFD_MINOR, VM_UFFD_MISSING, VM_UFFD_WP } from '../../abi/mman.ts';
import type { VmArea } from '../types.ts';

export function isArmed(vma: VmArea): boolean {
  return (vma.flags & (VM_UFFD_MISSING | VM_UFFD_WP | VM_UFFD_MINOR)) !== 0;
}
