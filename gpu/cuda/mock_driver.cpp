// A stand-in for libcuda.so, for tests: the functions of NVIDIA's driver that `src/cuda/module` calls, over the emulation of the kernels.
//
// What is queued runs as late as the order of streams and events allows, or earlier by chance: memory of the host that is reused before its copy is done,
// a use on another stream that nothing orders, and memory that is used after it was given back give wrong results here as they may on a GPU. What a GPU
// would refuse, or what no caller may do, ends the process with a line that says what. MOCK_BYTES: its memory; MOCK_LAUNCHES: after so many it breaks;
// MOCK_POOL: whether it has a memory pool.
#include "emulation.cpp"

#include <dlfcn.h>

#include <cstdio>
#include <deque>
#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

namespace {
// Results of the driver's functions.
enum : int { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_CONTEXT = 201, INVALID_IMAGE = 200, NOT_FOUND = 500, NOT_READY = 600, LAUNCH_FAILED = 719 };

[[noreturn]] void die(const std::string &what) {
  fprintf(stderr, "mock driver: %s\n", what.c_str());
  abort();
}

struct Stream;
struct Event {
  Stream *stream = nullptr;
  u64 recorded = 0, happened = 0;
};
struct Operation {
  std::function<void()> run;
  // What must have happened before.
  Event *event;
  u64 number;
};
struct Stream {
  std::deque<Operation> queue;
};
// Memory of the device; what was given back is reused by its stream, or by others once that was done.
struct Allocation {
  size_t bytes;
  bool live, given_back;
  Stream *stream;
  // How often it was given back.
  u64 times;
};
struct Module {
  void *library;
};
struct Function {
  std::string name;
  Module *module;
  int shared = 48 << 10;
};

std::recursive_mutex one;
std::map<char *, Allocation> device_memory;
std::map<char *, size_t> pinned;
std::vector<Stream *> streams;
size_t used;
int retained;
thread_local void *bound;
u64 launches;
bool broken;
u64 coin = 0x2545F4914F6CDD1Dull;

// A GPU that breaks after so many launches.
bool breaks() {
  return ++launches > MOCK_LAUNCHES;
}

size_t total() { return MOCK_BYTES; }

u64 toss() {
  coin ^= coin << 13;
  coin ^= coin >> 7;
  coin ^= coin << 17;
  return coin;
}

void run_one(Stream *stream);

void until(Event *event, u64 number) {
  while (event->happened < number) {
    if (!event->stream || event->stream->queue.empty()) die("an event that never happens");
    run_one(event->stream);
  }
}

void run_one(Stream *stream) {
  Operation operation = stream->queue.front();
  stream->queue.pop_front();
  if (operation.event) until(operation.event, operation.number);
  if (operation.run) operation.run();
}

void run_all(Stream *stream) {
  while (!stream->queue.empty()) run_one(stream);
}

// Something may be done at any time.
void chance() {
  while (toss() % 3 == 0 && !streams.empty()) {
    Stream *stream = streams[toss() % streams.size()];
    if (!stream->queue.empty()) run_one(stream);
  }
}

void queue(Stream *stream, std::function<void()> run, Event *event = nullptr, u64 number = 0) {
  if (!stream) die("the default stream");
  stream->queue.push_back(Operation{std::move(run), event, number});
  chance();
}

void check_device(u64 at, size_t bytes) {
  auto after = device_memory.upper_bound((char *)at);
  if (after == device_memory.begin()) die("an address that is not the device's");
  auto &[base, allocation] = *--after;
  if (!allocation.live || (char *)at + bytes > base + (allocation.bytes + 15) / 16 * 16) die("an access beyond memory that was taken");
}

void check_pinned(const void *at, size_t bytes) {
  auto after = pinned.upper_bound((char *)at);
  if (after == pinned.begin()) die("a copy from memory that is not pinned");
  auto &[base, length] = *--after;
  if ((char *)at + bytes > base + length) die("a copy beyond pinned memory");
}

char *take(size_t bytes, Stream *stream) {
  if (used + bytes > total()) return nullptr;
  for (auto &[base, allocation] : device_memory) {
    bool free = !allocation.live && (allocation.given_back || (stream && allocation.stream == stream));
    if (free && allocation.bytes == bytes && toss() % 4 != 0) {
      allocation.live = true;
      allocation.given_back = false;
      used += bytes;
      return base;
    }
  }
  char *base = (char *)emulation_alloc(bytes);
  if (!base) return nullptr;
  device_memory[base] = Allocation{bytes, true, false, nullptr, 0};
  used += bytes;
  return base;
}

Allocation &taken(u64 at) {
  auto found = device_memory.find((char *)at);
  if (found == device_memory.end() || !found->second.live) die("memory given back that was not taken");
  return found->second;
}
}  // namespace

#define API extern "C" __attribute__((visibility("default"))) int
#define LOCK std::lock_guard<std::recursive_mutex> lock(one)
#define BOUND                           \
  LOCK;                                 \
  if (!bound) return INVALID_CONTEXT;   \
  if (broken) return LAUNCH_FAILED;     \
  chance()

