// Transforms of scalars, and operations on vectors element by element.
#include "field.cuh"

// Chains (field.cuh) at the end of a number. TOP: without the carry, which is beyond the number. END: N limbs and one more, of whose product only the lower half is in the number, at AT[2N].
#define TOP1(AT, A, B) ASM(MAD_LO_CC(0, 2, 3, 0) MADC_HI(1, 2, 3, 1), (RW(AT[0]), RW(AT[1])), (RD(A[0]), RD(B)))
#define TOP2(AT, A, B)                                                                                           \
  ASM(MAD_LO_CC(0, 4, 6, 0) MADC_HI_CC(1, 4, 6, 1) MADC_LO_CC(2, 5, 6, 2) MADC_HI(3, 5, 6, 3),                   \
      (RW(AT[0]), RW(AT[1]), RW(AT[2]), RW(AT[3])), (RD(A[0]), RD(A[2]), RD(B)))
#define TOP3(AT, A, B)                                                                                           \
  ASM(MAD_LO_CC(0, 6, 9, 0) MADC_HI_CC(1, 6, 9, 1) MADC_LO_CC(2, 7, 9, 2) MADC_HI_CC(3, 7, 9, 3)                 \
          MADC_LO_CC(4, 8, 9, 4) MADC_HI(5, 8, 9, 5),                                                            \
      (RW(AT[0]), RW(AT[1]), RW(AT[2]), RW(AT[3]), RW(AT[4]), RW(AT[5])), (RD(A[0]), RD(A[2]), RD(A[4]), RD(B)))
#define TOP4(AT, A, B) ROW_ODD(AT, A[0], A[2], A[4], A[6], B)
#define END1(AT, A, B)                                                                                           \
  ASM(MAD_LO_CC(0, 3, 5, 0) MADC_HI_CC(1, 3, 5, 1) MADC_LO_CC(2, 4, 5, 2), (RW(AT[0]), RW(AT[1]), RW(AT[2])),    \
      (RD(A[0]), RD(A[2]), RD(B)))
#define END2(AT, A, B)                                                                                           \
  ASM(MAD_LO_CC(0, 5, 8, 0) MADC_HI_CC(1, 5, 8, 1) MADC_LO_CC(2, 6, 8, 2) MADC_HI_CC(3, 6, 8, 3)                 \
          MADC_LO_CC(4, 7, 8, 4),                                                                                \
      (RW(AT[0]), RW(AT[1]), RW(AT[2]), RW(AT[3]), RW(AT[4])), (RD(A[0]), RD(A[2]), RD(A[4]), RD(B)))
#define END3(AT, A, B)                                                                                           \
  ASM(MAD_LO_CC(0, 7, 11, 0) MADC_HI_CC(1, 7, 11, 1) MADC_LO_CC(2, 8, 11, 2) MADC_HI_CC(3, 8, 11, 3)             \
          MADC_LO_CC(4, 9, 11, 4) MADC_HI_CC(5, 9, 11, 5) MADC_LO_CC(6, 10, 11, 6),                              \
      (RW(AT[0]), RW(AT[1]), RW(AT[2]), RW(AT[3]), RW(AT[4]), RW(AT[5]), RW(AT[6])),                             \
      (RD(A[0]), RD(A[2]), RD(A[4]), RD(A[6]), RD(B)))

static DEVICE void top(u32 *at, const u32 *a, int n, u32 b) {
  if (n == 1) TOP1(at, a, b);
  if (n == 2) TOP2(at, a, b);
  if (n == 3) TOP3(at, a, b);
  if (n == 4) TOP4(at, a, b);
}
static DEVICE void end(u32 *at, const u32 *a, int n, u32 b) {
  if (n == 0) at[0] += a[0] * b;
  if (n == 1) END1(at, a, b);
  if (n == 2) END2(at, a, b);
  if (n == 3) END3(at, a, b);
}

// even + 2^32 * odd += a * b modulo 2^256.
static DEVICE void add_low(u32 *even, u32 *odd, const u32 *a, const u32 *b) {
  UNROLL for (int j = 0; j < 8; j++) {
    // Pairs of limbs begin at an even limb in `even`, at an odd one in `odd`: every second limb of a is for one of them.
    int first = j % 2;
    top(even + j + first, a + first, (8 - j - first) / 2, b[j]);
    end(odd + j - first, a + 1 - first, (6 - j + first) / 2, b[j]);
  }
}

