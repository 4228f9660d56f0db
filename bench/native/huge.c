/*
 * Huge pages, reclaim and swap on the running kernel. What the kernel is not set up for (no huge page to be had, no pool of
 * hugetlb pages, no swap) prints no line: there is no reference then.
 */
#include "hostref.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
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

/* A number in a file of /proc/sys or /sys, or -1. */
static long setting(const char *path)
{
	FILE *file = fopen(path, "r");
	long value = -1;

	if (file && fscanf(file, "%ld", &value) != 1)
		value = -1;
	if (file)
		fclose(file);
	return value;
}

/* Settings that were changed, with what they were: put back at the end, however the program ends. */
static struct {
	const char *path;
	long value;
} changed[8];
static int n_changed;

static int set(const char *path, long value)
{
	FILE *file = fopen(path, "w");
	int failed = !file || fprintf(file, "%ld", value) < 0;

	return (file ? fclose(file) : 0) || failed ? -1 : 0;
}

static void restore(void)
{
	while (n_changed > 0) {
		n_changed--;
		set(changed[n_changed].path, changed[n_changed].value);
	}
}

static void interrupted(int signal)
{
	restore();
	_exit(128 + signal);
}

/* Changes a setting for the time of this program. */
static int change(const char *path, long value)
{
	long was = setting(path);

	if (was < 0 || set(path, value))
		return -1;
	if (!n_changed) {
		atexit(restore);
		signal(SIGINT, interrupted);
		signal(SIGTERM, interrupted);
	}
	changed[n_changed].path = path;
	changed[n_changed++].value = was;
	return 0;
}

static void hugetlb(void)
{
	const char *pool = "/proc/sys/vm/nr_hugepages";
	size_t bytes = 4 * PMD_SIZE;

	change(pool, setting(pool) + 4);
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
	restore();
	emit(&first, "ns/huge page", 4, "hugetlb-fault", "first write to 2 MiB of the pool");
}

#define KSM "/sys/kernel/mm/ksm/"
#define KSM_PAGES 1024

/* Nanoseconds that the KSM daemon has run on a CPU, or 0. */
static uint64_t ksmd_time(void)
{
	static char path[64];
	unsigned long long ns = 0;
	FILE *file;

	for (int pid = 2; !*path && pid < 4096; pid++) {
		char name[64], comm[16] = "";

		snprintf(name, sizeof name, "/proc/%d/comm", pid);
		file = fopen(name, "r");
		if (file && fscanf(file, "%15s", comm) == 1 && !strcmp(comm, "ksmd"))
			snprintf(path, sizeof path, "/proc/%d/schedstat", pid);
		if (file)
			fclose(file);
	}
	file = *path ? fopen(path, "r") : NULL;
	if (file && fscanf(file, "%llu", &ns) != 1)
		ns = 0;
	if (file)
		fclose(file);
	return ns;
}

/* Pages of which no two are alike: what the daemon's CPU time comes to for each page that it has looked at. */
static void ksm(void)
{
	char *base;

	if (setting(KSM "run") != 0 || !ksmd_time() || setting(KSM "pages_scanned") < 0)
		return;
	base = map_aligned(KSM_PAGES * PAGE, PAGE, RW);
	for (long i = 0; i < KSM_PAGES; i++)
		*(long *)(base + i * PAGE) = i + 1;
	if (change(KSM "smart_scan", 0) || change(KSM "sleep_millisecs", 1) || change(KSM "pages_to_scan", KSM_PAGES) ||
	    madvise(base, KSM_PAGES * PAGE, MADV_MERGEABLE) || change(KSM "run", 1)) {
		restore();
		return;
	}
	for (int i = -2; i < 20; i++) {
		uint64_t start = ksmd_time(), end;
		long pages = setting(KSM "pages_scanned"), scanned = 0;

		for (int wait = 0; wait < 1000 && scanned < 2 * KSM_PAGES; wait++) {
			usleep(1000);
			scanned = setting(KSM "pages_scanned") - pages;
		}
		end = ksmd_time();
		if (i >= 0 && scanned > 0)
			first.ns[first.count++] = (double)(end - start) / (double)scanned;
	}
	restore();
	munmap(base, KSM_PAGES * PAGE);
	if (first.count)
		emit(&first, "ns/page", KSM_PAGES, "ksm-scan", "unchanged pages, no two alike; CPU time of ksmd");
}

/* Reclaim looks at anonymous pages and puts them back: there is no swap for them. */
static void scan(void)
{
	size_t bytes = SMALL_PAGES * PAGE;
	char *base = map_aligned(bytes, PAGE, RW);
	unsigned char in_core[SMALL_PAGES];

	for (int i = -1; i < REPS; i++) {
		uint64_t start;

		touch(base, SMALL_PAGES);
		start = now();
		madvise(base, bytes, MADV_PAGEOUT);
		if (i >= 0)
			sample_add(&first, start, now(), SMALL_PAGES);
		if (mincore(base, bytes, in_core) || !(in_core[SMALL_PAGES / 2] & 1)) {
			first.count = 0;
			break; /* there is swap */
		}
	}
	munmap(base, bytes);
	if (first.count)
		emit(&first, "ns/page", SMALL_PAGES, "reclaim-scan", "anonymous pages without swap, MADV_PAGEOUT");
}

/* Migration between nodes, there and back. With one node move_pages moves nothing. */
static void migrate(void)
{
	size_t bytes = SMALL_PAGES * PAGE;
	char *base = map_aligned(bytes, PAGE, RW);
	static void *pages[SMALL_PAGES];
	static int nodes[SMALL_PAGES], status[SMALL_PAGES];

	touch(base, SMALL_PAGES);
	for (int i = 0; i < SMALL_PAGES; i++)
		pages[i] = base + (size_t)i * PAGE;
	for (int i = -1; i < REPS; i++) {
		uint64_t start;

		for (int j = 0; j < SMALL_PAGES; j++)
			nodes[j] = ~i & 1;
		start = now();
		if (syscall(SYS_move_pages, 0, (unsigned long)SMALL_PAGES, pages, nodes, status, 2) || status[0] != nodes[0])
			break;
		if (i >= 0)
			sample_add(&first, start, now(), SMALL_PAGES);
	}
	munmap(base, bytes);
	if (first.count)
		emit(&first, "ns/page", SMALL_PAGES, "migrate", "move_pages of 512 pages to the other node");
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
	static const struct {
		const char *name;
		void (*run)(void);
	} parts[] = {
		{ "thp", thp },		{ "thp", collapse },	{ "hugetlb", hugetlb }, { "ksm", ksm },
		{ "migrate", migrate }, { "reclaim", reclaim }, { "reclaim", scan },	{ "swap", swap },
	};

	for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
		if (!argc || !strcmp(argv[0], parts[i].name))
			parts[i].run();
	return 0;
}
