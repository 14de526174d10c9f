// Multi-scalar multiplication: sum of s_i * P_i.
//
// A scalar is read as the integer of least absolute value in its class and written in signed digits of c bits; digit d of point i is an entry
// of bucket |d| - 1. Entries are sorted by bucket by counting, and cut into pieces of equal length whatever their buckets: a thread adds up one
// piece. The first and the last bucket of a piece may go on in its neighbours: their sums are partial, and are added up in rounds
// of the same kind; every other bucket of a piece is complete. Where 2^(cw) * P_i is tabulated for every window w, all windows share one
// set of buckets. Buckets are weighed by running sums over segments.
//
// Each kernel exists for both groups: the units msm_g1 and msm_g2 give them their names.
#pragma once
#include "curve.cuh"

// The key of a partial sum that is not there.
constexpr u32 NO_KEY = 0xffffffff;
constexpr u32 SCAN_THREADS = 256;
// Elements that a thread of a scan sums up.
constexpr u32 SCAN_EACH = 16;

// The integer of least absolute value that is a scalar modulo r.
struct Signed {
  u32 words[9];
  bool negative;

  static DEVICE Signed of(const Fr &scalar) {
    Fr unit = Fr::zero();
    unit.words[0] = 1;
    Fr integer = (scalar * unit).canonical();
    Fr opposite = Fr::zero(), difference = Fr::zero();
    u32 borrow = 0, r[8];
    UNROLL for (int i = 0; i < 8; i++) r[i] = FrParameters::p(i);
    SUB8(opposite.words, borrow, r, integer.words);
    // integer > r - integer?
    SUB8(difference.words, borrow, opposite.words, integer.words);
    Signed s;
    s.negative = borrow != 0;
    UNROLL for (int i = 0; i < 8; i++) s.words[i] = borrow ? opposite.words[i] : integer.words[i];
    s.words[8] = 0;
    return s;
  }

  DEVICE u32 bits() const {
    u32 bits = 0;
    UNROLL for (int i = 0; i < 8; i++) bits = words[i] ? 32 * i + 32 - __clz(words[i]) : bits;
    return bits;
  }

  // `count` bits, fewer than 32, from `position` on; the words are shifted down as they are used, so that no index varies.
  DEVICE u32 take(u32 count) {
    u32 low = words[0] & ((1u << count) - 1);
    UNROLL for (int i = 0; i < 8; i++) words[i] = __funnelshift_r(words[i], words[i + 1], count);
    return low;
  }
};

// What digits are made of, and where they go.
struct Recoding {
  u32 n;
  // Bits of a digit, and how many there are.
  u32 c, n_windows;
  // Buckets between those of one window and those of the next: 0 where multiples are tabulated.
  u32 set;
  // Points between those of one window and those of the next: 0 where none are tabulated.
  u32 stride;
  // Scalars of more bits than this are outside the promised class, and so are negative ones where `unsigned_class` is not 0.
  u32 max_bits, unsigned_class;
};

// Calls take(bucket, entry) for every digit but zeros; false where the scalar is outside its class.
template <class Take>
static DEVICE bool recode(const Recoding &how, const u32 *scalars, u32 i, Take take) {
  Signed s = Signed::of(Fr::load(scalars + 8 * i));
  u32 bits = s.bits();
  if (bits == 0) return true;
  if (bits > how.max_bits || (how.unsigned_class && s.negative)) return false;
  u32 carry = 0, half = 1u << (how.c - 1);
  ROLLED for (u32 w = 0; w < how.n_windows; w++) {
    u32 digit = s.take(how.c) + carry;
    bool above = digit > half;
    carry = above;
    u32 magnitude = above ? 2 * half - digit : digit;
    if (magnitude != 0) take(w * how.set + magnitude - 1, (w * how.stride + i) << 1 | (u32)(above != s.negative));
  }
  return true;
}

static DEVICE bool is_finite(const u32 *finite, u32 i) { return finite[i / 32] >> i % 32 & 1; }

