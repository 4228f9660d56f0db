// The functions of room mm/uffd in the livepatch table.
import type { UffdFns } from '../fns.ts';
import {
  dupUserfaultfd,
  mremapUserfaultfdPrep,
  sendUffdEvents,
  userfaultfdRemove,
  userfaultfdUnmapPrep,
} from './events.ts';
import { handleUserfault } from './fault.ts';
import { mcopyAtomic, mwriteprotectRange, uffdWpRange } from './fill.ts';
import { handlePteMarker } from './marker.ts';
import { userfaultfdRegister, userfaultfdRelease, userfaultfdUnregister } from './register.ts';

export const uffdFns: UffdFns = {
  handleUserfault,
  handlePteMarker,
  userfaultfdRegister,
  userfaultfdUnregister,
  userfaultfdRelease,
  mcopyAtomic,
  mwriteprotectRange,
  uffdWpRange,
  userfaultfdUnmapPrep,
  mremapUserfaultfdPrep,
  userfaultfdRemove,
  dupUserfaultfd,
  sendUffdEvents,
};
