// Performs programs of memory system calls and accesses on the running kernel, each in a fresh child of one layout, and writes what
// came of every operation. Freestanding and static: the address space holds nothing but this program, its stack, vvar and vdso.
//
//   gcc -O2 -static -nostdlib -ffreestanding -fno-stack-protector -fcf-protection=none -no-pie -o host host.c
//   ./host FILE < programs > results
//
// It starts itself again without address randomisation and with a stack limit of 8 MiB.
// Input, little-endian u64: for each program the number of operations, then eight words for each: number, six arguments, a mask.
// Bit i of the mask: argument i is (index << 32 | offset), the result of operation `index` plus the offset. Ends with a 0.
// Output: MAGIC_BEGIN, the layout (a text, see OP_MAPS), start_brk; for each operation its result, and after it what its number asks
// for (below); MAGIC_END and the wait status of the child. A child that died leaves fewer results.
// Descriptors: 3 FILE (64 pages, each filled with its index + 1), read-write; 4 a memfd of 64 pages; 5 FILE, read-only.
// What would reach this program's own text, data or stack is not performed; its result is REFUSED (reach.ts has the same rule).
typedef unsigned long u64;
typedef unsigned int u32;

enum {
  OP_MAPS = 1001,     // length and text of /proc/self/maps, padded to 8
  OP_FORK = 1002,     // the child goes on, the parent waits for it
  OP_FORK_RUN = 1003, // a child performs the next N operations and exits, then the parent goes on after them
  OP_LOAD = 1004,     // a byte, or SIGNAL
  OP_STORE = 1005,    // 0, or SIGNAL
  OP_MINCORE = 1006,  // result; when 0 a byte for each page, padded to 8
  OP_SMAPS = 1007,    // as OP_MAPS, of /proc/self/smaps
  OP_SWEEP = 1008,    // loads the first byte of N pages: a result for each
};
#define MAGIC_BEGIN 0xd1ff7e57b0000001ul
#define MAGIC_END 0xd1ff7e57e0000002ul
#define MAGIC_CHILD_END 0xd1ff7e57c0000003ul // the child of OP_FORK_RUN is gone
#define SIGNAL 0x100000000ul // | number << 16 | si_code; | 1 << 31 when si_addr is not the address
#define REFUSED -4095ul // no error has this number
#define PAGES 64
#define TASK_SIZE 0x7ffffffff000ul
#define STACK_LIMIT (8ul << 20)
#define HUGE (2ul << 20)