// Counts the entries of every bucket. `fault` becomes the least index of a scalar outside its class.
static DEVICE void count_digits(const u32 *scalars, const u32 *finite, u32 *counts, u32 *fault, const Recoding &how) {
  u32 i = thread_index();
  if (i >= how.n) return;
  bool base = is_finite(finite, i);
  bool inside = recode(how, scalars, i, [&](u32 bucket, u32) {
    if (base) atomicAdd(counts + bucket, 1u);
  });
  if (!inside) atomicMin(fault, i);
}

// Puts every entry into its place; `cursors` are the offsets of the buckets, and are advanced.
static DEVICE void place_digits(const u32 *scalars, const u32 *finite, u32 *cursors, u32 *entries, const Recoding &how) {
  u32 i = thread_index();
  if (i >= how.n || !is_finite(finite, i)) return;
  recode(how, scalars, i, [&](u32 bucket, u32 entry) { entries[atomicAdd(cursors + bucket, 1u)] = entry; });
}

// The same for points that are in one group each, or in none.
static DEVICE void count_groups(const u32 *groups, const u32 *finite, u32 *counts, u32 n) {
  u32 i = thread_index();
  if (i < n && groups[i] != NO_KEY && is_finite(finite, i)) atomicAdd(counts + groups[i], 1u);
}

static DEVICE void place_groups(const u32 *groups, const u32 *finite, u32 *cursors, u32 *entries, u32 n) {
  u32 i = thread_index();
  if (i < n && groups[i] != NO_KEY && is_finite(finite, i)) entries[atomicAdd(cursors + groups[i], 1u)] = i << 1;
}

// Sums of the blocks of SCAN_THREADS * SCAN_EACH counts each.
static DEVICE void scan_sums(const u32 *counts, u32 *sums, u32 n) {
  u32 *shared = (u32 *)shared_memory;
  u32 begin = (blockIdx.x * SCAN_THREADS + threadIdx.x) * SCAN_EACH, sum = 0;
  for (u32 k = begin; k < begin + SCAN_EACH && k < n; k++) sum += counts[k];
  shared[threadIdx.x] = sum;
  __syncthreads();
  for (u32 half = SCAN_THREADS / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
    __syncthreads();
  }
  if (threadIdx.x == 0) sums[blockIdx.x] = shared[0];
}

// What the threads of a block before this one have in all; SCAN_THREADS threads, one number each.
static DEVICE u32 sum_before(u32 *shared, u32 own) {
  shared[threadIdx.x] = own;
  __syncthreads();
  for (u32 step = 1; step < SCAN_THREADS; step *= 2) {
    u32 before = threadIdx.x >= step ? shared[threadIdx.x - step] : 0;
    __syncthreads();
    shared[threadIdx.x] += before;
    __syncthreads();
  }
  return shared[threadIdx.x] - own;
}

// Sums of all before, in place; one block.
static DEVICE void scan_top(u32 *sums, u32 n) {
  u32 *shared = (u32 *)shared_memory;
  u32 each = (n + SCAN_THREADS - 1) / SCAN_THREADS, begin = threadIdx.x * each, sum = 0;
  for (u32 k = begin; k < begin + each && k < n; k++) sum += sums[k];
  u32 running = sum_before(shared, sum);
  for (u32 k = begin; k < begin + each && k < n; k++) {
    u32 own = sums[k];
    sums[k] = running;
    running += own;
  }
}

// offsets[k] = the sum of the counts before k, for k = 0 ..= n, twice.
static DEVICE void scan_write(const u32 *counts, const u32 *sums, u32 *offsets, u32 *cursors, u32 n) {
  u32 *shared = (u32 *)shared_memory;
  u32 begin = (blockIdx.x * SCAN_THREADS + threadIdx.x) * SCAN_EACH, sum = 0;
  for (u32 k = begin; k < begin + SCAN_EACH && k < n; k++) sum += counts[k];
  u32 running = sums[blockIdx.x] + sum_before(shared, sum);
  for (u32 k = begin; k < begin + SCAN_EACH && k < n; k++) {
    offsets[k] = cursors[k] = running;
    running += counts[k];
    if (k + 1 == n) offsets[n] = running;
  }
}

