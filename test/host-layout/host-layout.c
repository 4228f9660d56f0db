// Runs a list of system calls on the host kernel and prints what each returned, and /proc/self/smaps from time to time.
// Freestanding and static, so that the address space holds nothing but this program, its stack, vvar and vdso.
//
//   gcc -O2 -static -nostdlib -ffreestanding -fno-stack-protector -no-pie -o host-layout host-layout.c
//   setarch -R unshare -i ./host-layout /tmp/host-layout.file < calls.bin > result.txt     (FILE on ext4, 1 MiB long)
//
// calls.bin: records of 8 little-endian u64: number, six arguments, a mask. Bit i of the mask: argument i is
// (index << 32 | offset): the result of record `index` plus offset. Numbers above 1000 are: 1001 print smaps,
// 1002 fork, the child goes on. Descriptor 3: FILE read-write, 4: a memfd of 64 pages, 5: FILE read-only.
typedef unsigned long u64;

static inline long call(long n, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f) {
  register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
  long r;
  __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
  return r;
}

#define RECORDS 200000
static u64 rec[RECORDS][8];
static long res[RECORDS];
static char out[1 << 16];
static unsigned n_out;
static char buf[1 << 16];

static void flush(void) {
  unsigned at = 0;
  while (at < n_out) at += call(1, 1, (u64)(out + at), n_out - at, 0, 0, 0);
  n_out = 0;
}
static void put(const char *s, unsigned n) {
  if (n_out + n > sizeof out) flush();
  for (unsigned i = 0; i < n; i++) out[n_out++] = s[i];
}
static void hex(u64 v) {
  char t[17];
  int n = 0;
  for (int i = 60; i >= 0; i -= 4) {
    int d = (v >> i) & 15;
    if (n || d || i == 0) t[n++] = "0123456789abcdef"[d];
  }
  put(t, n);
}
static void file(const char *path) {
  long fd = call(2, (u64)path, 0, 0, 0, 0, 0), n;
  while ((n = call(0, fd, (u64)buf, sizeof buf, 0, 0, 0)) > 0) put(buf, n);
  call(3, fd, 0, 0, 0, 0, 0);
}

void run(u64 *sp) {
  char **argv = (char **)(sp + 1);
  u64 got = 0;
  long n;
  while ((n = call(0, 0, (u64)rec + got, sizeof rec - got, 0, 0, 0)) > 0) got += n;
  long a = call(2, (u64)argv[1], 2, 0, 0, 0, 0);
  call(33, a, 3, 0, 0, 0, 0);
  if (a != 3) call(3, a, 0, 0, 0, 0, 0);
  long m = call(319, (u64) "m", 2, 0, 0, 0, 0);
  call(33, m, 4, 0, 0, 0, 0);
  if (m != 4) call(3, m, 0, 0, 0, 0, 0);
  call(77, 4, 64 * 4096, 0, 0, 0, 0);
  long r = call(2, (u64)argv[1], 0, 0, 0, 0, 0);
  call(33, r, 5, 0, 0, 0, 0);
  if (r != 5) call(3, r, 0, 0, 0, 0, 0);
  for (u64 i = 0; i < got / 64; i++) {
    u64 v[6];
    for (int j = 0; j < 6; j++) {
      v[j] = rec[i][1 + j];
      if (rec[i][7] >> j & 1) v[j] = res[v[j] >> 32] + (unsigned)v[j];
    }
    if (rec[i][0] == 1001) {
      put("smaps\n", 6);
      file("/proc/self/smaps");
      put("end\n", 4);
      continue;
    }
    if (rec[i][0] == 1002) {
      flush();
      long pid = call(57, 0, 0, 0, 0, 0, 0);
      if (pid > 0) {
        call(61, pid, 0, 0, 0, 0, 0);
        call(60, 0, 0, 0, 0, 0, 0);
      }
      put("fork\n", 5);
      continue;
    }
    res[i] = call(rec[i][0], v[0], v[1], v[2], v[3], v[4], v[5]);
    hex(res[i]);
    put("\n", 1);
  }
  flush();
  call(60, 0, 0, 0, 0, 0, 0);
}

__asm__(".globl _start\n_start:\n mov %rsp, %rdi\n and $-16, %rsp\n call run\n");