// A constant factor, whose products need no Montgomery reduction (Shoup): w, not in Montgomery form, and floor(2^256 * w / p).
struct Root {
  static constexpr int WORDS = 16;
  const u32 *at;

  // x * w mod p, below 2p, for any x below 2^256 - 2^228; in Montgomery form where x is.
  //
  // q is x * quotient / 2^256 without the products of limbs whose indices have a sum below 6, less than 6.01 * 2^224 in all, so
  // that x * w - q * p lies between 0 and (1 + x / 2^256 + 2^-29) * p. That is below 2^256: the limbs above need not be computed.
  // All this is 107 multiplications, where a Montgomery product is 132.
  DEVICE Fr times(const Fr &x) const {
    Fr quotient = Fr::load(at + 8);
    u32 even[11] = {}, odd[9] = {};
    UNROLL for (int j = 0; j < 8; j++) {
      // Limbs 6 to 15 of the product stand in `even`, 7 to 15 in `odd`; i is the first limb of x for each.
      int i = j < 7 ? 6 - j : 1;
      chain(even + i + j - 6, x.words + i, (9 - i) / 2, quotient.words[j]);
      i = 7 - j;
      chain(odd + i + j - 7, x.words + i, (9 - i) / 2, quotient.words[j]);
    }
    u32 *q = even + 1;
    ASM(ADD_CC(0, 0, 9) ADDC_CC(1, 1, 10) ADDC_CC(2, 2, 11) ADDC_CC(3, 3, 12) ADDC_CC(4, 4, 13) ADDC_CC(5, 5, 14)
            ADDC_CC(6, 6, 15) ADDC_CC(7, 7, 16) ADDC(8, 8, 17),
        (RW(q[0]), RW(q[1]), RW(q[2]), RW(q[3]), RW(q[4]), RW(q[5]), RW(q[6]), RW(q[7]), RW(q[8])),
        (RD(odd[0]), RD(odd[1]), RD(odd[2]), RD(odd[3]), RD(odd[4]), RD(odd[5]), RD(odd[6]), RD(odd[7]), RD(odd[8])));
    Fr value = Fr::load(at), r = Fr::zero();
    u32 minus_p[8], low[7] = {};
    UNROLL for (int i = 0; i < 8; i++) minus_p[i] = i == 0 ? 0u - FrParameters::p(i) : ~FrParameters::p(i);
    add_low(r.words, low, x.words, value.words);
    add_low(r.words, low, q + 1, minus_p);
    u32 *w = r.words + 1;
    ASM(ADD_CC(0, 0, 7) ADDC_CC(1, 1, 8) ADDC_CC(2, 2, 9) ADDC_CC(3, 3, 10) ADDC_CC(4, 4, 11) ADDC_CC(5, 5, 12)
            ADDC(6, 6, 13),
        (RW(w[0]), RW(w[1]), RW(w[2]), RW(w[3]), RW(w[4]), RW(w[5]), RW(w[6])),
        (RD(low[0]), RD(low[1]), RD(low[2]), RD(low[3]), RD(low[4]), RD(low[5]), RD(low[6])));
    return r;
  }
};

// a - b + 2p, below 4p: for factors only.
static DEVICE Fr minus_unreduced(const Fr &a, const Fr &b) {
  Fr twice_p, r = Fr::zero();
  u32 borrow = 0;
  UNROLL for (int i = 0; i < 8; i++) twice_p.words[i] = FrParameters::p2(i);
  Fr raised = a.plus_unreduced(twice_p);
  SUB8(r.words, borrow, raised.words, b.words);
  return r;
}

static DEVICE u32 bits_reversed(u32 x, u32 n_bits) {
  x = (x & 0x55) << 1 | (x >> 1 & 0x55);
  x = (x & 0x33) << 2 | (x >> 2 & 0x33);
  return ((x & 0x0f) << 4 | x >> 4) >> (8 - n_bits);
}

// Four elements that a thread has of a block of R rows and T columns in shared memory: those of rows row, row + stride, … of one
// column.
struct Place {
  // Elements of a block at most. The lower halves are in one plane of this size, the upper halves in another, so that
  // neighbouring threads read neighbouring 16 bytes.
  static constexpr u32 ELEMENTS = 1024;
  u32 row, log_stride, column, log_columns;

