// The statistics of memory cgroups as reclaim sees them (mm/memcontrol.c, kernel/cgroup/rstat.c). A change is counted on its CPU and
// reaches what lruvec_page_state says when the statistics are flushed, and reclaim flushes them only when there is enough to flush: more
// than one batch of changes, of any group, for each CPU (since 6.8 not even then: Profile.reclaimFlushesStats). Until then its looks see the lists as they were at the last flush.
//
// Counted are changes by pages that are charged to a group, and by reclaim. Not modelled: the flush every two seconds. A machine
// without groups (cgroup_disable=memory) has exact counts.
//
// Kernel names: memcg_rstat_updated, stats_updates, stats_flush_threshold, mem_cgroup_flush_stats.

/** MEMCG_CHARGE_BATCH. */
const BATCH = 64;

export class CgroupStats {
  readonly #cpus: number;
  /** Changes since the last full batch. */
  #updates = 0;
  /** Full batches since the last flush. */
  #batches = 0;

  constructor(cpus: number) {
    this.#cpus = cpus;
  }

  /** memcg_rstat_updated: a counter of a group has changed by `change` (positive). */
  updated(change: number): void {
    this.#updates += change;
    if (this.#updates <= BATCH) return;
    if (this.#batches <= this.#cpus) this.#batches += Math.floor(this.#updates / BATCH);
    this.#updates = 0;
  }

  get isFlushDue(): boolean {
    return this.#batches > this.#cpus;
  }

  flushed(): void {
    this.#batches = 0;
  }
}
