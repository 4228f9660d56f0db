// Words that several monitors use.

import { AGENT_IOTLB, AGENT_NAMES, AGENT_PWC } from '../abi/events.ts';
import type { Context } from './context.ts';

/** 0x7f0000001000 */
export function hex(n: number): string {
  return n === Number.POSITIVE_INFINITY ? '0xffffffffffffffff' : `0x${n.toString(16)}`;
}

/** "The device TLB of NIC", "The IOMMU TLB". */
export function agentText(c: Context, agent: number, device: number, article = 'The'): string {
  const name = AGENT_NAMES[agent] || 'TLB';
  return agent === AGENT_IOTLB || agent === AGENT_PWC
    ? `${article} ${name}`
    : `${article} ${name} of ${c.deviceName(device)}`;
}
