// The two prime fields of BN254 in Montgomery form, R = 2^256, as eight 32-bit limbs: the words of arkworks.
//
// Elements are lazily reduced: every function takes and gives values below 2p unless it says otherwise, and `canonical` gives the one below p.
// 2^256/p > 5.28, so a sum of two such values fits, and (2p)^2/2^256 + p < 2p. A product adds rows of a limb times every second limb, in two
// accumulators one limb apart, so that the halves of a product are neighbours of a 64-bit word: the compiler joins them to one IMAD.WIDE.
#pragma once
#include "platform.cuh"

#define FIELD_CONSTANTS(NAME, ...)                  \
  static DEVICE constexpr u32 NAME(int limb) {      \
    constexpr u32 words[8] = {__VA_ARGS__};         \
    return words[limb];                             \
  }

// The field of coordinates.
struct FqParameters {
  FIELD_CONSTANTS(p, 0xd87cfd47, 0x3c208c16, 0x6871ca8d, 0x97816a91, 0x8181585d, 0xb85045b6, 0xe131a029, 0x30644e72)
  FIELD_CONSTANTS(p2, 0xb0f9fa8e, 0x7841182d, 0xd0e3951a, 0x2f02d522, 0x0302b0bb, 0x70a08b6d, 0xc2634053, 0x60c89ce5)
  FIELD_CONSTANTS(one, 0xc58f0d9d, 0xd35d438d, 0xf5c70b3d, 0x0a78eb28, 0x7879462c, 0x666ea36f, 0x9a07df2f, 0x0e0a77c1)
  // -1/p mod 2^32.
  static constexpr u32 inverse = 0xe4866389;
};

// The field of scalars.
struct FrParameters {
  FIELD_CONSTANTS(p, 0xf0000001, 0x43e1f593, 0x79b97091, 0x2833e848, 0x8181585d, 0xb85045b6, 0xe131a029, 0x30644e72)
  FIELD_CONSTANTS(p2, 0xe0000002, 0x87c3eb27, 0xf372e122, 0x5067d090, 0x0302b0ba, 0x70a08b6d, 0xc2634053, 0x60c89ce5)
  FIELD_CONSTANTS(one, 0x4ffffffb, 0xac96341c, 0x9f60cd29, 0x36fc7695, 0x7879462e, 0x666ea36f, 0x9a07df2f, 0x0e0a77c1)
  static constexpr u32 inverse = 0xefffffff;
};

// (X, Y) += (A0 A2 A4 A6, A1 A3 A5 A7) * B, where Y stands one limb higher. No carry leaves Y: the sums stay below 2^256 + 2^32.
#define ROW_EVEN(X, Y, A0, A2, A4, A6, B)                                                                        \
  ASM(MAD_LO_CC(0, 9, 13, 0) MADC_HI_CC(1, 9, 13, 1) MADC_LO_CC(2, 10, 13, 2) MADC_HI_CC(3, 10, 13, 3)           \
          MADC_LO_CC(4, 11, 13, 4) MADC_HI_CC(5, 11, 13, 5) MADC_LO_CC(6, 12, 13, 6) MADC_HI_CC(7, 12, 13, 7)    \
              CARRY(8, 8),                                                                                       \
      (RW(X[0]), RW(X[1]), RW(X[2]), RW(X[3]), RW(X[4]), RW(X[5]), RW(X[6]), RW(X[7]), RW(Y[7])),                \
      (RD(A0), RD(A2), RD(A4), RD(A6), RD(B)))
#define ROW_ODD(Y, A1, A3, A5, A7, B)                                                                            \
  ASM(MAD_LO_CC(0, 8, 12, 0) MADC_HI_CC(1, 8, 12, 1) MADC_LO_CC(2, 9, 12, 2) MADC_HI_CC(3, 9, 12, 3)             \
          MADC_LO_CC(4, 10, 12, 4) MADC_HI_CC(5, 10, 12, 5) MADC_LO_CC(6, 11, 12, 6) MADC_HI(7, 11, 12, 7),      \
      (RW(Y[0]), RW(Y[1]), RW(Y[2]), RW(Y[3]), RW(Y[4]), RW(Y[5]), RW(Y[6]), RW(Y[7])),                          \
      (RD(A1), RD(A3), RD(A5), RD(A7), RD(B)))