API cuDriverGetVersion(int *version) {
  *version = 12040;
  return OK;
}
API cuInit(unsigned) { return OK; }
API cuGetErrorName(int error, const char **text) {
  static thread_local std::string name;
  name = "CUDA_ERROR_" + std::to_string(error);
  *text = name.c_str();
  return OK;
}
API cuGetErrorString(int, const char **text) {
  *text = "said the mock driver";
  return OK;
}
API cuDeviceGetCount(int *count) {
  *count = 1;
  return OK;
}
API cuDeviceGet(int *device, int ordinal) {
  *device = ordinal;
  return ordinal == 0 ? OK : 101;
}
API cuDeviceGetName(char *name, int length, int) {
  snprintf(name, (size_t)length, "Mock GPU");
  return OK;
}
API cuDeviceTotalMem_v2(size_t *bytes, int) {
  *bytes = total();
  return OK;
}
API cuDeviceGetAttribute(int *value, int attribute, int) {
  switch (attribute) {
    case 13: *value = 1000000; break;  // clock rate in kHz
    case 16: *value = 2; break;        // multiprocessors
    case 75: *value = 9; break;        // major number of the architecture
    case 76: *value = 0; break;
    case 115: *value = MOCK_POOL; break;  // memory pools
    default: return INVALID_VALUE;
  }
  return OK;
}
API cuDevicePrimaryCtxRetain(void **context, int) {
  LOCK;
  retained++;
  *context = &retained;
  return OK;
}
API cuDevicePrimaryCtxRelease_v2(int) {
  LOCK;
  if (--retained < 0) die("a context released that was not retained");
  return OK;
}
API cuCtxSetCurrent(void *context) {
  bound = context;
  return OK;
}

API cuStreamCreate(Stream **stream, unsigned) {
  BOUND;
  streams.push_back(*stream = new Stream);
  return OK;
}
API cuStreamDestroy_v2(Stream *stream) {
  BOUND;
  run_all(stream);
  streams.erase(std::find(streams.begin(), streams.end(), stream));
  delete stream;
  return OK;
}
API cuStreamSynchronize(Stream *stream) {
  BOUND;
  run_all(stream);
  return OK;
}
API cuStreamWaitEvent(Stream *stream, Event *event, unsigned) {
  BOUND;
  queue(stream, nullptr, event, event->recorded);
  return OK;
}

API cuEventCreate(Event **event, unsigned) {
  BOUND;
  *event = new Event;
  return OK;
}
API cuEventDestroy_v2(Event *event) {
  BOUND;
  until(event, event->recorded);
  delete event;
  return OK;
}
API cuEventRecord(Event *event, Stream *stream) {
  BOUND;
  event->stream = stream;
  u64 number = ++event->recorded;
  queue(stream, [event, number] { event->happened = number; });
  return OK;
}
API cuEventQuery(Event *event) {
  BOUND;
  return event->happened == event->recorded ? OK : NOT_READY;
}
API cuEventSynchronize(Event *event) {
  BOUND;
  until(event, event->recorded);
  return OK;
}

API cuMemGetInfo_v2(size_t *free, size_t *all) {
  BOUND;
  *all = total();
  *free = *all - used;
  return OK;
}
API cuDeviceGetDefaultMemPool(void **pool, int) {
  *pool = &used;
  return OK;
}
API cuMemPoolSetAttribute(void *, int, void *) { return OK; }
API cuMemPoolGetAttribute(void *, int, void *value) {
  // Nothing is reserved that is not used.
  *(u64 *)value = 0;
  return OK;
}
API cuMemPoolTrimTo(void *, size_t) { return OK; }
API cuMemAllocFromPoolAsync(u64 *at, size_t bytes, void *, Stream *stream) {
  BOUND;
  if (bytes == 0) return INVALID_VALUE;
  *at = (u64)take(bytes, stream);
  return *at ? OK : OUT_OF_MEMORY;
}
API cuMemFreeAsync(u64 at, Stream *stream) {
  BOUND;
  Allocation &allocation = taken(at);
  allocation.live = false;
  allocation.stream = stream;
  used -= allocation.bytes;
  u64 time = ++allocation.times;
  queue(stream, [&allocation, at, time] {
    memset((void *)at, 0xA5, allocation.bytes);
    // It may have been taken again, and even given back again.
    if (!allocation.live && allocation.times == time) allocation.given_back = true;
  });
  return OK;
}
API cuMemAlloc_v2(u64 *at, size_t bytes) {
  BOUND;
  if (bytes == 0) return INVALID_VALUE;
  *at = (u64)take(bytes, nullptr);
  return *at ? OK : OUT_OF_MEMORY;
}
API cuMemFree_v2(u64 at) {
  BOUND;
  Allocation &allocation = taken(at);
  allocation.live = false;
  allocation.given_back = true;
  used -= allocation.bytes;
  memset((void *)at, 0xA5, allocation.bytes);
  return OK;
}
API cuMemHostAlloc(void **at, size_t bytes, unsigned) {
  BOUND;
  if (bytes == 0) return INVALID_VALUE;
  *at = malloc(bytes);
  memset(*at, 0xA5, bytes);
  pinned[(char *)*at] = bytes;
  return OK;
}
API cuMemFreeHost(void *at) {
  LOCK;
  if (!pinned.erase((char *)at)) die("pinned memory given back that was not taken");
  free(at);
  return OK;
}
API cuMemsetD8Async(u64 at, unsigned char value, size_t bytes, Stream *stream) {
  BOUND;
  if (bytes == 0) return INVALID_VALUE;
  check_device(at, bytes);
  queue(stream, [=] { memset((void *)at, value, bytes); });
  return OK;
}
API cuMemcpyHtoDAsync_v2(u64 to, const void *from, size_t bytes, Stream *stream) {
  BOUND;
  if (bytes == 0) return INVALID_VALUE;
  check_device(to, bytes);
  check_pinned(from, bytes);
  queue(stream, [=] { memcpy((void *)to, from, bytes); });
  return OK;
}
API cuMemcpyDtoHAsync_v2(void *to, u64 from, size_t bytes, Stream *stream) {
  BOUND;
  if (bytes == 0) return INVALID_VALUE;
  check_device(from, bytes);
  check_pinned(to, bytes);
  queue(stream, [=] { memcpy(to, (const void *)from, bytes); });
  return OK;
}
API cuMemcpyDtoDAsync_v2(u64 to, u64 from, size_t bytes, Stream *stream) {
  BOUND;
  if (bytes == 0) return INVALID_VALUE;
  check_device(to, bytes);
  check_device(from, bytes);
  queue(stream, [=] { memmove((void *)to, (const void *)from, bytes); });
  return OK;
}