// Where the sums of a piece go: of its first bucket and of its last one to `partial` and `keys`, two a piece; of the others to `buckets`. Of a
// piece that is everything all go to `buckets`.
template <class C>
struct Sums {
  u32 *buckets, *partial, *keys;
  u32 piece;
  bool everything, first;

  DEVICE void put(u32 slot, u32 bucket, const Xyzz<C> &sum) {
    sum.store(partial + (u64)Xyzz<C>::WORDS * (2 * piece + slot));
    keys[2 * piece + slot] = bucket;
  }

  // A bucket that others of the piece follow.
  DEVICE void followed(u32 bucket, const Xyzz<C> &sum) {
    if (first && !everything) {
      put(0, bucket, sum);
    } else {
      sum.store(buckets + (u64)Xyzz<C>::WORDS * bucket);
    }
    first = false;
  }

  DEVICE void last(u32 bucket, const Xyzz<C> &sum) {
    if (everything) {
      sum.store(buckets + (u64)Xyzz<C>::WORDS * bucket);
    } else {
      put(first ? 0 : 1, bucket, sum);
      if (first) keys[2 * piece + 1] = NO_KEY;
    }
  }
};

// Adds up the points of one piece of `length` of the `total` entries for each thread.
template <class C>
static DEVICE void accumulate(const u32 *points, const u32 *entries, const u32 *offsets, u32 *buckets, u32 *partial, u32 *keys,
                              u32 n_buckets, u32 total, u32 length) {
  u32 piece = thread_index(), n_pieces = (total + length - 1) / length;
  if (piece >= n_pieces) return;
  u32 begin = piece * length, end = total - begin < length ? total : begin + length;
  // The last bucket that begins at or before the piece.
  u32 bucket = 0, above = n_buckets;
  while (above - bucket > 1) {
    u32 middle = bucket + (above - bucket) / 2;
    if (offsets[middle] <= begin) {
      bucket = middle;
    } else {
      above = middle;
    }
  }
  Sums<C> sums{buckets, partial, keys, piece, n_pieces == 1, true};
  Xyzz<C> sum = Xyzz<C>::infinity();
  u32 next = offsets[bucket + 1], entry = entries[begin];
  Affine<C> point = Affine<C>::load(points + (u64)Affine<C>::WORDS * (entry >> 1));
  ROLLED for (u32 at = begin; at < end; at++) {
    if (at == next) {
      sums.followed(bucket, sum);
      sum = Xyzz<C>::infinity();
      do next = offsets[++bucket + 1];
      while (next == at);
    }
    Affine<C> own = point;
    if (entry & 1) own.y = own.y.negated();
    // The next point is on its way while this one is added.
    if (at + 1 < end) {
      entry = entries[at + 1];
      point = Affine<C>::load(points + (u64)Affine<C>::WORDS * (entry >> 1));
    }
    sum.add(own);
  }
  sums.last(bucket, sum);
}

// The same for `total` partial sums with their keys, in order.
template <class C>
static DEVICE void merge(const u32 *from, const u32 *from_keys, u32 *buckets, u32 *partial, u32 *keys, u32 total, u32 length) {
  u32 piece = thread_index(), n_pieces = (total + length - 1) / length;
  if (piece >= n_pieces) return;
  u32 begin = piece * length, end = total - begin < length ? total : begin + length;
  Sums<C> sums{buckets, partial, keys, piece, n_pieces == 1, true};
  Xyzz<C> sum = Xyzz<C>::infinity();
  u32 bucket = NO_KEY;
  ROLLED for (u32 at = begin; at < end; at++) {
    u32 key = from_keys[at];
    if (key == NO_KEY) continue;
    if (bucket != NO_KEY && key != bucket) {
      sums.followed(bucket, sum);
      sum = Xyzz<C>::infinity();
    }
    bucket = key;
    sum.add(Xyzz<C>::load(from + (u64)Xyzz<C>::WORDS * at));
  }
  // The first slot of every piece has a key, so this one has.
  sums.last(bucket, sum);
}