// One limb down: the lowest limb of Y is zero and goes; X is even now, Y becomes odd, and takes A1 A3 A5 A7 * B on the way.
#define ROW_SHIFT(X, Y, A1, A3, A5, A7, B)                                                                       \
  ASM(ADD_CC(0, 0, 2) MADC_LO_CC(1, 9, 13, 3) MADC_HI_CC(2, 9, 13, 4) MADC_LO_CC(3, 10, 13, 5)                   \
          MADC_HI_CC(4, 10, 13, 6) MADC_LO_CC(5, 11, 13, 7) MADC_HI_CC(6, 11, 13, 8) MULC_LO_CC(7, 12, 13)       \
              MULC_HI(8, 12, 13),                                                                                \
      (RW(X[0]), RW(Y[0]), RW(Y[1]), RW(Y[2]), RW(Y[3]), RW(Y[4]), RW(Y[5]), RW(Y[6]), RW(Y[7])),                \
      (RD(A1), RD(A3), RD(A5), RD(A7), RD(B)))
// The same with nothing to take.
#define SHIFT(X, Y)                                                                                              \
  ASM(ADD_CC(0, 0, 2) CARRY_CC(1, 3) CARRY_CC(2, 4) CARRY_CC(3, 5) CARRY_CC(4, 6) CARRY_CC(5, 7) CARRY_CC(6, 8)  \
          SET_CARRY(7),                                                                                          \
      (RW(X[0]), RW(Y[0]), RW(Y[1]), RW(Y[2]), RW(Y[3]), RW(Y[4]), RW(Y[5]), RW(Y[6]), RW(Y[7])), ())

// R = A + B of eight limbs, without a carry out.
#define ADD8(R, A, B)                                                                                            \
  ASM(ADD_CC(0, 8, 16) ADDC_CC(1, 9, 17) ADDC_CC(2, 10, 18) ADDC_CC(3, 11, 19) ADDC_CC(4, 12, 20)                \
          ADDC_CC(5, 13, 21) ADDC_CC(6, 14, 22) ADDC(7, 15, 23),                                                 \
      (RW(R[0]), RW(R[1]), RW(R[2]), RW(R[3]), RW(R[4]), RW(R[5]), RW(R[6]), RW(R[7])),                          \
      (RD(A[0]), RD(A[1]), RD(A[2]), RD(A[3]), RD(A[4]), RD(A[5]), RD(A[6]), RD(A[7]), RD(B[0]), RD(B[1]),       \
       RD(B[2]), RD(B[3]), RD(B[4]), RD(B[5]), RD(B[6]), RD(B[7])))
// R = A - B of eight limbs; BORROW is 0, or 2^32 - 1 where B > A.
#define SUB8(R, BORROW, A, B)                                                                                    \
  ASM(SUB_CC(0, 9, 17) SUBC_CC(1, 10, 18) SUBC_CC(2, 11, 19) SUBC_CC(3, 12, 20) SUBC_CC(4, 13, 21)               \
          SUBC_CC(5, 14, 22) SUBC_CC(6, 15, 23) SUBC_CC(7, 16, 24) SET_BORROW(8),                                \
      (RW(R[0]), RW(R[1]), RW(R[2]), RW(R[3]), RW(R[4]), RW(R[5]), RW(R[6]), RW(R[7]), RW(BORROW)),              \
      (RD(A[0]), RD(A[1]), RD(A[2]), RD(A[3]), RD(A[4]), RD(A[5]), RD(A[6]), RD(A[7]), RD(B[0]), RD(B[1]),       \
       RD(B[2]), RD(B[3]), RD(B[4]), RD(B[5]), RD(B[6]), RD(B[7])))

// AT[0..2N] += (A[0] A[2] …) * B, N limbs of A, and the carry to AT[2N].
#define CHAIN1(AT, A, B)                                                                                         \
  ASM(MAD_LO_CC(0, 3, 4, 0) MADC_HI_CC(1, 3, 4, 1) CARRY(2, 2), (RW(AT[0]), RW(AT[1]), RW(AT[2])), (RD(A[0]), RD(B)))
