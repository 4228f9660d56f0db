/*
 * Huge pages, reclaim and swap on the running kernel. What the kernel is not set up for (no huge page to be had, no pool of
 * hugetlb pages, no swap) prints no line: there is no reference then.
 */
#include "hostref.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define RW (PROT_READ | PROT_WRITE)
#define HUGE_PAGES 16
#define SMALL_PAGES 512
#define REPS 60

static struct samples first, second, third;

/* Is the 2 MiB at base one page? Giving back a part of it then splits it. */
static int is_huge(char *base)
{
	char line[256];
	unsigned long start, end, kb;
	int inside = 0, found = 0;
	FILE *smaps = fopen("/proc/self/smaps", "r");

	while (smaps && fgets(line, sizeof line, smaps)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			inside = start <= (unsigned long)base && (unsigned long)base < end;
		else if (inside && sscanf(line, "AnonHugePages: %lu", &kb) == 1)
			found = kb > 0;
	}
	if (smaps)
		fclose(smaps);
	return found;
}

static void thp(void)
{
	size_t bytes = HUGE_PAGES * PMD_SIZE;

	for (int i = -1; i < REPS; i++) {
		char *base = map_aligned(bytes, PMD_SIZE, RW);
		uint64_t start, faulted, cut;

		madvise(base, bytes, MADV_HUGEPAGE);
		start = now();
		for (size_t at = 0; at < bytes; at += PMD_SIZE)
			*(volatile char *)(base + at) = 1;
		faulted = now();
		if (i < 0 && !is_huge(base)) {
			munmap(base, bytes);
			return;
		}
		cut = now();
		for (size_t at = 0; at < bytes; at += PMD_SIZE)
			madvise(base + at, PAGE, MADV_DONTNEED);
		if (i >= 0) {
			sample_add(&first, start, faulted, HUGE_PAGES);
			sample_add(&second, cut, now(), HUGE_PAGES);
		}
		munmap(base, bytes);
	}
	emit(&first, "ns/huge page", HUGE_PAGES, "thp-fault", "first write to 2 MiB");
	emit(&second, "ns/huge page", HUGE_PAGES, "thp-split", "MADV_DONTNEED of one page of it");
}

static void collapse(void)
{
	size_t pages = PMD_SIZE / PAGE;

	for (int i = -1; i < REPS; i++) {
		char *base = map_aligned(PMD_SIZE, PMD_SIZE, RW);
		uint64_t start;

		touch(base, pages);
		madvise(base, PMD_SIZE, MADV_HUGEPAGE);
		start = now();
		if (madvise(base, PMD_SIZE, MADV_COLLAPSE)) {
			munmap(base, PMD_SIZE);
			return;
		}
		if (i >= 0)
			sample_add(&first, start, now(), 1);
		munmap(base, PMD_SIZE);
	}
	emit(&first, "ns/huge page", 1, "thp-collapse", "512 written pages, MADV_COLLAPSE");
}

static void hugetlb(void)
{
	size_t bytes = 4 * PMD_SIZE;

	for (int i = -1; i < REPS; i++) {
		char *base = mmap(NULL, bytes, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
		uint64_t start;

		if (base == MAP_FAILED)
			return;
		start = now();
		for (size_t at = 0; at < bytes; at += PMD_SIZE)
			*(volatile char *)(base + at) = 1;
		if (i >= 0)
			sample_add(&first, start, now(), 4);
		munmap(base, bytes);
	}
	emit(&first, "ns/huge page", 4, "hugetlb-fault", "first write to 2 MiB of the pool");
}

/* Clean pages of a file on disk, mapped and old: MADV_PAGEOUT takes them. */
static void reclaim(void)
{
	size_t bytes = SMALL_PAGES * PAGE;
	char path[] = "/var/tmp/hostref-XXXXXX";
	int fd = mkstemp(path);
	char page[PAGE];

	if (fd < 0)
		return;
	unlink(path);
	memset(page, 1, sizeof page);
	for (int i = 0; i < SMALL_PAGES; i++)
		if (write(fd, page, sizeof page) != sizeof page)
			return;
	fsync(fd);
	for (int i = -1; i < REPS; i++) {
		char *base = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
		unsigned char in_core[SMALL_PAGES];
		uint64_t start = now();

		if (base == MAP_FAILED || madvise(base, bytes, MADV_PAGEOUT))
			return;
		if (i >= 0)
			sample_add(&first, start, now(), SMALL_PAGES);
		else if (mincore(base, bytes, in_core) || in_core[SMALL_PAGES / 2] & 1)
			return; /* the file system keeps its pages */
		munmap(base, bytes);
	}
	close(fd);
	emit(&first, "ns/page", SMALL_PAGES, "reclaim-file", "clean mapped file pages, MADV_PAGEOUT");
}

static void swap(void)
{
	size_t bytes = SMALL_PAGES * PAGE;

	for (int i = -1; i < REPS; i++) {
		char *base = map_aligned(bytes, PAGE, RW);
		unsigned char in_core[SMALL_PAGES];
		uint64_t start, out, in;

		touch(base, SMALL_PAGES);
		start = now();
		madvise(base, bytes, MADV_PAGEOUT);
		out = now();
		if (mincore(base, bytes, in_core) || in_core[SMALL_PAGES / 2] & 1) {
			munmap(base, bytes);
			return; /* no swap */
		}
		in = now();
		touch(base, SMALL_PAGES);
		if (i >= 0) {
			sample_add(&third, in, now(), SMALL_PAGES);
			sample_add(&second, start, out, SMALL_PAGES);
		}
		munmap(base, bytes);
	}
	emit(&second, "ns/page", SMALL_PAGES, "swap-out", "anonymous pages, MADV_PAGEOUT");
	emit(&third, "ns/page", SMALL_PAGES, "swap-in", "write faults");
}

int cmd_huge(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	thp();
	collapse();
	hugetlb();
	reclaim();
	swap();
	return 0;
}
