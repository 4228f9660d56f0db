/*
 * The typed C loop that a simulated TLB hit is held against: 64 sets, a parametrised number of ways, tag = virtual page
 * number, round-robin replacement, refilled on a miss by a trivial stand-in for the walk (a hash of the page number).
 * A write needs a writable entry; all are, but the test is made. The sum of the physical addresses is the result.
 */
#include "hostref.h"

#include <stdio.h>
#include <stdlib.h>

#define SETS 64
#define WAYS_MAX 16
#define ROUNDS 7

/* One word of a references file: virtual address << 2 | kind. */
#define KIND_WRITE 2 /* store 2, modify 3; instruction 0, load 1 */

#define ENTRY_WRITABLE 1

struct tlb {
	uint64_t tag[SETS * WAYS_MAX]; /* vpn + 1; 0 is empty */
	uint64_t entry[SETS * WAYS_MAX]; /* physical page address | ENTRY_WRITABLE */
	uint32_t victim[SETS];
	uint64_t hits;
};

static uint64_t walk(uint64_t vpn)
{
	return ((vpn * 0x9e3779b97f4a7c15u) >> 44 << 12) | ENTRY_WRITABLE;
}

static __attribute__((noinline)) uint64_t refill(struct tlb *t, uint32_t set, uint64_t vpn, uint32_t ways)
{
	uint32_t way = t->victim[set];
	uint64_t entry = walk(vpn);

	t->victim[set] = way + 1 == ways ? 0 : way + 1;
	t->tag[set * ways + way] = vpn + 1;
	t->entry[set * ways + way] = entry;
	return entry;
}

static __attribute__((noinline)) uint64_t run(struct tlb *t, const uint64_t *refs, size_t count, uint32_t ways)
{
	uint64_t sum = 0, hits = 0;

	for (size_t i = 0; i < count; i++) {
		uint64_t va = refs[i] >> 2;
		uint64_t vpn = va >> 12;
		uint32_t set = (uint32_t)vpn & (SETS - 1);
		const uint64_t *tags = t->tag + set * ways;
		uint64_t entry;
		uint32_t way = 0;

		while (way < ways && tags[way] != vpn + 1)
			way++;
		if (way < ways) {
			entry = t->entry[set * ways + way];
			hits++;
		} else {
			entry = refill(t, set, vpn, ways);
		}
		if ((refs[i] & KIND_WRITE) && !(entry & ENTRY_WRITABLE))
			abort();
		sum += (entry & ~(PAGE - 1)) + (va & (PAGE - 1));
	}
	t->hits = hits;
	return sum;
}

int cmd_tlb(int argc, char **argv)
{
	static const uint32_t default_ways[] = { 4, 8 };
	static struct samples s;
	size_t bytes, count;
	const uint64_t *refs;
	int n = argc > 1 ? argc - 1 : 2;

	if (argc < 1)
		die("tlb: a references file is needed");
	refs = map_file(argv[0], &bytes);
	count = bytes / sizeof *refs;
	for (int k = 0; k < n; k++) {
		uint32_t ways = argc > 1 ? (uint32_t)atoi(argv[k + 1]) : default_ways[k];
		struct tlb *t = calloc(1, sizeof *t);
		char name[32];
		uint64_t sum = 0;

		if (ways < 1 || ways > WAYS_MAX || !t)
			die("tlb: 1 to %d ways", WAYS_MAX);
		for (int round = 0; round < ROUNDS; round++) {
			uint64_t start = now();

			sum = run(t, refs, count, ways);
			sink(sum);
			sample_add(&s, start, now(), (double)count);
		}
		snprintf(name, sizeof name, "tlb-%ux%u", SETS, ways);
		emit(&s, "ns/reference", (double)count, name, "hits %.4f %%, sum %llx", 100.0 * (double)t->hits / (double)count,
		     (unsigned long long)sum);
		free(t);
	}
	return 0;
}