#define CHAIN2(AT, A, B)                                                                                         \
  ASM(MAD_LO_CC(0, 5, 7, 0) MADC_HI_CC(1, 5, 7, 1) MADC_LO_CC(2, 6, 7, 2) MADC_HI_CC(3, 6, 7, 3) CARRY(4, 4),    \
      (RW(AT[0]), RW(AT[1]), RW(AT[2]), RW(AT[3]), RW(AT[4])), (RD(A[0]), RD(A[2]), RD(B)))
#define CHAIN3(AT, A, B)                                                                                         \
  ASM(MAD_LO_CC(0, 7, 10, 0) MADC_HI_CC(1, 7, 10, 1) MADC_LO_CC(2, 8, 10, 2) MADC_HI_CC(3, 8, 10, 3)             \
          MADC_LO_CC(4, 9, 10, 4) MADC_HI_CC(5, 9, 10, 5) CARRY(6, 6),                                           \
      (RW(AT[0]), RW(AT[1]), RW(AT[2]), RW(AT[3]), RW(AT[4]), RW(AT[5]), RW(AT[6])),                             \
      (RD(A[0]), RD(A[2]), RD(A[4]), RD(B)))
#define CHAIN4(AT, A, B)                                                                                         \
  ASM(MAD_LO_CC(0, 9, 13, 0) MADC_HI_CC(1, 9, 13, 1) MADC_LO_CC(2, 10, 13, 2) MADC_HI_CC(3, 10, 13, 3)           \
          MADC_LO_CC(4, 11, 13, 4) MADC_HI_CC(5, 11, 13, 5) MADC_LO_CC(6, 12, 13, 6) MADC_HI_CC(7, 12, 13, 7)    \
              CARRY(8, 8),                                                                                       \
      (RW(AT[0]), RW(AT[1]), RW(AT[2]), RW(AT[3]), RW(AT[4]), RW(AT[5]), RW(AT[6]), RW(AT[7]), RW(AT[8])),       \
      (RD(A[0]), RD(A[2]), RD(A[4]), RD(A[6]), RD(B)))

// The same for n from 1 to 4.
static DEVICE void chain(u32 *at, const u32 *a, int n, u32 b) {
  if (n == 1) CHAIN1(at, a, b);
  if (n == 2) CHAIN2(at, a, b);
  if (n == 3) CHAIN3(at, a, b);
  if (n == 4) CHAIN4(at, a, b);
}
// A number below 2^512, not reduced.
struct Wide {
  u32 words[16];
};

template <class P>
struct Fp {
  u32 words[8];

  static DEVICE Fp zero() { return Fp{{0, 0, 0, 0, 0, 0, 0, 0}}; }

  static DEVICE Fp one() {
    Fp r;
    UNROLL for (int i = 0; i < 8; i++) r.words[i] = P::one(i);
    return r;
  }

  static DEVICE Fp of(const Element &element) {
    Fp r;
    UNROLL for (int i = 0; i < 8; i++) r.words[i] = element.words[i];
    return r;
  }

  // Of the words of a canonical element at a multiple of 16 bytes.
  static DEVICE Fp load(const u32 *at) {
    const uint4 *quads = (const uint4 *)at;
    uint4 low = quads[0], high = quads[1];
    return Fp{{low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w}};
  }

  DEVICE void store(u32 *at) const {
    uint4 *quads = (uint4 *)at;
    quads[0] = uint4{words[0], words[1], words[2], words[3]};
    quads[1] = uint4{words[4], words[5], words[6], words[7]};
  }

  // Of a value below 4p.
  DEVICE Fp below_2p() const {
    u32 bound[8];
    UNROLL for (int i = 0; i < 8; i++) bound[i] = P::p2(i);
    return less_once(bound);
  }

  DEVICE Fp canonical() const {
    u32 bound[8];
    UNROLL for (int i = 0; i < 8; i++) bound[i] = P::p(i);
    return less_once(bound);
  }

