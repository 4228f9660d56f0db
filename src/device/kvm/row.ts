// KVM's row in the table of devices.

import type { DeviceInfo } from '../devices.ts';
import { KvmDevice } from './device.ts';

export const KVM_DEVICE: DeviceInfo = {
  name: 'kvm',
  kind: 'mirror',
  summary:
    'a virtual machine: guest memory is memory of the process, reached through sptes that the host fills on faults',
  source: 'virt/kvm/kvm_main.c, virt/kvm/pfncache.c, arch/x86/kvm/mmu/',
  designs: {
    'pte-notifiers':
      'the experiment of 2007: zaps a page when reclaim is about to clear its entry, and a VMA that is gone',
    'mmu-notifiers-andrea': 'a reference for each spte; pages and freed ranges are zapped, and move the sequence',
    'mmu-notifiers-v4': 'begin and end with a count for the whole VM; invalidate_page zaps and moves the sequence',
    'mmu-notifiers-v4-unpaired': 'the same; the count is wrong after an end without begin',
    'linux-2.6.27':
      'start and end with a count and a sequence for all faults; invalidate_page zaps and moves the sequence',
    'free-pages-2011': 'the same; has no need of the new callback',
    'invalidate-range': 'the same, start and end may sleep; invalidate_range reloads the APIC-access page',
    'linux-6.1': 'start and end count sections that hit a memslot, by range; pfn caches; change_pte',
    'linux-6.6': 'the same; the APIC-access page is reloaded from start',
    'linux-6.12': 'the same, without change_pte; a fault asks before its look-up too',
  },
  create: (k, config) => new KvmDevice(k, config),
};