static inline long call(long n, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f) {
  register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
  long r;
  __asm__ volatile("syscall"
                   : "=a"(r)
                   : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return r;
}

#define RECORDS 8192
static u64 rec[RECORDS][8];
static u64 res[RECORDS];
static u64 out[8192];
static u32 n_out;
static char text[1 << 18];
static unsigned char vec[1 << 16];
static char signal_stack[1 << 14];
static const char *path;

static void write_all(const void *p, u64 n) {
  u64 at = 0;
  while (at < n) {
    long r = call(1, 1, (u64)p + at, n - at, 0, 0, 0);
    if (r <= 0) call(231, 3, 0, 0, 0, 0, 0);
    at += r;
  }
}
static void flush(void) {
  write_all(out, (u64)n_out * 8);
  n_out = 0;
}
static void put(u64 v) {
  if (n_out == sizeof out / 8) flush();
  out[n_out++] = v;
}
static int read_all(void *p, u64 n) {
  u64 at = 0;
  while (at < n) {
    long r = call(0, 0, (u64)p + at, n - at, 0, 0, 0);
    if (r <= 0) return 0;
    at += r;
  }
  return 1;
}
static void put_file(const char *name) {
  long fd = call(2, (u64)name, 0, 0, 0, 0, 0), n;
  u64 len = 0;
  while (len < sizeof text - 8 && (n = call(0, fd, (u64)text + len, sizeof text - 8 - len, 0, 0, 0)) > 0) len += n;
  call(3, fd, 0, 0, 0, 0, 0);
  put(len);
  flush();
  write_all(text, (len + 7) & ~7ul);
}

// An access that fails goes on at probe_fail.
extern long probe_load(u64 at);
extern long probe_store(u64 at, u64 byte);
extern char probe_fail[];
__asm__("probe_load: movzbl (%rdi), %eax\n ret\n"
        "probe_store: movb %sil, (%rdi)\n xor %eax, %eax\n ret\n"
        "probe_fail: mov $-1, %rax\n ret\n"
        "restorer: mov $15, %eax\n syscall\n");
extern char restorer[];
static u64 fault_word, fault_at;
static void on_signal(int sig, u32 *info, u64 *context) {
  u64 at = *(u64 *)(info + 4);
  fault_word = SIGNAL | (u64)sig << 16 | (info[2] & 0xffff) | (at == fault_at ? 0 : 1ul << 31);
  context[21] = (u64)probe_fail;
}
static u64 load(u64 at) {
  fault_at = at;
  long r = probe_load(at);
  return r < 0 ? fault_word : (u64)r;
}
static u64 store(u64 at, u64 byte) {
  fault_at = at;
  return probe_store(at, byte) < 0 ? fault_word : 0;
}

static void move_fd(long fd, long to) {
  call(33, fd, to, 0, 0, 0, 0);
  if (fd != to) call(3, fd, 0, 0, 0, 0, 0);
}
static void make_files(void) {
  call(87, (u64)path, 0, 0, 0, 0, 0);
  move_fd(call(2, (u64)path, 0102, 0600, 0, 0, 0), 3);
  for (u64 i = 0; i < PAGES; i++) {
    for (u32 j = 0; j < 4096; j++) text[j] = i + 1;
    call(18, 3, (u64)text, 4096, i * 4096, 0, 0);
  }
  move_fd(call(319, (u64) "m", 2, 0, 0, 0, 0), 4);
  call(77, 4, PAGES * 4096, 0, 0, 0, 0);
  move_fd(call(2, (u64)path, 0, 0, 0, 0, 0), 5);
}

static void finish(void) {
  flush();
  call(231, 0, 0, 0, 0, 0, 0);
}

// Does [a, a + len) meet this program or the 8 MiB below the end of its stack, in blocks of 2 MiB (lengths of huge mappings are rounded up)?
// What goes beyond user space is turned down by the kernel, or ends at the first gap (`stops`); what wraps is turned down.
extern char __executable_start[], _end[];
static int meets(u64 a, u64 len, int stops) {
  if (a >= TASK_SIZE || len == 0) return 0;
  if (len > TASK_SIZE - a) return !stops && len <= TASK_SIZE;
  u64 low = (u64)__executable_start & -HUGE, high = ((u64)_end + HUGE - 1) & -HUGE;
  return (a < high && a + len > low) || a + len > ((TASK_SIZE - STACK_LIMIT) & -HUGE);
}
static int reaches_helper(u64 nr, u64 *v) {
  switch (nr) {
    case OP_LOAD: case OP_STORE: return meets(v[0], 1, 1);
    case 9: return (v[3] & 0x10) && meets(v[0], v[1], 1);                             // mmap, MAP_FIXED
    case 25: return meets(v[0], v[1], 1) || ((v[3] & 2) && meets(v[4], v[2], 1));     // mremap, MREMAP_FIXED
    case 28: return meets(v[0], v[1], 0);                                             // madvise
    case OP_MINCORE: case 10: case 11: case 26: case 149: case 150: case 216: case 325: case 462:
      return meets(v[0], v[1], 1); // mprotect, munmap, msync, mlock, munlock, remap_file_pages, mlock2, mseal
  }
  return 0;
}
static u64 perform(u64 *r) {
  u64 v[6];
  for (int j = 0; j < 6; j++) v[j] = r[7] >> j & 1 ? res[r[1 + j] >> 32] + (u32)r[1 + j] : r[1 + j];
  if (reaches_helper(r[0], v)) {
    if (r[0] == OP_MINCORE) put(REFUSED);
    return REFUSED;
  }
  if (r[0] == OP_LOAD) return load(v[0]);
  if (r[0] == OP_STORE) return store(v[0], v[1]);
  if (r[0] == OP_MINCORE) {
    if (v[1] > sizeof vec * 4096) v[1] = sizeof vec * 4096;
    u64 result = call(27, v[0], v[1], (u64)vec, 0, 0, 0);
    put(result);
    if (result == 0)
      for (u64 i = 0; i < (v[1] + 4095) / 4096; i += 8) put(*(u64 *)(vec + i));
    return result;
  }
  if (r[0] == OP_SWEEP) {
    for (u64 i = 0; i < v[1]; i++) put(load(v[0] + i * 4096));
    return 0;
  }
  return call(r[0], v[0], v[1], v[2], v[3], v[4], v[5]);
}
static void run_program(u64 n) {
  u64 stop = n;
  for (u64 i = 0; i < n; i++) {
    if (i == stop) finish();
    u64 op = rec[i][0];
    if (op == OP_MAPS) put_file("/proc/self/maps");
    else if (op == OP_SMAPS) put_file("/proc/self/smaps");
    else if (op == OP_FORK || op == OP_FORK_RUN) {
      flush();
      long pid = call(57, 0, 0, 0, 0, 0, 0);
      if (pid > 0) {
        call(61, pid, 0, 0, 0, 0, 0);
        if (op == OP_FORK) finish();
        put(MAGIC_CHILD_END);
        i += rec[i][1];
      } else if (op == OP_FORK_RUN) stop = i + 1 + rec[i][1];
      if (i + 1 == stop) finish();
    } else {
      res[i] = perform(rec[i]);
      if (op != OP_MINCORE && op != OP_SWEEP) put(res[i]);
    }
  }
  finish();
}

static void again(char **argv, char **env) {
  u64 stack[2] = {STACK_LIMIT, STACK_LIMIT};
  char *args[4] = {argv[0], argv[1], "started", 0};
  call(160, 3, (u64)stack, 0, 0, 0, 0);
  call(135, 0x0040000, 0, 0, 0, 0, 0);
  call(59, (u64) "/proc/self/exe", (u64)args, (u64)env, 0, 0, 0);
  call(231, 4, 0, 0, 0, 0, 0);
}

void run(u64 *sp) {
  char **argv = (char **)(sp + 1);
  if (sp[0] < 3) again(argv, (char **)(sp + 1 + sp[0] + 1));
  path = argv[1];
  u64 alt[3] = {(u64)signal_stack, 0, sizeof signal_stack};
  u64 action[4] = {(u64)on_signal, 0x4 | 0x08000000 | 0x04000000 | 0x40000000, (u64)restorer, 0};
  call(131, (u64)alt, 0, 0, 0, 0, 0);
  call(13, 11, (u64)action, 0, 8, 0, 0);
  call(13, 7, (u64)action, 0, 8, 0, 0);
  u64 n;
  while (read_all(&n, 8) && n > 0 && n <= RECORDS && read_all(rec, n * 64)) {
    make_files();
    put(MAGIC_BEGIN);
    put_file("/proc/self/maps");
    put(call(12, 0, 0, 0, 0, 0, 0));
    flush();
    long pid = call(57, 0, 0, 0, 0, 0, 0);
    if (pid == 0) run_program(n);
    u32 status[2] = {0, 0};
    call(61, pid, (u64)status, 0, 0, 0, 0);
    put(MAGIC_END);
    put(status[0]);
    flush();
  }
  finish();
}

__asm__(".globl _start\n_start:\n mov %rsp, %rdi\n and $-16, %rsp\n call run\n");