  DEVICE bool is_zero() const {
    u32 any = 0, differs = 0;
    UNROLL for (int i = 0; i < 8; i++) {
      any |= words[i];
      differs |= words[i] ^ P::p(i);
    }
    return any == 0 || differs == 0;
  }

  // Below 4p: for factors only.
  DEVICE Fp plus_unreduced(const Fp &other) const {
    Fp sum = zero();
    ADD8(sum.words, words, other.words);
    return sum;
  }

  DEVICE Fp operator+(const Fp &other) const { return plus_unreduced(other).below_2p(); }

  DEVICE Fp operator-(const Fp &other) const {
    Fp difference = zero();
    u32 borrow = 0, back[8];
    SUB8(difference.words, borrow, words, other.words);
    UNROLL for (int i = 0; i < 8; i++) back[i] = P::p2(i) & borrow;
    Fp r = zero();
    ADD8(r.words, difference.words, back);
    return r;
  }

  DEVICE Fp doubled() const { return *this + *this; }
  DEVICE Fp negated() const { return zero() - *this; }

  // a * b / 2^256 mod p, for a < 5p and b < 2^256 with a*b < 2^256 * p: below 2p.
  DEVICE Fp operator*(const Fp &b) const {
    const u32 *a = words;
    u32 x[8], y[8];
    UNROLL for (int i = 0; i < 8; i += 2) {
      u64 low = (u64)a[i] * b.words[0], high = (u64)a[i + 1] * b.words[0];
      x[i] = (u32)low, x[i + 1] = (u32)(low >> 32);
      y[i] = (u32)high, y[i + 1] = (u32)(high >> 32);
    }
    reduce_row(x, y);
    UNROLL for (int i = 1; i < 8; i += 2) {
      product_row(y, x, a, b.words[i]);
      if (i < 7) product_row(x, y, a, b.words[i + 1]);
    }
    return joined(y, x);
  }

  DEVICE Fp squared() const { return reduce(square_wide()); }

  // a*b - c*d with one reduction; below 2p.
  static DEVICE Fp product_difference(const Fp &a, const Fp &b, const Fp &c, const Fp &d) {
    return reduce(difference(a.times_wide(b), c.times_wide(d)));
  }

  // The product as an integer, for factors below 2^256.
  DEVICE Wide times_wide(const Fp &b) const {
    // Products of limbs whose indices have an even sum, and of those that have an odd one: `odd` stands one limb higher.
    u32 even[16], odd[16];
    const u32 *a = words;
    UNROLL for (int i = 0; i < 8; i += 2) {
      u64 low = (u64)a[i] * b.words[0], high = (u64)a[i + 1] * b.words[0];
      even[i] = (u32)low, even[i + 1] = (u32)(low >> 32);
      odd[i] = (u32)high, odd[i + 1] = (u32)(high >> 32);
    }
    UNROLL for (int i = 8; i < 16; i++) even[i] = odd[i] = 0;
    UNROLL for (int j = 1; j < 8; j++) {
      // Rows begin at limb j; with an odd j the even limbs of a meet `odd`.
      if (j % 2 == 1) {
        chain(odd + j - 1, a, 4, b.words[j]);
        if (j < 7) {
          chain(even + j + 1, a + 1, 4, b.words[j]);
        } else {
          ROW_ODD((even + 8), a[1], a[3], a[5], a[7], b.words[j]);
        }
      } else {
        chain(even + j, a, 4, b.words[j]);
        chain(odd + j, a + 1, 4, b.words[j]);
      }
    }
    return wide_joined(even, odd);
  }

