/*
 * Costs per populated page on the running kernel: first write, unmap, protect, fork, move. Every section is preceded by
 * one that is not counted, so that pages and page tables come from the allocator's free lists.
 */
#include "hostref.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const size_t default_pages[] = { 16, 512, 8192 };

#define RW (PROT_READ | PROT_WRITE)

/* Calls run once for each page count of the command line, or the three usual ones. */
static int for_each_size(int argc, char **argv, void (*run)(size_t pages))
{
	int n = argc ? argc : (int)(sizeof default_pages / sizeof default_pages[0]);

	for (int i = 0; i < n; i++) {
		size_t pages = argc ? strtoul(argv[i], NULL, 10) : default_pages[i];

		if (!pages)
			die("%s: a page count is needed", argv[i]);
		run(pages);
	}
	return 0;
}

static struct samples first, second, third;

static void name_of(char out[48], const char *what, size_t pages)
{
	snprintf(out, 48, "%s/%zu", what, pages);
}

static void fault_size(size_t pages)
{
	char name[48];

	for (int i = -1; i < reps_for(pages); i++) {
		char *base = map_aligned(pages * PAGE, PMD_SIZE, RW);
		uint64_t start = now();

		touch(base, pages);
		if (i >= 0)
			sample_add(&first, start, now(), (double)pages);
		munmap(base, pages * PAGE);
	}
	name_of(name, "fault-anon-write", pages);
	emit(&first, "ns/page", (double)pages, name, "first write, zeroed page, no THP");
}

int cmd_fault(int argc, char **argv)
{
	return for_each_size(argc, argv, fault_size);
}

static void unmap_size(size_t pages)
{
	size_t bytes = pages * PAGE;
	char name[48];

	for (int i = -1; i < reps_for(pages); i++) {
		char *base = map_aligned(bytes, PMD_SIZE, RW);
		uint64_t start, dropped, again;

		touch(base, pages);
		start = now();
		madvise(base, bytes, MADV_DONTNEED);
		dropped = now();
		touch(base, pages);
		again = now();
		munmap(base, bytes);
		if (i >= 0) {
			sample_add(&second, again, now(), (double)pages);
			sample_add(&first, start, dropped, (double)pages);
		}
	}
	name_of(name, "munmap", pages);
	emit(&second, "ns/page", (double)pages, name, "populated anonymous pages, whole area");
	name_of(name, "dontneed", pages);
	emit(&first, "ns/page", (double)pages, name, "populated anonymous pages, whole area");
}

int cmd_unmap(int argc, char **argv)
{
	return for_each_size(argc, argv, unmap_size);
}

static void protect_size(size_t pages)
{
	size_t bytes = pages * PAGE;
	char *base = map_aligned(bytes, PMD_SIZE, RW);
	char name[48];

	for (int i = -1; i < reps_for(pages); i++) {
		uint64_t start, middle, end;

		touch(base, pages);
		start = now();
		mprotect(base, bytes, PROT_READ);
		middle = now();
		mprotect(base, bytes, RW);
		end = now();
		if (i < 0)
			continue;
		sample_add(&first, start, middle, (double)pages);
		sample_add(&second, middle, end, (double)pages);
		sample_add(&third, start, end, (double)pages);
	}
	munmap(base, bytes);
	name_of(name, "mprotect-ro", pages);
	emit(&first, "ns/page", (double)pages, name, "RW to R");
	name_of(name, "mprotect-rw", pages);
	emit(&second, "ns/page", (double)pages, name, "R to RW");
	name_of(name, "mprotect-pair", pages);
	emit(&third, "ns/page", (double)pages, name, "RW to R to RW");
}

int cmd_protect(int argc, char **argv)
{
	return for_each_size(argc, argv, protect_size);
}

/* fork without the C library's handlers; the child leaves at once. Adds the call alone, and until the child is reaped. */
static void fork_once(struct samples *call, struct samples *whole)
{
	uint64_t start = now(), returned;
	long pid = syscall(SYS_fork);

	if (!pid)
		syscall(SYS_exit_group, 0);
	returned = now();
	if (pid < 0)
		die("fork");
	if (syscall(SYS_wait4, pid, NULL, 0, NULL) != pid)
		die("wait4");
	sample_add(whole, start, now(), 1);
	sample_add(call, start, returned, 1);
}

static double base_call, base_whole;

/* The parent's pages are written before each fork, as those of a program that goes on working. */
static void fork_size(size_t pages)
{
	char *base = map_aligned(pages * PAGE, PMD_SIZE, RW);
	char name[48];
	double call, whole;

	for (int i = -1; i < reps_for(pages) / 2; i++) {
		touch(base, pages);
		fork_once(&first, &second);
		if (i < 0)
			first.count = second.count = 0;
	}
	munmap(base, pages * PAGE);
	call = sample_min(&first);
	whole = sample_min(&second);
	name_of(name, "fork-call", pages);
	emit(&first, "ns/call", 1, name, "%.2f ns/page over the bare process", (call - base_call) / (double)pages);
	name_of(name, "fork-exit-wait", pages);
	emit(&second, "ns/call", 1, name, "%.2f ns/page over the bare process", (whole - base_whole) / (double)pages);
}

/* The bare process first: what its own few areas cost is not the pages' doing. */
int cmd_fork(int argc, char **argv)
{
	for (int i = 0; i < 200; i++)
		fork_once(&first, &second);
	base_call = sample_min(&first);
	base_whole = sample_min(&second);
	emit(&first, "ns/call", 1, "fork-call/0", "the bare process");
	emit(&second, "ns/call", 1, "fork-exit-wait/0", "the bare process");
	return for_each_size(argc, argv, fork_size);
}

/*
 * Moves there and back. Source and target differ in their offset within 2 MiB when entries have to move one by one; when
 * both are aligned and long enough the kernel moves whole page tables.
 */
static void move_between(char *from, char *to, size_t pages, const char *what)
{
	size_t bytes = pages * PAGE;
	char name[48];
	char *base = mmap(from, bytes, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	if (base == MAP_FAILED)
		die("move: mmap");
	madvise(base, bytes, MADV_NOHUGEPAGE);
	touch(base, pages);
	for (int i = -2; i < reps_for(pages); i++) {
		char *target = base == from ? to : from;
		uint64_t start = now();

		if (mremap(base, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, target) != target)
			die("mremap");
		if (i >= 0)
			sample_add(&first, start, now(), (double)pages);
		base = target;
		/* Leave the source's page tables to the next move, as in a program that keeps its neighbours. */
		touch(base, pages);
	}
	munmap(base, bytes);
	name_of(name, what, pages);
	emit(&first, "ns/page", (double)pages, name, "to a fixed address and back");
}

static void move_size(size_t pages)
{
	size_t half = (pages * PAGE + 2 * PMD_SIZE) & ~(PMD_SIZE - 1);
	char *room = map_aligned(2 * half, PMD_SIZE, PROT_NONE);

	move_between(room, room + half + 17 * PAGE, pages, "mremap-entries");
	if (pages * PAGE >= PMD_SIZE)
		move_between(room, room + half, pages, "mremap-tables");
	munmap(room, 2 * half);
}

int cmd_move(int argc, char **argv)
{
	return for_each_size(argc, argv, move_size);
}