  // In 2^log_transforms transforms of 2^log_length rows each: neighbouring threads have neighbouring columns, then the same
  // position in different transforms. So a warp has few positions, and the one without twiddle factors to itself where that saves
  // most.
  static DEVICE Place of(u32 thread, u32 log_columns, u32 log_transforms, u32 log_length) {
    u32 low = thread & ((1u << (log_transforms + log_columns)) - 1), position = thread >> (log_transforms + log_columns);
    u32 transform = low >> log_columns;
    return Place{(transform << log_length) + position, log_length - 2, low & ((1u << log_columns) - 1), log_columns};
  }

  // With four columns, eight threads read two rows at once, which differ in bit 0, 2, 4 or 6 of their numbers (R = 256): they are
  // in different banks when that changes bit 0 of the slot.
  DEVICE u32 slot(u32 q) const {
    u32 r = row + (q << log_stride);
    return ((r ^ ((r >> 2 ^ r >> 4 ^ r >> 6) & 1)) << log_columns) + column;
  }

  DEVICE void store(u32 q, const Fr &x) const {
    u32 at = slot(q);
    shared_memory[at] = uint4{x.words[0], x.words[1], x.words[2], x.words[3]};
    shared_memory[ELEMENTS + at] = uint4{x.words[4], x.words[5], x.words[6], x.words[7]};
  }
  DEVICE void load(Fr *x) const {
    UNROLL for (u32 q = 0; q < 4; q++) {
      u32 at = slot(q);
      uint4 low = shared_memory[at], high = shared_memory[ELEMENTS + at];
      x[q] = Fr{{low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w}};
    }
  }
};

// The transform of length 4, its outputs in the order 0, 2, 1, 3: the first below 2p, the others below 4p. `fourth` is a root of
// order 4.
static DEVICE void butterfly_4(Fr *x, const Root &fourth) {
  Fr turned = fourth.times(minus_unreduced(x[1], x[3]));
  Fr sum = x[1] + x[3], even = x[0] + x[2], odd = x[0] - x[2];
  x[0] = even + sum;
  x[1] = minus_unreduced(even, sum);
  x[2] = odd.plus_unreduced(turned);
  x[3] = minus_unreduced(odd, turned);
}

// One pass of a transform of n = 2^log_n elements (Stockham's: in natural order before the first pass and after the last), from
// `in` to `out`.
//
// P = 2^log_before is the product of the radices of the passes before, R = 2^log_rows, 4 <= R <= 256, the radix of this one.
// Element (i, j) of the input, i < R, is at i*(n/R) + j, where j = h*P + l, l < P; element (k, j) of the output goes to h*R*P +
// k*P + l. It is
//   y(k, j) = after[k] * sum over i of w_R^(i*k) * before[i*P + l] * x(i, j),
// with w_R^e = roots[e << log_stride] for e < 3*R/4; `before` and `after` are null for factors of 1. A block has T =
// 2^log_columns columns, R*T/4 threads, and shared memory for Place::ELEMENTS.
KERNEL(256, 3)
ntt_pass(u32 *out, const u32 *in, const u32 *before, const u32 *after, const u32 *roots, u32 log_n, u32 log_before, u32 log_rows,
         u32 log_columns, u32 log_stride) {
  u32 quarter = 1u << (log_rows - 2);
  Fr x[4];
  {
    u32 row = threadIdx.x >> log_columns;
    u32 j = (blockIdx.x << log_columns) + (threadIdx.x & ((1u << log_columns) - 1)), l = j & ((1u << log_before) - 1);
    UNROLL for (u32 q = 0; q < 4; q++) x[q] = Fr::load(in + 8 * (((row + q * quarter) << (log_n - log_rows)) + j));
    if (before) {
      UNROLL for (u32 q = 0; q < 4; q++) x[q] = Fr::load(before + 8 * (((row + q * quarter) << log_before) + l)) * x[q];
    }
  }

  // Decimation in frequency: a transform of length L lies in L neighbouring rows, and becomes four of a quarter of that, for
  // outputs 0, 2, 1, 3 modulo 4; in the end row b has the output whose index is b with its bits reversed. A thread writes where
  // only it has read, so that a step needs one barrier.
  u32 log_length = log_rows;
  ROLLED for (;; log_length -= 2) {
    if (log_length == 1) {
      UNROLL for (u32 q = 0; q < 4; q += 2) {
        Fr difference = minus_unreduced(x[q], x[q + 1]);
        x[q] = x[q].plus_unreduced(x[q + 1]);
        x[q + 1] = difference;
      }
      break;
    }
    butterfly_4(x, Root{roots + Root::WORDS * (quarter << log_stride)});
    if (log_length == 2) break;
    u32 log_transforms = log_rows - log_length;
    Place place = Place::of(threadIdx.x, log_columns, log_transforms, log_length);
    u32 position = threadIdx.x >> (log_transforms + log_columns);
    place.store(0, x[0]);
    u32 step = position << (log_transforms + log_stride);
    UNROLL for (u32 q = 1; q < 4; q++) {
      if (position == 0) {
        place.store(q, x[q].below_2p());
      } else {
        place.store(q, Root{roots + Root::WORDS * ((q == 1 ? 2 : q == 2 ? 1 : 3) * step)}.times(x[q]));
      }
    }
    __syncthreads();
    u32 log_next = log_length > 3 ? log_length - 2 : 2;
    Place::of(threadIdx.x, log_columns, log_rows - log_next, log_next).load(x);
  }
  u32 reversed = bits_reversed(threadIdx.x >> log_columns, log_rows - 2);
  u32 j = (blockIdx.x << log_columns) + (threadIdx.x & ((1u << log_columns) - 1)), l = j & ((1u << log_before) - 1);
  u32 *to = out + 8 * (((j - l) << log_rows) + l);
  UNROLL for (u32 q = 0; q < 4; q++) {
    // Rows 4b, 4b + 1, …: outputs whose two highest bits are 00, 10, 01, 11.
    u32 k = (q & 1 ? 2 * quarter : 0) + (q & 2 ? quarter : 0) + reversed;
    Fr y = x[q].below_2p();
    if (after) y = Fr::load(after + 8 * k) * y;
    y.canonical().store(to + 8 * (k << log_before));
  }
}
EXPORT(ntt_pass)

