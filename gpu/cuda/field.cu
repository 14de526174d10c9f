// Single operations on vectors, for tests of the arithmetic, and chains of them, for measuring it.
#include "curve.cuh"

template <class F>
static DEVICE F operand(const u32 *from, u32 i) {
  return F::load(from + sizeof(F) / sizeof(u32) * i);
}

#define OPERATION(NAME, F, EXPRESSION)                                           \
  KERNEL(128, 4) NAME(u32 *out, const u32 *left, const u32 *right, u32 n) {      \
    u32 i = thread_index();                                                      \
    if (i >= n) return;                                                          \
    F a = operand<F>(left, i), b = operand<F>(right, i);                         \
    (void)b;                                                                     \
    (EXPRESSION).canonical().store(out + sizeof(F) / sizeof(u32) * i);           \
  }                                                                              \
  EXPORT_STRAIGHT(NAME)

OPERATION(field_mul_fq, Fq, a *b)
OPERATION(field_sqr_fq, Fq, a.squared())
OPERATION(field_add_fq, Fq, a + b)
OPERATION(field_sub_fq, Fq, a - b)
OPERATION(field_difference_fq, Fq, Fq::product_difference(a, b, b + b, a - b))
OPERATION(field_inverse_fq, Fq, a.inverse())
OPERATION(field_mul_fr, Fr, a *b)
OPERATION(field_sqr_fr, Fr, a.squared())
OPERATION(field_sub_fr, Fr, a - b)
OPERATION(field_inverse_fr, Fr, a.inverse())
OPERATION(field_mul_fq2, Fq2, a *b)
OPERATION(field_sqr_fq2, Fq2, a.squared())

// Bounds of lazy reduction: factors that are sums, not reduced.
OPERATION(field_lazy_fq, Fq, (a.plus_unreduced(b) * (a - b) + a * a.plus_unreduced(b).below_2p()).doubled())

// sums[i] = sums[i] + points[i], as XYZZ coordinates and an affine point.
#define ADDITION(NAME, C)                                               \
  KERNEL(128, 2) NAME(u32 *sums, const u32 *points, u32 n) {            \
    u32 i = thread_index();                                             \
    if (i >= n) return;                                                 \
    Xyzz<C> sum = Xyzz<C>::load(sums + Xyzz<C>::WORDS * i);             \
    sum.add(Affine<C>::load(points + Affine<C>::WORDS * i));            \
    sum.store(sums + Xyzz<C>::WORDS * i);                               \
  }                                                                     \
  EXPORT_STRAIGHT(NAME)
ADDITION(field_add_affine_g1, G1)
ADDITION(field_add_affine_g2, G2)

#define FULL_ADDITION(NAME, C)                                          \
  KERNEL(128, 2) NAME(u32 *sums, const u32 *others, u32 n) {            \
    u32 i = thread_index();                                             \
    if (i >= n) return;                                                 \
    Xyzz<C> sum = Xyzz<C>::load(sums + Xyzz<C>::WORDS * i);             \
    sum.add(Xyzz<C>::load(others + Xyzz<C>::WORDS * i));                \
    sum.store(sums + Xyzz<C>::WORDS * i);                               \
  }                                                                     \
  EXPORT_STRAIGHT(NAME)
FULL_ADDITION(field_add_g1, G1)
FULL_ADDITION(field_add_g2, G2)

// `rounds` products by `factor`, for the throughput of a product; two independent chains a thread.
KERNEL(256, 4) field_chain_fr(u32 *out, Element factor, u32 rounds, u32 n) {
  u32 i = thread_index();
  if (i >= n) return;
  Fr f = Fr::of(factor), a = operand<Fr>(out, 2 * i), b = operand<Fr>(out, 2 * i + 1);
  ROLLED for (u32 k = 0; k < rounds; k++) {
    a = a * f;
    b = b * f;
  }
  a.canonical().store(out + 16 * i);
  b.canonical().store(out + 16 * i + 8);
}
EXPORT_STRAIGHT(field_chain_fr)