  DEVICE Wide square_wide() const {
    const u32 *a = words;
    // Twice the products of different limbs, then the squares.
    u32 even[16], odd[16];
    UNROLL for (int i = 0; i < 16; i++) even[i] = odd[i] = 0;
    UNROLL for (int i = 0; i < 7; i++) {
      // a[i] * a[j], j = i + 1, i + 3, …: an odd sum of indices; `odd` stands one limb higher.
      chain(odd + 2 * i, a + i + 1, (8 - i) / 2, a[i]);
      // j = i + 2, i + 4, …
      if (i < 6) chain(even + 2 * i + 2, a + i + 2, (7 - i) / 2, a[i]);
    }
    Wide products = wide_joined(even, odd);
    Wide r;
    UNROLL for (int i = 15; i > 0; i--) r.words[i] = products.words[i] << 1 | products.words[i - 1] >> 31;
    r.words[0] = 0;
    u32 *w = r.words;
    ASM(MAD_LO_CC(0, 16, 16, 0) MADC_HI_CC(1, 16, 16, 1) MADC_LO_CC(2, 17, 17, 2) MADC_HI_CC(3, 17, 17, 3)
            MADC_LO_CC(4, 18, 18, 4) MADC_HI_CC(5, 18, 18, 5) MADC_LO_CC(6, 19, 19, 6) MADC_HI_CC(7, 19, 19, 7)
                MADC_LO_CC(8, 20, 20, 8) MADC_HI_CC(9, 20, 20, 9) MADC_LO_CC(10, 21, 21, 10)
                    MADC_HI_CC(11, 21, 21, 11) MADC_LO_CC(12, 22, 22, 12) MADC_HI_CC(13, 22, 22, 13)
                        MADC_LO_CC(14, 23, 23, 14) MADC_HI(15, 23, 23, 15),
        (RW(w[0]), RW(w[1]), RW(w[2]), RW(w[3]), RW(w[4]), RW(w[5]), RW(w[6]), RW(w[7]), RW(w[8]), RW(w[9]), RW(w[10]),
         RW(w[11]), RW(w[12]), RW(w[13]), RW(w[14]), RW(w[15])),
        (RD(a[0]), RD(a[1]), RD(a[2]), RD(a[3]), RD(a[4]), RD(a[5]), RD(a[6]), RD(a[7])));
    return r;
  }

  // a - b, where a and b are below 4p^2, as an integer that is a - b modulo 2^256 * p and below 2^256 * p.
  static DEVICE Wide difference(const Wide &a, const Wide &b) {
    Wide r = minus(a, b);
    u32 *high = r.words + 8;
    // Of the sign that `minus` lost: |a - b| < 2^256 * p, so that the top limb tells.
    u32 borrow = 0u - (high[7] >> 31), back[8], sum[8] = {};
    UNROLL for (int i = 0; i < 8; i++) back[i] = P::p(i) & borrow;
    ADD8(sum, high, back);
    UNROLL for (int i = 0; i < 8; i++) high[i] = sum[i];
    return r;
  }

  // a - b modulo 2^512.
  static DEVICE Wide minus(const Wide &a, const Wide &b) {
    Wide r;
    u32 borrow = 0;
    UNROLL for (int i = 0; i < 16; i++) r.words[i] = 0;
    SUB8(r.words, borrow, a.words, b.words);
    const u32 *high_a = a.words + 8, *high_b = b.words + 8;
    u32 *high = r.words + 8;
    u32 one = borrow & 1;
    ASM(SUB_CC(0, 0, 24) SUBC_CC(0, 8, 16) SUBC_CC(1, 9, 17) SUBC_CC(2, 10, 18) SUBC_CC(3, 11, 19) SUBC_CC(4, 12, 20)
            SUBC_CC(5, 13, 21) SUBC_CC(6, 14, 22) SUBC_CC(7, 15, 23),
        (RW(high[0]), RW(high[1]), RW(high[2]), RW(high[3]), RW(high[4]), RW(high[5]), RW(high[6]), RW(high[7])),
        (RD(high_a[0]), RD(high_a[1]), RD(high_a[2]), RD(high_a[3]), RD(high_a[4]), RD(high_a[5]), RD(high_a[6]),
         RD(high_a[7]), RD(high_b[0]), RD(high_b[1]), RD(high_b[2]), RD(high_b[3]), RD(high_b[4]), RD(high_b[5]),
         RD(high_b[6]), RD(high_b[7]), RD(one)));
    return r;
  }