// The transform of two elements, by one thread: out[k] = after[k] * (before[0] * in[0] + (-1)^k * before[1] * in[1]).
KERNEL(32, 1) ntt_pair(u32 *out, const u32 *in, const u32 *before, const u32 *after) {
  if (thread_index() != 0) return;
  Fr x = Fr::load(in), y = Fr::load(in + 8);
  if (before) x = x * Fr::load(before), y = y * Fr::load(before + 8);
  Fr sum = x + y, difference = x - y;
  if (after) sum = sum * Fr::load(after), difference = difference * Fr::load(after + 8);
  sum.canonical().store(out);
  difference.canonical().store(out + 8);
}
EXPORT(ntt_pair)

// x * base^exponent, where squares[k] = base^(2^k); null: base = 1.
static DEVICE Fr times_power(Fr x, const u32 *squares, u32 exponent) {
  if (!squares) return x;
  ROLLED for (; exponent != 0; exponent >>= 1, squares += 8) {
    if (exponent & 1) x = x * Fr::load(squares);
  }
  return x;
}

// out[i*P + l] = scale * root^(i*l) * row^i * column^l, P = 2^log_before, for n elements in all; n <= 2^28 and root^n = 1. The
// bases are lists of their powers with exponents 1, 2, 4, …, or null for 1.
KERNEL(256, 4)
ntt_factors(u32 *out, const u32 *root, const u32 *row, const u32 *column, Element scale, u32 log_before, u32 n) {
  u32 index = thread_index();
  if (index >= n) return;
  u32 i = index >> log_before, l = index & ((1u << log_before) - 1);
  Fr factor = times_power(Fr::of(scale), root, i * l);
  factor = times_power(factor, row, i);
  times_power(factor, column, l).canonical().store(out + 8 * index);
}
EXPORT(ntt_factors)

// a = (a * b - c) * scale.
KERNEL(256, 4) vector_mul_sub_scale(u32 *a, const u32 *b, const u32 *c, Element scale, u32 n) {
  u32 i = thread_index();
  if (i >= n) return;
  Fr product = Fr::load(a + 8 * i) * Fr::load(b + 8 * i);
  (minus_unreduced(product, Fr::load(c + 8 * i)) * Fr::of(scale)).canonical().store(a + 8 * i);
}
EXPORT(vector_mul_sub_scale)

// a = a * b.
KERNEL(256, 4) vector_mul(u32 *a, const u32 *b, u32 n) {
  u32 i = thread_index();
  if (i < n) (Fr::load(a + 8 * i) * Fr::load(b + 8 * i)).canonical().store(a + 8 * i);
}
EXPORT(vector_mul)
