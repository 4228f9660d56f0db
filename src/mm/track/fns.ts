// The functions of room mm/track in the livepatch table.
import type { TrackFns } from '../fns.ts';
import { clearSoftDirty } from './clear-refs.ts';

export const trackFns: TrackFns = { clearSoftDirty };
