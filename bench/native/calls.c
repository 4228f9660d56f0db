/*
 * A recorded program's memory calls, issued on the running kernel. The file is written by bench/recorded-calls.mjs,
 * whose head says how recorded addresses become slot + delta. One iteration issues every record once; the last records
 * unmap what is left and reset the break, so an iteration leaves the address space as it found it (checked).
 */
#include "hostref.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAGIC 0x4c4c4143u /* "CALL" */
#define VERSION 1

struct header {
	uint32_t magic, version, records, slots, files, setup, teardown, reserved;
};

enum op { OP_MMAP, OP_MUNMAP, OP_MPROTECT, OP_BRK, OP_MADVISE, OP_MREMAP, OPS };

static const char *const op_names[OPS] = { "mmap", "munmap", "mprotect", "brk", "madvise", "mremap" };

/* slot -1: no address (hint NULL, a query of the break); slot 0: the heap, whose base is the first break. */
struct record {
	int32_t op, slot, result;
	int32_t prot; /* mmap, mprotect: PROT_*; madvise: the advice */
	int32_t flags, file;
	int32_t recorded_errno; /* what the recorded call failed with, 0 if it did not */
	int32_t reserved;
	int64_t delta, length;
	int64_t extra; /* mmap: file offset; mremap: new length */
};

/* Where a slot lies whose mmap failed: calls on it fail, too, instead of meeting somebody else's memory. */
#define NOWHERE (1UL << 47)

struct program {
	const struct header *h;
	const struct record *records;
	unsigned long *base; /* of each slot */
	int *fds;
	unsigned long first_break;
	unsigned long failed, differs; /* of the last iteration */
	unsigned long failed_by_op[OPS];
};

static void load(struct program *p, const char *path)
{
	size_t bytes;
	const char *file = map_file(path, &bytes);
	const uint64_t *sizes;

	p->h = (const struct header *)file;
	if (bytes < sizeof *p->h || p->h->magic != MAGIC || p->h->version != VERSION)
		die("%s: not a file of recorded calls, version %d", path, VERSION);
	sizes = (const uint64_t *)(p->h + 1);
	p->records = (const struct record *)(sizes + p->h->files);
	if (bytes != sizeof *p->h + p->h->files * sizeof *sizes + p->h->records * sizeof *p->records)
		die("%s: %zu bytes do not fit %u records", path, bytes, p->h->records);
	p->base = calloc(p->h->slots + 1, sizeof *p->base);
	p->fds = calloc(p->h->files + 1, sizeof *p->fds);
	for (uint32_t i = 0; i < p->h->files; i++) {
		p->fds[i] = memfd_create("recorded", MFD_CLOEXEC);
		if (p->fds[i] < 0 || ftruncate(p->fds[i], (off_t)sizes[i]))
			die("%s: a memory file of %llu bytes", path, (unsigned long long)sizes[i]);
	}
	p->first_break = (unsigned long)syscall(SYS_brk, 0);
	p->base[0] = p->first_break;
}

/* Issues one record; 0, or 1 when the call failed. A break that did not move to where it was asked to has failed. */
static inline int issue(struct program *p, const struct record *r)
{
	unsigned long at = r->slot < 0 ? 0 : p->base[r->slot] + (unsigned long)r->delta;
	int fd = r->file < 0 ? -1 : p->fds[r->file];
	long got;

	switch (r->op) {
	case OP_MMAP:
		got = syscall(SYS_mmap, at, r->length, r->prot, r->flags, fd, r->extra);
		break;
	case OP_MUNMAP:
		return syscall(SYS_munmap, at, r->length) != 0;
	case OP_MPROTECT:
		return syscall(SYS_mprotect, at, r->length, r->prot) != 0;
	case OP_BRK:
		got = syscall(SYS_brk, at);
		return r->slot >= 0 && (unsigned long)got != at;
	case OP_MADVISE:
		return syscall(SYS_madvise, at, r->length, r->prot) != 0;
	case OP_MREMAP:
		got = syscall(SYS_mremap, at, r->length, r->extra, r->flags, 0);
		break;
	default:
		die("record %zu: operation %d", (size_t)(r - p->records), r->op);
	}
	if (r->result >= 0)
		p->base[r->result] = got == -1 ? NOWHERE : (unsigned long)got;
	return got == -1;
}

