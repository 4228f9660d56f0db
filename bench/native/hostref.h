/*
 * hostref: reference figures for the benchmarks, taken on the running kernel and from plain C loops.
 *
 * One sample is one timed section; the clock's own cost is subtracted. A figure is the minimum of its samples (the
 * machine is shared, so everything but the work only adds), with the median beside it to show how noisy the run was.
 */
#ifndef HOSTREF_H
#define HOSTREF_H

#define _GNU_SOURCE
#include <stddef.h>
#include <stdint.h>

#define PAGE 4096UL
#define PMD_SIZE (2UL << 20)

#define SAMPLES_MAX 4096

struct samples {
	int count;
	double ns[SAMPLES_MAX];
};

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t now(void);

/* Adds end - start (less the clock's cost), divided by the units that the section handled. */
void sample_add(struct samples *s, uint64_t start, uint64_t end, double units);

double sample_min(struct samples *s);

/*
 * Prints one JSON line {"name","unit","ns","median","n","detail"} and empties the samples. n is the number of units in
 * one sample; detail is printf text without quotes.
 */
void emit(struct samples *s, const char *unit, double n, const char *name, const char *detail, ...)
	__attribute__((format(printf, 5, 6)));

/* Ends the program with status 1 and the text, followed by errno's. */
void die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

/* Keeps a computed value from being optimised away. */
static inline void sink(uint64_t value)
{
	__asm__ volatile("" : : "r"(value) : "memory");
}

/* Anonymous private memory without huge pages, aligned to align (a power of two), not populated. */
char *map_aligned(size_t bytes, size_t align, int prot);

/* Writes one byte in each page. */
void touch(char *base, size_t pages);

/* A read-only view of a whole file. */
const void *map_file(const char *path, size_t *bytes);

/* Samples for a section of that many pages: many for short ones, few for long ones. */
int reps_for(size_t pages);

int cmd_tlb(int argc, char **argv);
int cmd_fault(int argc, char **argv);
int cmd_unmap(int argc, char **argv);
int cmd_protect(int argc, char **argv);
int cmd_fork(int argc, char **argv);
int cmd_move(int argc, char **argv);
int cmd_empty(int argc, char **argv);
int cmd_vmas(int argc, char **argv);
int cmd_calls(int argc, char **argv);
int cmd_copy(int argc, char **argv);
int cmd_huge(int argc, char **argv);

#endif
