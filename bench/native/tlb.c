/*
 * The typed C loop that a simulated TLB hit is held against: 64 sets, a parametrised number of ways, tag = virtual page
 * number, round-robin replacement, refilled on a miss by a trivial stand-in for the walk (a hash of the page number).
 * A write needs a writable entry; all are, but the test is made. The sum of the physical addresses is the result.
 *
 * Two forms of the same look-up, with the same hits: the plain search of the ways, and one that first tries the way that
 * hit last in the set ("-hint"). A simulated TLB is to be compared with the form that it uses.
 */
#include "hostref.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
	uint32_t last[SETS]; /* index of the entry that hit last, the hint */
	uint64_t misses;
};

static uint64_t walk(uint64_t vpn)
{
	return ((vpn * 0x9e3779b97f4a7c15u) >> 44 << 12) | ENTRY_WRITABLE;
}

/* Index of the entry that now holds vpn. */
static __attribute__((noinline)) uint32_t refill(struct tlb *t, uint32_t set, uint64_t vpn, uint32_t ways)
{
	uint32_t way = t->victim[set];

	t->victim[set] = way + 1 == ways ? 0 : way + 1;
	t->tag[set * ways + way] = vpn + 1;
	t->entry[set * ways + way] = walk(vpn);
	t->misses++;
	return set * ways + way;
}

static inline uint32_t search(struct tlb *t, uint64_t vpn, uint32_t ways)
{
	uint32_t set = (uint32_t)vpn & (SETS - 1);
	uint32_t at = set * ways, end = at + ways;

	while (at < end && t->tag[at] != vpn + 1)
		at++;
	return at < end ? at : refill(t, set, vpn, ways);
}

static __attribute__((noinline)) uint32_t search_and_note(struct tlb *t, uint64_t vpn, uint32_t ways)
{
	return t->last[vpn & (SETS - 1)] = search(t, vpn, ways);
}

static inline uint64_t access_through(uint64_t entry, uint64_t ref)
{
	if ((ref & KIND_WRITE) && !(entry & ENTRY_WRITABLE))
		abort();
	return (entry & ~(PAGE - 1)) + ((ref >> 2) & (PAGE - 1));
}

static __attribute__((noinline)) uint64_t run_plain(struct tlb *t, const uint64_t *refs, size_t count, uint32_t ways)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < count; i++)
		sum += access_through(t->entry[search(t, refs[i] >> 14, ways)], refs[i]);
	return sum;
}

static __attribute__((noinline)) uint64_t run_hint(struct tlb *t, const uint64_t *refs, size_t count, uint32_t ways)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < count; i++) {
		uint64_t vpn = refs[i] >> 14;
		uint32_t at = t->last[vpn & (SETS - 1)];

		if (t->tag[at] != vpn + 1)
			at = search_and_note(t, vpn, ways);
		sum += access_through(t->entry[at], refs[i]);
	}
	return sum;
}

static void measure(const uint64_t *refs, size_t count, uint32_t ways, int hint)
{
	static struct samples s;
	struct tlb *t = calloc(1, sizeof *t);
	char name[32];
	uint64_t sum = 0;

	if (ways < 1 || ways > WAYS_MAX || !t)
		die("tlb: 1 to %d ways", WAYS_MAX);
	/* Every round starts with an empty TLB, so that they miss alike; the first is not counted. */
	for (int round = -1; round < ROUNDS; round++) {
		uint64_t start;

		memset(t, 0, sizeof *t);
		start = now();
		sum = hint ? run_hint(t, refs, count, ways) : run_plain(t, refs, count, ways);
		sink(sum);
		if (round >= 0)
			sample_add(&s, start, now(), (double)count);
	}
	snprintf(name, sizeof name, "tlb-%ux%u%s", SETS, ways, hint ? "-hint" : "");
	emit(&s, "ns/reference", (double)count, name, "misses %llu, sum %llx", (unsigned long long)t->misses,
	     (unsigned long long)sum);
	free(t);
}

int cmd_tlb(int argc, char **argv)
{
	static const uint32_t default_ways[] = { 4, 8 };
	size_t bytes;
	const uint64_t *refs;
	int n = argc > 1 ? argc - 1 : 2;

	if (argc < 1)
		die("tlb: a references file is needed");
	refs = map_file(argv[0], &bytes);
	for (int k = 0; k < n; k++) {
		uint32_t ways = argc > 1 ? (uint32_t)atoi(argv[k + 1]) : default_ways[k];

		measure(refs, bytes / sizeof *refs, ways, 0);
		measure(refs, bytes / sizeof *refs, ways, 1);
	}
	return 0;
}
