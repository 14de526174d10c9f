// Blocks of coroutines: what launches kernels on the CPU. Compiled as one file with every unit.
#include "platform.cuh"

#include <sys/mman.h>
#include <ucontext.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

Dim threadIdx, blockIdx, blockDim, gridDim;
uint4 *shared_memory;

namespace {
constexpr size_t STACK_BYTES = 256 << 10;
constexpr size_t PAGE = 4096;

Exported *&exported() {
  static Exported *first = nullptr;
  return first;
}

struct Thread {
  ucontext_t context;
  char *stack;
  bool ended;
};

ucontext_t scheduler;
std::vector<Thread> threads;
u32 current;
void (*kernel)(void **);
void **arguments;
bool straight;
u64 state = 0x9E3779B97F4A7C15ull;

u64 random_word() {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

void run_thread() {
  kernel(arguments);
  threads[current].ended = true;
  // The context that is linked goes on: the scheduler.
}

// Runs one block without barriers to its end.
void run_straight(u32 block) {
  u32 shift = (u32)(random_word() % block);
  for (u32 i = 0; i < block; i++) {
    threadIdx.x = (i + shift) % block;
    kernel(arguments);
  }
}

// Runs one block to its end; false where a barrier is not reached by every thread.
bool run_block(u32 block) {
  std::vector<u32> order(block);
  for (u32 i = 0; i < block; i++) {
    order[i] = i;
    Thread &thread = threads[i];
    thread.ended = false;
    getcontext(&thread.context);
    thread.context.uc_stack.ss_sp = thread.stack;
    thread.context.uc_stack.ss_size = STACK_BYTES;
    thread.context.uc_link = &scheduler;
    makecontext(&thread.context, run_thread, 0);
  }
  for (;;) {
    for (u32 i = block; i > 1; i--) std::swap(order[i - 1], order[random_word() % i]);
    u32 n_ended = 0;
    for (u32 i : order) {
      current = i;
      threadIdx.x = i;
      swapcontext(&scheduler, &threads[i].context);
      n_ended += threads[i].ended;
    }
    if (n_ended == block) return true;
    if (n_ended != 0) return false;
  }
}
}  // namespace

Exported::Exported(const char *name, void (*run)(void **), bool has_barriers, const size_t *sizes, size_t n_parameters)
    : name(name), run(run), has_barriers(has_barriers), sizes(sizes), n_parameters(n_parameters), next(exported()) {
  exported() = this;
}

void __syncthreads() {
  if (straight) abort();
  u32 self = current;
  swapcontext(&threads[self].context, &scheduler);
  current = self;
  threadIdx.x = self;
}

// Memory that ends where no other begins: one access beyond it ends the process. Filled with garbage.
extern "C" void *emulation_alloc(size_t bytes) {
  size_t room = (bytes + 15) / 16 * 16;
  size_t pages = (room + PAGE - 1) / PAGE * PAGE;
  char *base = (char *)mmap(nullptr, pages + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) return nullptr;
  mprotect(base + pages, PAGE, PROT_NONE);
  memset(base, 0xA5, pages);
  return base + pages - room;
}

extern "C" void emulation_free(void *at, size_t bytes) {
  size_t pages = ((bytes + 15) / 16 * 16 + PAGE - 1) / PAGE * PAGE;
  char *base = (char *)((uintptr_t)at / PAGE * PAGE);
  munmap(base, pages + PAGE);
}

// Bytes of each of n parameters; null where there is no such kernel.
extern "C" const size_t *emulation_parameters(const char *name, size_t *n) {
  Exported *found = exported();
  while (found && strcmp(found->name, name) != 0) found = found->next;
  if (!found) return nullptr;
  *n = found->n_parameters;
  return found->sizes;
}

// 0, or 1: no such kernel, 2: a barrier that some threads do not reach, 3: no memory. Not for two threads at once.
extern "C" int emulation_launch(const char *name, u32 grid, u32 block, u32 shared, void **args) {
  Exported *found = exported();
  while (found && strcmp(found->name, name) != 0) found = found->next;
  if (!found) return 1;
  while (threads.size() < block) {
    Thread thread;
    thread.stack = (char *)malloc(STACK_BYTES);
    if (!thread.stack) return 3;
    threads.push_back(thread);
  }
  void *memory = emulation_alloc(shared ? shared : 16);
  if (!memory) return 3;
  shared_memory = (uint4 *)memory;
  kernel = found->run;
  arguments = args;
  straight = !found->has_barriers;
  gridDim.x = grid;
  blockDim.x = block;
  u32 shift = grid ? (u32)(random_word() % grid) : 0;
  int result = 0;
  for (u32 i = 0; i < grid && result == 0; i++) {
    blockIdx.x = (i + shift) % grid;
    memset(shared_memory, 0xA5, shared);
    if (!found->has_barriers) {
      run_straight(block);
    } else if (!run_block(block)) {
      result = 2;
    }
  }
  emulation_free(memory, shared ? shared : 16);
  return result;
}

// One source alone, where it is named.
#ifdef EMULATED_SOURCE
#include EMULATED_SOURCE
#else
#include "field.cu"
#include "ntt.cu"
#include "vectors.cu"
#include "lines.cu"
#include "msm_g1.cu"
#include "msm_g2.cu"
#endif