// out[t] = sum of (k + 1) * bucket_k over segment t of `length` buckets; `per_set` segments to a set of `set` buckets.
template <class C>
static DEVICE void weigh(const u32 *buckets, u32 *out, u32 set, u32 length, u32 per_set, u32 n_sets) {
  u32 t = thread_index();
  if (t >= per_set * n_sets) return;
  u32 begin = t % per_set * length, end = set - begin < length ? set : begin + length;
  const u32 *own = buckets + (u64)Xyzz<C>::WORDS * set * (t / per_set);
  Xyzz<C> running = Xyzz<C>::infinity(), sum = Xyzz<C>::infinity();
  ROLLED for (u32 k = end; k > begin; k--) {
    running.add(Xyzz<C>::load(own + (u64)Xyzz<C>::WORDS * (k - 1)));
    sum.add(running);
  }
  // begin * running, by doubling.
  Xyzz<C> multiple = Xyzz<C>::infinity();
  ROLLED for (int bit = 31 - __clz(begin | 1); bit >= 0; bit--) {
    multiple = multiple.doubled();
    if (begin >> bit & 1) multiple.add(running);
  }
  sum.add(multiple);
  sum.store(out + (u64)Xyzz<C>::WORDS * t);
}

// out[t] = the sum of `length` neighbours, in sets of `per_set`.
template <class C>
static DEVICE void fold(const u32 *from, u32 *out, u32 per_set, u32 length, u32 n_sets) {
  u32 t = thread_index(), pieces = (per_set + length - 1) / length;
  if (t >= pieces * n_sets) return;
  u32 begin = t % pieces * length, end = per_set - begin < length ? per_set : begin + length;
  const u32 *own = from + (u64)Xyzz<C>::WORDS * per_set * (t / pieces);
  Xyzz<C> sum = Xyzz<C>::load(own + (u64)Xyzz<C>::WORDS * begin);
  ROLLED for (u32 k = begin + 1; k < end; k++) sum.add(Xyzz<C>::load(own + (u64)Xyzz<C>::WORDS * k));
  sum.store(out + (u64)Xyzz<C>::WORDS * t);
}

// x = X/ZZ, y = Y/ZZZ with one inversion.
template <class C>
static DEVICE void store_affine(const Xyzz<C> &sum, u32 *out) {
  typename C::F inverse = (sum.zz * sum.zzz).inverse();
  Affine<C>{sum.x * inverse * sum.zzz, sum.y * inverse * sum.zz}.store(out);
}

template <class C>
static DEVICE void normalize(const u32 *sums, u32 *points, u32 n) {
  u32 i = thread_index();
  if (i >= n) return;
  store_affine<C>(Xyzz<C>::load(sums + (u64)Xyzz<C>::WORDS * i), points + (u64)Affine<C>::WORDS * i);
}

// points[stride + i] = 2^c * points[i], for i = first ..< first + n. Of a point outside the group a multiple may be infinite though the point is
// not: `fault` becomes 1.
template <class C>
static DEVICE void double_points(u32 *points, u32 *fault, u32 first, u32 n, u32 stride, u32 c) {
  u32 i = thread_index();
  if (i >= n) return;
  Affine<C> point = Affine<C>::load(points + (u64)Affine<C>::WORDS * (first + i));
  if (point.is_infinite()) {
    point.store(points + (u64)Affine<C>::WORDS * ((u64)first + stride + i));
    return;
  }
  Xyzz<C> sum = Xyzz<C>::twice(point);
  ROLLED for (u32 k = 1; k < c; k++) sum = sum.doubled();
  if (sum.is_infinite()) atomicMax(fault, 1u);
  store_affine<C>(sum, points + (u64)Affine<C>::WORDS * ((u64)first + stride + i));
}
