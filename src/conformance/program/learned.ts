// What was taken from the recording of a real program because nothing before it tells, counted.

export interface Learned {
  /** Pages of files put into the page cache. */
  filePages: number;
  /** Pages that exec wrote: arguments, the end of the data. */
  execPages: number;
  /** Pages that a process nobody watched had written. */
  unseenWrites: number;
  /** Processes nobody watched whose end was concluded from what others saw. */
  unseenEnds: number;
  /** Settings of the machine (transparent huge pages). */
  settings: number;
}

/** In words, for each count. */
export const LEARNED_NAMES: Readonly<Record<keyof Learned, string>> = {
  filePages: 'pages in page caches',
  execPages: 'pages written by exec',
  unseenWrites: 'pages written by processes that nobody watched',
  unseenEnds: 'ends of such processes',
  settings: 'settings',
};

export function nothingLearned(): Learned {
  return { filePages: 0, execPages: 0, unseenWrites: 0, unseenEnds: 0, settings: 0 };
}

/** Adds `more` to `sum`. */
export function addLearned(sum: Learned, more: Learned): void {
  for (const name of Object.keys(LEARNED_NAMES) as (keyof Learned)[]) sum[name] += more[name];
}
