// The CPU as a platform for device code: one thread after another, in an order that changes from barrier to barrier.
//
// Each thread of a block is a coroutine that gives way at a barrier. Shared memory is filled with garbage before every block, so that
// reading what nobody wrote shows; a thread that ends while others wait at a barrier is an error.
#pragma once
#include <cstddef>
#include <utility>

#define DEVICE inline
#define COLD inline __attribute__((noinline))
#define KERNEL(THREADS, BLOCKS) static void
#define UNROLL
#define ROLLED

struct Dim {
  unsigned x;
};
extern Dim threadIdx, blockIdx, blockDim, gridDim;

struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
extern uint4 *shared_memory;

void __syncthreads();

template <class T>
inline T atomicAdd(T *at, T value) {
  T old = *at;
  *at += value;
  return old;
}
template <class T>
inline T atomicMin(T *at, T value) {
  T old = *at;
  *at = value < old ? value : old;
  return old;
}
template <class T>
inline T atomicMax(T *at, T value) {
  T old = *at;
  *at = value > old ? value : old;
  return old;
}
inline int __clz(unsigned x) { return x == 0 ? 32 : __builtin_clz(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((unsigned long long)a * b >> 32); }
inline unsigned __funnelshift_l(unsigned lo, unsigned hi, unsigned shift) {
  return shift % 32 == 0 ? hi : hi << shift % 32 | lo >> (32 - shift % 32);
}
inline unsigned __funnelshift_r(unsigned lo, unsigned hi, unsigned shift) {
  return shift % 32 == 0 ? lo : lo >> shift % 32 | hi << (32 - shift % 32);
}
template <class T>
inline T __ldg(const T *at) {
  return *at;
}

// A kernel that can be launched by its name.
struct Exported {
  const char *name;
  void (*run)(void **args);
  bool has_barriers;
  // Bytes of each parameter.
  const size_t *sizes;
  size_t n_parameters;
  Exported *next;
  Exported(const char *name, void (*run)(void **), bool has_barriers, const size_t *sizes, size_t n_parameters);
};

namespace emulation {
template <auto F>
struct Call;
template <class... A, void (*F)(A...)>
struct Call<F> {
  static constexpr size_t N = sizeof...(A);
  static constexpr size_t SIZES[] = {sizeof(A)...};
  template <size_t... I>
  static void apply(void **args, std::index_sequence<I...>) {
    F(*(A *)args[I]...);
  }
  static void run(void **args) { apply(args, std::index_sequence_for<A...>()); }
};
}  // namespace emulation
#define EXPORT_(NAME, BARRIERS)                                                                                        \
  static Exported exported_##NAME(#NAME, emulation::Call<NAME>::run, BARRIERS, emulation::Call<NAME>::SIZES, emulation::Call<NAME>::N);
#define EXPORT(NAME) EXPORT_(NAME, true)
#define EXPORT_STRAIGHT(NAME) EXPORT_(NAME, false)

#define UNWRAP(...) __VA_ARGS__
#define ASM(CODE, IO, IN)                                                     \
  do {                                                                        \
    unsigned *io_[] = {UNWRAP IO};                                            \
    unsigned in_[] = {UNWRAP IN};                                             \
    unsigned carry_ = 0;                                                      \
    (void)in_;                                                                \
    constexpr int n_ = sizeof io_ / sizeof *io_;                              \
    CODE(void) carry_;                                                        \
  } while (0)
#define RW(WORD) &(WORD)
#define RD(WORD) (WORD)
#define OPERAND_(K) (K < n_ ? *io_[K < n_ ? K : 0] : in_[K < n_ ? 0 : K - n_])
#define OUT_(K) (*io_[K])

inline unsigned emulate_add(unsigned a, unsigned b, unsigned carry_in, unsigned &carry_out) {
  unsigned long long sum = (unsigned long long)a + b + carry_in;
  carry_out = (unsigned)(sum >> 32);
  return (unsigned)sum;
}
inline unsigned emulate_sub(unsigned a, unsigned b, unsigned borrow_in, unsigned &borrow_out) {
  unsigned long long difference = (unsigned long long)a - b - borrow_in;
  borrow_out = (unsigned)(difference >> 63);
  return (unsigned)difference;
}
inline unsigned emulate_lo(unsigned a, unsigned b) { return a * b; }

// Without .cc the flag is lost: the next reader must not find it.
#define ADD_CC(D, A, B) OUT_(D) = emulate_add(OPERAND_(A), OPERAND_(B), 0, carry_);
#define ADDC_CC(D, A, B) OUT_(D) = emulate_add(OPERAND_(A), OPERAND_(B), carry_, carry_);
#define ADDC(D, A, B) OUT_(D) = OPERAND_(A) + OPERAND_(B) + carry_;
#define CARRY_CC(D, A) OUT_(D) = emulate_add(OPERAND_(A), 0, carry_, carry_);
#define CARRY(D, A) OUT_(D) = OPERAND_(A) + carry_;
#define SET_CARRY(D) OUT_(D) = carry_;
#define SUB_CC(D, A, B) OUT_(D) = emulate_sub(OPERAND_(A), OPERAND_(B), 0, carry_);
#define SUBC_CC(D, A, B) OUT_(D) = emulate_sub(OPERAND_(A), OPERAND_(B), carry_, carry_);
#define SET_BORROW(D) OUT_(D) = 0u - carry_;
#define MAD_LO_CC(D, A, B, C) OUT_(D) = emulate_add(emulate_lo(OPERAND_(A), OPERAND_(B)), OPERAND_(C), 0, carry_);
#define MADC_LO_CC(D, A, B, C) OUT_(D) = emulate_add(emulate_lo(OPERAND_(A), OPERAND_(B)), OPERAND_(C), carry_, carry_);
#define MADC_HI_CC(D, A, B, C) OUT_(D) = emulate_add(__umulhi(OPERAND_(A), OPERAND_(B)), OPERAND_(C), carry_, carry_);
#define MADC_HI(D, A, B, C) OUT_(D) = __umulhi(OPERAND_(A), OPERAND_(B)) + OPERAND_(C) + carry_;
#define MULC_LO_CC(D, A, B) OUT_(D) = emulate_add(emulate_lo(OPERAND_(A), OPERAND_(B)), 0, carry_, carry_);
#define MULC_HI(D, A, B) OUT_(D) = __umulhi(OPERAND_(A), OPERAND_(B)) + carry_;
#define MULC_HI_CC(D, A, B) OUT_(D) = emulate_add(__umulhi(OPERAND_(A), OPERAND_(B)), 0, carry_, carry_);
