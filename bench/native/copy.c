/*
 * Zeroing and copying of 4 KiB frames in one large buffer without huge pages, against which the page routines of the
 * simulated machine are held. Frames are taken in random order: from a small recycled set (the free list's usual case)
 * and from the whole buffer, other frames in each round, so that the data is not in cache.
 */
#include "hostref.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define RECYCLED 1024
#define PER_SAMPLE 4096
#define ROUNDS 20

static uint32_t *order;
static struct samples s;

static uint32_t next_random(void)
{
	static uint32_t state = 12345;

	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state;
}

static uint32_t recycled[RECYCLED];

static void choose_frames(size_t frames, int all)
{
	for (size_t i = 0; i < PER_SAMPLE + 1; i++) {
		uint32_t random = next_random();

		order[i] = all ? random % (uint32_t)frames : recycled[random % RECYCLED];
	}
}

int cmd_copy(int argc, char **argv)
{
	size_t mib = argc ? strtoul(argv[0], NULL, 10) : 1024;
	size_t frames = (mib << 20) / PAGE;
	char *base = map_aligned(mib << 20, PMD_SIZE, PROT_READ | PROT_WRITE);

	touch(base, frames);
	order = calloc(PER_SAMPLE + 1, sizeof *order);
	for (size_t i = 0; i < RECYCLED; i++)
		recycled[i] = next_random() % (uint32_t)frames;
	for (int all = 0; all < 2; all++) {
		const char *set = all ? "whole" : "recycled";
		char name[48];

		for (int i = -1; i < ROUNDS; i++) {
			uint64_t start;

			choose_frames(frames, all);
			start = now();
			for (size_t k = 0; k < PER_SAMPLE; k++) {
				memset(base + order[k] * PAGE, 0, PAGE);
				sink((uint64_t)base);
			}
			if (i >= 0)
				sample_add(&s, start, now(), PER_SAMPLE);
		}
		snprintf(name, sizeof name, "page-zero/%s", set);
		emit(&s, "ns/page", PER_SAMPLE, name, "memset, %zu MiB", mib);
		for (int i = -1; i < ROUNDS; i++) {
			uint64_t start;

			choose_frames(frames, all);
			start = now();
			for (size_t k = 0; k < PER_SAMPLE; k++) {
				memmove(base + order[k] * PAGE, base + order[k + 1] * PAGE, PAGE);
				sink((uint64_t)base);
			}
			if (i >= 0)
				sample_add(&s, start, now(), PER_SAMPLE);
		}
		snprintf(name, sizeof name, "page-copy/%s", set);
		emit(&s, "ns/page", PER_SAMPLE, name, "memmove, %zu MiB", mib);
	}
	munmap(base, mib << 20);
	free(order);
	return 0;
}
