/* hostref: the subcommands, and what all of them share (clock, samples, output). See hostref.h. */
#include "hostref.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static uint64_t clock_cost;

uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void calibrate_clock(void)
{
	clock_cost = UINT64_MAX;
	for (int i = 0; i < 10000; i++) {
		uint64_t start = now();
		uint64_t cost = now() - start;

		if (cost < clock_cost)
			clock_cost = cost;
	}
}

void sample_add(struct samples *s, uint64_t start, uint64_t end, double units)
{
	uint64_t ns = end - start;

	if (s->count == SAMPLES_MAX)
		die("more than %d samples", SAMPLES_MAX);
	s->ns[s->count++] = (double)(ns > clock_cost ? ns - clock_cost : 0) / units;
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double sample_min(struct samples *s)
{
	double min = s->ns[0];

	for (int i = 1; i < s->count; i++)
		if (s->ns[i] < min)
			min = s->ns[i];
	return min;
}

void emit(struct samples *s, const char *unit, double n, const char *name, const char *detail, ...)
{
	va_list args;

	if (!s->count)
		die("%s: no samples", name);
	qsort(s->ns, (size_t)s->count, sizeof s->ns[0], compare_doubles);
	printf("{\"name\":\"%s\",\"unit\":\"%s\",\"ns\":%.3f,\"median\":%.3f,\"n\":%.0f,\"detail\":\"", name, unit, s->ns[0],
	       s->ns[s->count / 2], n);
	va_start(args, detail);
	vprintf(detail, args);
	va_end(args);
	printf("%s%d samples\"}\n", *detail ? ", " : "", s->count);
	fflush(stdout);
	s->count = 0;
}

void die(const char *fmt, ...)
{
	int saved = errno;
	va_list args;

	va_start(args, fmt);
	fputs("hostref: ", stderr);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fprintf(stderr, " (%s)\n", strerror(saved));
	exit(1);
}

char *map_aligned(size_t bytes, size_t align, int prot)
{
	size_t room = bytes + align;
	char *raw = mmap(NULL, room, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *base;

	if (raw == MAP_FAILED)
		die("mmap of %zu bytes", room);
	base = (char *)(((uintptr_t)raw + align - 1) & ~(align - 1));
	if (base > raw)
		munmap(raw, (size_t)(base - raw));
	if (raw + room > base + bytes)
		munmap(base + bytes, (size_t)(raw + room - (base + bytes)));
	/* Fails only on a kernel without huge pages, where there is nothing to switch off. */
	madvise(base, bytes, MADV_NOHUGEPAGE);
	return base;
}

void touch(char *base, size_t pages)
{
	for (size_t i = 0; i < pages; i++)
		*(volatile char *)(base + i * PAGE) = 1;
}

const void *map_file(const char *path, size_t *bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *base;

	if (fd < 0 || fstat(fd, &st) < 0)
		die("%s", path);
	base = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	if (base == MAP_FAILED)
		die("mmap of %s", path);
	close(fd);
	*bytes = (size_t)st.st_size;
	return base;
}

int reps_for(size_t pages)
{
	return pages <= 64 ? 1000 : pages <= 1024 ? 200 : 30;
}

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *usage;
} commands[] = {
	{ "tlb", cmd_tlb, "tlb FILE [WAYS]...    set-associative look-up over recorded references (default 4 8)" },
	{ "fault", cmd_fault, "fault [PAGES]...      first write to anonymous pages" },
	{ "unmap", cmd_unmap, "unmap [PAGES]...      munmap and MADV_DONTNEED of populated pages" },
	{ "protect", cmd_protect, "protect [PAGES]...    mprotect of populated pages, to read-only and back" },
	{ "fork", cmd_fork, "fork [PAGES]...       fork alone, and fork + exit + wait, with so many populated pages" },
	{ "move", cmd_move, "move [PAGES]...       mremap of populated pages, entry by entry and by whole tables" },
	{ "empty", cmd_empty, "empty [MIB]           calls on a range that was never touched (default 256)" },
	{ "vmas", cmd_vmas, "vmas [COUNT]          mmap + munmap of one page among so many areas (default 60000)" },
	{ "calls", cmd_calls, "calls FILE [TOTAL]    a recorded program's calls, repeated to TOTAL (default 1000000)" },
	{ "huge", cmd_huge, "huge [PART]           huge pages, KSM, migration, reclaim and swap, as far as the kernel is set up for them" },
	{ "copy", cmd_copy, "copy [MIB]            zeroing and copying of pages in a buffer (default 1024)" },
};

static int usage(void)
{
	fputs("usage: hostref COMMAND [ARGUMENT]...\n", stderr);
	for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
		fprintf(stderr, "  %s\n", commands[i].usage);
	return 2;
}

/* Stay where we are: migration between CPUs in a sample costs more than what is measured. */
static void pin(void)
{
	cpu_set_t set;
	int cpu = sched_getcpu();

	CPU_ZERO(&set);
	CPU_SET(cpu < 0 ? 0 : cpu, &set);
	if (sched_setaffinity(0, sizeof set, &set) < 0)
		fprintf(stderr, "hostref: not pinned to one CPU (%s)\n", strerror(errno));
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return usage();
	pin();
	calibrate_clock();
	for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].run(argc - 2, argv + 2);
	fprintf(stderr, "hostref: no command %s\n", argv[1]);
	return usage();
}