// What the mock compiler made (mock_nvrtc.cpp): the name of a source, and where its library is if it is not one of this file's units.
API cuModuleLoadData(Module **module, const char *image) {
  BOUND;
  const char magic[] = "mock cubin\n";
  if (strncmp(image, magic, sizeof magic - 1) != 0) return INVALID_IMAGE;
  const char *path = image + sizeof magic - 1;
  void *library = *path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : nullptr;
  if (*path && !library) return INVALID_IMAGE;
  *module = new Module{library};
  return OK;
}
API cuModuleUnload(Module *module) {
  BOUND;
  for (Stream *stream : streams) {
    if (module->library && !stream->queue.empty()) die("a module unloaded while its kernels may run");
  }
  if (module->library) dlclose(module->library);
  delete module;
  return OK;
}

namespace {
template <class F>
F *in(Module *module, const char *name, F *own) {
  return module->library ? (F *)dlsym(module->library, name) : own;
}
}  // namespace

API cuModuleGetFunction(Function **function, Module *module, const char *name) {
  BOUND;
  size_t n = 0;
  if (!in(module, "emulation_parameters", emulation_parameters)(name, &n)) return NOT_FOUND;
  *function = new Function{name, module};
  return OK;
}
API cuFuncSetAttribute(Function *function, int attribute, int value) {
  BOUND;
  if (attribute != 8 || value > 227 << 10) return INVALID_VALUE;
  function->shared = value;
  return OK;
}
API cuFuncGetParamInfo(Function *function, size_t index, size_t *offset, size_t *size) {
  BOUND;
  size_t n = 0;
  const size_t *sizes = in(function->module, "emulation_parameters", emulation_parameters)(function->name.c_str(), &n);
  if (index >= n) return INVALID_VALUE;
  *offset = 0;
  *size = sizes[index];
  return OK;
}
API cuLaunchKernel(Function *function, unsigned grid, unsigned grid_y, unsigned grid_z, unsigned block, unsigned block_y, unsigned block_z,
                   unsigned shared, Stream *stream, void **args, void **) {
  BOUND;
  if (grid == 0 || grid_y != 1 || grid_z != 1 || block == 0 || block > 1024 || block_y != 1 || block_z != 1) return INVALID_VALUE;
  if (shared > (unsigned)function->shared) return INVALID_VALUE;
  if (breaks()) {
    broken = true;
    return LAUNCH_FAILED;
  }
  size_t n = 0;
  const size_t *sizes = in(function->module, "emulation_parameters", emulation_parameters)(function->name.c_str(), &n);
  // Arguments are copied before the call returns.
  auto values = std::make_shared<std::vector<std::vector<char>>>();
  for (size_t i = 0; i < n; i++) values->emplace_back((char *)args[i], (char *)args[i] + sizes[i]);
  auto *launch = in(function->module, "emulation_launch", emulation_launch);
  std::string name = function->name;
  queue(stream, [=] {
    std::vector<void *> pointers;
    for (auto &value : *values) pointers.push_back(value.data());
    int code = launch(name.c_str(), grid, block, shared, pointers.data());
    if (code != 0) die(name + ": code " + std::to_string(code));
  });
  return OK;
}
