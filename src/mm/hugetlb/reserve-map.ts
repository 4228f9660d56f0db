// Reservation maps of hugetlb (mm/hugetlb.c, "struct resv_map"): sets of huge-page indices as sorted, disjoint regions.
//
// What an index in the map means depends on whose map it is. In the map of a file (shared mappings) it is reserved or in use. In the
// map of a private mapping it is the opposite: the reservation was used up, and an index that is missing is still reserved.
//
// Plain functions; the fault mutex of the index, or mmapLock for write, keeps users of one index apart. Kernel names:
// region_chg, region_add, region_del, region_count, resv_map_alloc, resv_map_release.

interface Region {
  from: number;
  to: number;
}

export class ReserveMap {
  /** Private mappings: VMAs that share the map (kref). A file's map has one owner. */
  users = 1;
  #regions: Region[] = [];

  /** region_count: indices of [from, to) in the map. */
  count(from: number, to: number): number {
    let n = 0;
    for (const r of this.#regions) n += Math.max(0, Math.min(r.to, to) - Math.max(r.from, from));
    return n;
  }

  /** region_chg: how many indices an add of [from, to) would add. */
  missing(from: number, to: number): number {
    return to - from - this.count(from, to);
  }

  /** region_add: indices added. */
  add(from: number, to: number): number {
    const added = this.missing(from, to);
    const kept: Region[] = [];
    const joined: Region = { from, to };
    for (const r of this.#regions) {
      if (r.to < joined.from || r.from > joined.to) {
        kept.push(r);
        continue;
      }
      joined.from = Math.min(joined.from, r.from);
      joined.to = Math.max(joined.to, r.to);
    }
    kept.push(joined);
    this.#regions = kept.sort((a, b) => a.from - b.from);
    return added;
  }

  /** region_del: indices removed. */
  remove(from: number, to: number): number {
    const removed = this.count(from, to);
    const kept: Region[] = [];
    for (const r of this.#regions) {
      if (r.from < from) kept.push({ from: r.from, to: Math.min(r.to, from) });
      if (r.to > to) kept.push({ from: Math.max(r.from, to), to: r.to });
    }
    this.#regions = kept;
    return removed;
  }
}