#ifdef __CUDACC__
// Results of one instruction a clock and multiprocessor: chains of eight accumulators a thread; the clocks that the block took go out.
#define INSTRUCTIONS(NAME, CODE, TYPE, CONSTRAINT)                                                  \
  KERNEL(256, 8) NAME(u64 *clocks, u32 *sink, u32 rounds, u32 seed) {                               \
    TYPE c[8];                                                                                      \
    TYPE a = (TYPE)(seed + threadIdx.x), b = (TYPE)(seed * 3 + 1);                                  \
    UNROLL for (int k = 0; k < 8; k++) c[k] = (TYPE)(seed + k);                                     \
    __syncthreads();                                                                                \
    long long begin = clock64();                                                                    \
    ROLLED for (u32 r = 0; r < rounds; r++) {                                                       \
      UNROLL for (int u = 0; u < 8; u++) {                                                          \
        UNROLL for (int k = 0; k < 8; k++) asm volatile(CODE : "+" CONSTRAINT(c[k]) : CONSTRAINT(a), CONSTRAINT(b)); \
      }                                                                                             \
    }                                                                                               \
    long long end = clock64();                                                                      \
    TYPE all = 0;                                                                                   \
    UNROLL for (int k = 0; k < 8; k++) all += c[k];                                                 \
    if (all == (TYPE)12345) sink[0] = 1;                                                            \
    if (threadIdx.x == 0) clocks[blockIdx.x] = (u64)(end - begin);                                  \
  }
INSTRUCTIONS(field_rate_lo, "mad.lo.u32 %0, %1, %2, %0;", u32, "r")
INSTRUCTIONS(field_rate_hi, "mad.hi.u32 %0, %1, %2, %0;", u32, "r")
INSTRUCTIONS(field_rate_add, "add.u32 %0, %0, %1; xor.b32 %0, %0, %2;", u32, "r")
INSTRUCTIONS(field_rate_fp64, "fma.rz.f64 %0, %1, %2, %0;", double, "d")
// A pair of halves, which the compiler joins to one IMAD.WIDE.
KERNEL(256, 8) field_rate_wide(u64 *clocks, u32 *sink, u32 rounds, u32 seed) {
  u32 low[8], high[8];
  u32 a = seed + threadIdx.x, b = seed * 3 + 1;
  UNROLL for (int k = 0; k < 8; k++) low[k] = high[k] = seed + k;
  __syncthreads();
  long long begin = clock64();
  ROLLED for (u32 r = 0; r < rounds; r++) {
    UNROLL for (int u = 0; u < 8; u++) {
      UNROLL for (int k = 0; k < 8; k++) {
        asm volatile("mad.lo.cc.u32 %0, %2, %3, %0;\n\tmadc.hi.u32 %1, %2, %3, %1;" : "+r"(low[k]), "+r"(high[k]) : "r"(a), "r"(b));
      }
    }
  }
  long long end = clock64();
  u32 all = 0;
  UNROLL for (int k = 0; k < 8; k++) all += low[k] ^ high[k];
  if (all == 12345) sink[0] = 1;
  if (threadIdx.x == 0) clocks[blockIdx.x] = (u64)(end - begin);
}
#else
// No rates, but what launches them can be tried.
#define INSTRUCTIONS(NAME)                                        \
  KERNEL(256, 8) NAME(u64 *clocks, u32 *, u32 rounds, u32) {      \
    if (threadIdx.x == 0) clocks[blockIdx.x] = rounds;            \
  }                                                               \
  EXPORT_STRAIGHT(NAME)
INSTRUCTIONS(field_rate_lo)
INSTRUCTIONS(field_rate_hi)
INSTRUCTIONS(field_rate_add)
INSTRUCTIONS(field_rate_fp64)
INSTRUCTIONS(field_rate_wide)
#endif
