// map_shadow_stack (arch/x86/kernel/shstk.c): a kernel without CONFIG_X86_USER_SHADOW_STACK does not know the call.

import { ENOSYS } from '../../abi/errno.ts';

export function mapShadowStack(): number {
  return -ENOSYS;
}
