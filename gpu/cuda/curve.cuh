// The quadratic extension and points of G1 and G2: affine ones as they lie in a key, and sums in XYZZ coordinates
// (x = X/ZZ, y = Y/ZZZ, ZZ^3 = ZZZ^2; infinity is ZZ = 0; formulas of the Explicit-Formulas Database, "xyzz", for a = 0).
#pragma once
#include "field.cuh"

// Fq[u]/(u^2 + 1).
struct Fq2 {
  Fq c0, c1;

  static constexpr int WORDS = 16;
  static DEVICE Fq2 zero() { return Fq2{Fq::zero(), Fq::zero()}; }
  static DEVICE Fq2 one() { return Fq2{Fq::one(), Fq::zero()}; }
  static DEVICE Fq2 load(const u32 *at) { return Fq2{Fq::load(at), Fq::load(at + 8)}; }
  DEVICE void store(u32 *at) const {
    c0.store(at);
    c1.store(at + 8);
  }
  DEVICE Fq2 canonical() const { return Fq2{c0.canonical(), c1.canonical()}; }
  DEVICE bool is_zero() const { return c0.is_zero() && c1.is_zero(); }
  DEVICE Fq2 operator+(const Fq2 &other) const { return Fq2{c0 + other.c0, c1 + other.c1}; }
  DEVICE Fq2 operator-(const Fq2 &other) const { return Fq2{c0 - other.c0, c1 - other.c1}; }
  DEVICE Fq2 doubled() const { return Fq2{c0.doubled(), c1.doubled()}; }
  DEVICE Fq2 negated() const { return Fq2{c0.negated(), c1.negated()}; }

  // c0 = a0*b0 - a1*b1, c1 = a0*b1 + a1*b0, by three products and two reductions.
  DEVICE Fq2 operator*(const Fq2 &b) const {
    Wide low = c0.times_wide(b.c0), high = c1.times_wide(b.c1);
    // (a0 + a1)(b0 + b1) < 16p^2 < 2^512.
    Wide all = c0.plus_unreduced(c1).times_wide(b.c0.plus_unreduced(b.c1));
    Wide middle = Fq::minus(Fq::minus(all, low), high);
    // middle < 8p^2, whose upper half is below 1.52p: below 2.52p after the reduction.
    return Fq2{Fq::reduce(Fq::difference(low, high)), Fq::reduce(middle).below_2p()};
  }

  // (a0 + a1)(a0 - a1), 2*a0*a1.
  DEVICE Fq2 squared() const {
    Fq product = c0 * c1;
    return Fq2{(c0 + c1) * (c0 - c1), product.doubled()};
  }

  static DEVICE Fq2 product_difference(const Fq2 &a, const Fq2 &b, const Fq2 &c, const Fq2 &d) { return a * b - c * d; }

  DEVICE Fq2 inverse() const {
    Fq norm = (c0.squared() + c1.squared()).inverse();
    return Fq2{c0 * norm, c1.negated() * norm};
  }
};

// The field of a group's coordinates and the words of one.
struct G1 {
  using F = Fq;
  static constexpr int WORDS = 8;
};
struct G2 {
  using F = Fq2;
  static constexpr int WORDS = 16;
};

// x, y as in a key: canonical words; both zero for infinity, which is on neither curve.
template <class C>
struct Affine {
  using F = typename C::F;
  static constexpr int WORDS = 2 * C::WORDS;
  F x, y;

  static DEVICE Affine load(const u32 *at) { return Affine{F::load(at), F::load(at + C::WORDS)}; }
  DEVICE void store(u32 *at) const {
    x.canonical().store(at);
    y.canonical().store(at + C::WORDS);
  }
  DEVICE bool is_infinite() const { return x.is_zero() && y.is_zero(); }
};

template <class C>
struct Xyzz {
  using F = typename C::F;
  static constexpr int WORDS = 4 * C::WORDS;
  F x, y, zz, zzz;

  static DEVICE Xyzz infinity() { return Xyzz{F::zero(), F::zero(), F::zero(), F::zero()}; }

  static DEVICE Xyzz of(const Affine<C> &point) {
    if (point.is_infinite()) return infinity();
    return Xyzz{point.x, point.y, F::one(), F::one()};
  }

  static DEVICE Xyzz load(const u32 *at) {
    return Xyzz{F::load(at), F::load(at + C::WORDS), F::load(at + 2 * C::WORDS), F::load(at + 3 * C::WORDS)};
  }

  // Not canonical: below 2p.
  DEVICE void store(u32 *at) const {
    x.store(at);
    y.store(at + C::WORDS);
    zz.store(at + 2 * C::WORDS);
    zzz.store(at + 3 * C::WORDS);
  }

  DEVICE bool is_infinite() const { return zz.is_zero(); }

  // "mdbl-2008-s-1". Of a point of order two ZZ becomes zero, as it must.
  static COLD Xyzz twice(const Affine<C> &p) {
    F u = p.y.doubled(), v = u.squared(), w = u * v, s = p.x * v, xx = p.x.squared();
    F m = xx.doubled() + xx;
    F x = m.squared() - s.doubled();
    return Xyzz{x, F::product_difference(m, s - x, w, p.y), v, w};
  }

  // "dbl-2008-s-1".
  COLD Xyzz doubled() const {
    F u = y.doubled(), v = u.squared(), w = u * v, s = x * v, xx = x.squared();
    F m = xx.doubled() + xx;
    F x3 = m.squared() - s.doubled();
    return Xyzz{x3, F::product_difference(m, s - x3, w, y), v * zz, w * zzz};
  }

  // "madd-2008-s", complete: `point` may be infinite, equal or opposite.
  DEVICE void add(const Affine<C> &point) {
    if (point.is_infinite()) return;
    if (is_infinite()) {
      *this = Xyzz{point.x, point.y, F::one(), F::one()};
      return;
    }
    F p = point.x * zz - x, r = point.y * zzz - y;
    if (p.is_zero()) {
      *this = r.is_zero() ? twice(point) : infinity();
      return;
    }
    F pp = p.squared(), ppp = p * pp, q = x * pp;
    x = r.squared() - ppp - q.doubled();
    y = F::product_difference(r, q - x, y, ppp);
    zz = zz * pp;
    zzz = zzz * ppp;
  }

  // "add-2008-s", complete.
  COLD void add(const Xyzz &other) {
    if (other.is_infinite()) return;
    if (is_infinite()) {
      *this = other;
      return;
    }
    F u = x * other.zz, s = y * other.zzz;
    F p = other.x * zz - u, r = other.y * zzz - s;
    if (p.is_zero()) {
      *this = r.is_zero() ? other.doubled() : infinity();
      return;
    }
    F pp = p.squared(), ppp = p * pp, q = u * pp;
    x = r.squared() - ppp - q.doubled();
    y = F::product_difference(r, q - x, s, ppp);
    zz = zz * other.zz * pp;
    zzz = zzz * other.zzz * ppp;
  }
};
