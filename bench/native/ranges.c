/* Costs that no page has a part in: calls on a large range that was never touched, and on one page among many areas. */
#include "hostref.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)
#define GIB (1UL << 30)
#define BATCH 200
#define ROUNDS 50

static struct samples s;

static uint64_t fork_call(void)
{
	uint64_t start = now(), end;
	long pid = syscall(SYS_fork);

	if (!pid)
		syscall(SYS_exit_group, 0);
	end = now();
	if (pid < 0 || syscall(SYS_wait4, pid, NULL, 0, NULL) != pid)
		die("fork");
	return end - start;
}

static void map_and_unmap(size_t bytes)
{
	for (int i = 0; i < BATCH; i++) {
		char *p = mmap(NULL, bytes, RW, ANON, -1, 0);

		if (p == MAP_FAILED || munmap(p, bytes))
			die("mmap + munmap of an empty range");
	}
}

static void protect_pairs(char *base, size_t bytes)
{
	for (int i = 0; i < BATCH; i++)
		if (mprotect(base, bytes, PROT_READ) || mprotect(base, bytes, RW))
			die("mprotect of an empty range");
}

static void drop(char *base, size_t bytes)
{
	for (int i = 0; i < BATCH; i++)
		if (madvise(base, bytes, MADV_DONTNEED))
			die("madvise of an empty range");
}

static double fork_min(void)
{
	double min = 1e18;

	for (int i = 0; i < ROUNDS; i++) {
		s.ns[s.count++] = (double)fork_call();
		min = s.ns[s.count - 1] < min ? s.ns[s.count - 1] : min;
	}
	return min;
}

/*
 * The range begins a GiB of its own. Without a page table there, the kernel steps over all of it at once; beside a
 * neighbour that was touched it looks at each 2 MiB. Which of the two a program meets depends on where the range falls, so
 * both are measured.
 */
static void measure_empty(char *base, size_t mib, const char *suffix, const char *detail, double bare)
{
	size_t bytes = mib << 20;
	char name[64];
	double with;

	for (int i = 0; i < ROUNDS; i++) {
		uint64_t start = now();

		protect_pairs(base, bytes);
		sample_add(&s, start, now(), 2 * BATCH);
	}
	snprintf(name, sizeof name, "empty-mprotect%s/%zuMiB", suffix, mib);
	emit(&s, "ns/call", 2 * BATCH, name, "RW to R and R to RW, mean of both, %s", detail);

	for (int i = 0; i < ROUNDS; i++) {
		uint64_t start = now();

		drop(base, bytes);
		sample_add(&s, start, now(), BATCH);
	}
	snprintf(name, sizeof name, "empty-dontneed%s/%zuMiB", suffix, mib);
	emit(&s, "ns/call", BATCH, name, "MADV_DONTNEED, %s", detail);

	with = fork_min();
	snprintf(name, sizeof name, "empty-fork%s/%zuMiB", suffix, mib);
	emit(&s, "ns/call", 1, name, "the call alone; %.0f ns over the process before, %s", with - bare, detail);
}

int cmd_empty(int argc, char **argv)
{
	size_t mib = argc ? strtoul(argv[0], NULL, 10) : 256;
	size_t bytes = mib << 20;
	char name[48];
	char *room, *base;
	double bare;

	if (!mib || mib > 512)
		die("empty: 1 to 512 MiB");
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t start = now();

		map_and_unmap(bytes);
		sample_add(&s, start, now(), BATCH);
	}
	snprintf(name, sizeof name, "empty-mmap-munmap/%zuMiB", mib);
	emit(&s, "ns/pair", BATCH, name, "mmap + munmap");

	bare = fork_min();
	s.count = 0;
	room = map_aligned(GIB, GIB, PROT_NONE);
	base = mmap(room, bytes, RW, ANON | MAP_FIXED, -1, 0);
	if (base != room)
		die("empty: mmap");
	measure_empty(base, mib, "", "no page table", bare);
	if (mprotect(room + GIB - PAGE, PAGE, RW))
		die("empty: mprotect of the neighbour");
	touch(room + GIB - PAGE, 1);
	measure_empty(base, mib, "-beside", "a neighbour's page table", bare);
	munmap(room, GIB);
	return 0;
}

static size_t max_map_count(void)
{
	FILE *f = fopen("/proc/sys/vm/max_map_count", "r");
	size_t count = 65530;

	if (f) {
		if (fscanf(f, "%zu", &count) != 1)
			count = 65530;
		fclose(f);
	}
	return count;
}

/* Pages of alternating protection, so that no two areas merge; with holes every second page is not mapped at all. */
static char *many_areas(size_t areas, int holes)
{
	size_t pages = holes ? 2 * areas : areas;
	char *base = map_aligned(pages * PAGE, PMD_SIZE, PROT_READ);

	for (size_t i = 1; i < pages; i += 2)
		if (holes ? munmap(base + i * PAGE, PAGE) : mprotect(base + i * PAGE, PAGE, PROT_NONE))
			die("area %zu of %zu (vm.max_map_count?)", i, areas);
	return base;
}

static void pairs_anywhere(size_t pages)
{
	for (int i = 0; i < BATCH; i++) {
		char *p = mmap(NULL, pages * PAGE, RW, ANON, -1, 0);

		if (p == MAP_FAILED || munmap(p, pages * PAGE))
			die("mmap + munmap among many areas");
	}
}

static void pairs_at(char *hole)
{
	for (int i = 0; i < BATCH; i++) {
		char *p = mmap(hole, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0);

		if (p != hole || munmap(p, PAGE))
			die("mmap + munmap in the hole");
	}
}

int cmd_vmas(int argc, char **argv)
{
	size_t areas = argc ? strtoul(argv[0], NULL, 10) : 60000;
	size_t limit = max_map_count();
	char name[64];
	char *base;

	if (areas + 100 > limit) {
		fprintf(stderr, "hostref: %zu areas instead of %zu, vm.max_map_count is %zu\n", limit - 100, areas, limit);
		areas = limit - 100;
	}
	base = many_areas(areas, 0);
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t start = now();

		pairs_anywhere(1);
		sample_add(&s, start, now(), BATCH);
	}
	snprintf(name, sizeof name, "vmas-mmap-munmap/%zu", areas);
	emit(&s, "ns/pair", BATCH, name, "one page, hint NULL, areas without holes");

	munmap(base + areas / 2 * PAGE, PAGE);
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t start = now();

		pairs_at(base + areas / 2 * PAGE);
		sample_add(&s, start, now(), BATCH);
	}
	snprintf(name, sizeof name, "vmas-mmap-munmap-middle/%zu", areas);
	emit(&s, "ns/pair", BATCH, name, "one page, into the hole in the middle");
	munmap(base, areas * PAGE);

	base = many_areas(areas, 1);
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t start = now();

		pairs_anywhere(2);
		sample_add(&s, start, now(), BATCH);
	}
	snprintf(name, sizeof name, "vmas-mmap-munmap-holes/%zu", areas);
	emit(&s, "ns/pair", BATCH, name, "two pages, hint NULL, past one-page holes");
	munmap(base, 2 * areas * PAGE);
	return 0;
}