  // a / 2^256 mod p: below p plus the upper half of a, which must be below 2^256 - p.
  static DEVICE Fp reduce(const Wide &a) {
    u32 x[8], y[8];
    UNROLL for (int i = 0; i < 8; i++) x[i] = a.words[i], y[i] = 0;
    reduce_row(x, y);
    UNROLL for (int i = 1; i < 8; i += 2) {
      shift(y, x);
      reduce_row(y, x);
      if (i < 7) {
        shift(x, y);
        reduce_row(x, y);
      }
    }
    Fp low = joined(y, x), r = zero();
    const u32 *high = a.words + 8;
    ADD8(r.words, low.words, high);
    return r;
  }

  // 1/a, or 0 for 0: a^(p - 2).
  COLD Fp inverse() const {
    Fp r = one();
    ROLLED for (int bit = 253; bit >= 0; bit--) {
      r = r.squared();
      u32 word = 0;
      // p - 2 has the words of p but for the lowest.
      UNROLL for (int i = 0; i < 8; i++) word = i == bit / 32 ? P::p(i) - (i == 0 ? 2 : 0) : word;
      if (word >> bit % 32 & 1) r = r * *this;
    }
    return r;
  }

 private:
  // The value, or the value minus `bound` where it is not below that.
  DEVICE Fp less_once(const u32 *bound) const {
    Fp less = zero();
    u32 borrow = 0;
    SUB8(less.words, borrow, words, bound);
    UNROLL for (int i = 0; i < 8; i++) less.words[i] = borrow ? words[i] : less.words[i];
    return less;
  }

  // Adds the multiple of p that makes the lowest limb zero.
  static DEVICE void reduce_row(u32 *x, u32 *y) {
    u32 m = x[0] * P::inverse;
    ROW_ODD(y, P::p(1), P::p(3), P::p(5), P::p(7), m);
    ROW_EVEN(x, y, P::p(0), P::p(2), P::p(4), P::p(6), m);
  }

  // One limb down: x is even now.
  static DEVICE void shift(u32 *x, u32 *y) {
    SHIFT(x, y);
    y[7] = 0;
  }

  static DEVICE void product_row(u32 *x, u32 *y, const u32 *a, u32 b) {
    ROW_SHIFT(x, y, a[1], a[3], a[5], a[7], b);
    ROW_EVEN(x, y, a[0], a[2], a[4], a[6], b);
    reduce_row(x, y);
  }

  // After the last row, whose lowest limb is zero: y plus the rest of x.
  static DEVICE Fp joined(const u32 *x, const u32 *y) {
    Fp r = zero();
    u32 rest[8] = {x[1], x[2], x[3], x[4], x[5], x[6], x[7], 0};
    ADD8(r.words, y, rest);
    return r;
  }

  // even + 2^32 * odd.
  static DEVICE Wide wide_joined(const u32 *even, const u32 *odd) {
    Wide r;
    UNROLL for (int i = 0; i < 16; i++) r.words[i] = even[i];
    u32 *w = r.words + 1;
    ASM(ADD_CC(0, 0, 15) ADDC_CC(1, 1, 16) ADDC_CC(2, 2, 17) ADDC_CC(3, 3, 18) ADDC_CC(4, 4, 19) ADDC_CC(5, 5, 20)
            ADDC_CC(6, 6, 21) ADDC_CC(7, 7, 22) ADDC_CC(8, 8, 23) ADDC_CC(9, 9, 24) ADDC_CC(10, 10, 25)
                ADDC_CC(11, 11, 26) ADDC_CC(12, 12, 27) ADDC_CC(13, 13, 28) ADDC(14, 14, 29),
        (RW(w[0]), RW(w[1]), RW(w[2]), RW(w[3]), RW(w[4]), RW(w[5]), RW(w[6]), RW(w[7]), RW(w[8]), RW(w[9]), RW(w[10]),
         RW(w[11]), RW(w[12]), RW(w[13]), RW(w[14])),
        (RD(odd[0]), RD(odd[1]), RD(odd[2]), RD(odd[3]), RD(odd[4]), RD(odd[5]), RD(odd[6]), RD(odd[7]), RD(odd[8]),
         RD(odd[9]), RD(odd[10]), RD(odd[11]), RD(odd[12]), RD(odd[13]), RD(odd[14])));
    return r;
  }
};

using Fq = Fp<FqParameters>;
using Fr = Fp<FrParameters>;