static void iterate(struct program *p)
{
	p->failed = p->differs = 0;
	for (uint32_t i = 0; i < p->h->records; i++) {
		const struct record *r = p->records + i;
		int failed = issue(p, r);

		if (failed | r->recorded_errno) {
			p->failed += (unsigned long)failed;
			p->differs += failed != (r->recorded_errno != 0);
		}
	}
}

/* The same with the clock read around every call: what each kind of call costs. */
static void iterate_by_op(struct program *p, struct samples *by_op, const uint32_t *count)
{
	uint64_t spent[OPS] = { 0 };
	uint64_t pair = UINT64_MAX;

	for (int i = 0; i < 100; i++) {
		uint64_t start = now(), cost = now() - start;

		pair = cost < pair ? cost : pair;
	}
	for (uint32_t i = 0; i < p->h->records; i++) {
		uint64_t start = now();
		int failed = issue(p, p->records + i);
		uint64_t ns = now() - start;

		spent[p->records[i].op] += ns > pair ? ns - pair : 0;
		p->failed_by_op[p->records[i].op] += (unsigned long)failed;
	}
	for (int op = 0; op < OPS; op++)
		if (count[op])
			sample_add(by_op + op, 0, spent[op], count[op]);
}

static int areas_now(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	int c, lines = 0;

	if (!f)
		die("/proc/self/maps");
	while ((c = getc(f)) != EOF)
		lines += c == '\n';
	fclose(f);
	return lines;
}

int cmd_calls(int argc, char **argv)
{
	static struct samples s, by_op[OPS];
	struct program p = { 0 };
	uint32_t count[OPS] = { 0 };
	unsigned long total = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000000;
	unsigned long iterations, group;
	uint64_t spent = 0;
	int before;

	if (argc < 1)
		die("calls: a file of recorded calls is needed");
	areas_now(); /* The C library's own buffers exist from here on. */
	load(&p, argv[0]);
	for (uint32_t i = 0; i < p.h->records; i++)
		count[p.records[i].op]++;
	before = areas_now();
	iterate(&p);
	if (areas_now() != before || (unsigned long)syscall(SYS_brk, 0) != p.first_break)
		die("an iteration leaves %d areas where %d were", areas_now(), before);

	iterations = total / p.h->records + 1;
	group = iterations / 2000 + 1;
	for (unsigned long done = 0; done < iterations; done += group) {
		uint64_t start = now(), end;

		for (unsigned long i = 0; i < group; i++)
			iterate(&p);
		end = now();
		sample_add(&s, start, end, (double)group * p.h->records);
		spent += end - start;
		iterations = done + group > iterations ? done + group : iterations;
	}
	emit(&s, "ns/call", p.h->records, "calls", "%lu calls, mean %.1f ns, %lu of %u fail, %lu otherwise than recorded",
	     iterations * p.h->records, (double)spent / (double)(iterations * p.h->records), p.failed, p.h->records, p.differs);

	iterations = iterations < 50 ? iterations : 50;
	for (unsigned long i = 0; i < iterations; i++)
		iterate_by_op(&p, by_op, count);
	for (int op = 0; op < OPS; op++) {
		char name[32];

		if (!count[op])
			continue;
		snprintf(name, sizeof name, "calls-%s", op_names[op]);
		emit(by_op + op, "ns/call", count[op], name, "%lu of %u fail", p.failed_by_op[op] / iterations, count[op]);
	}
	return 0;
}
