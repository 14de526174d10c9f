// Vectors of scalars: linear combinations, polynomials by their coefficients, inverses, running products.
//
// A recurrence along a vector is done in chunks, one a thread: what every chunk makes of nothing, the same recurrence over those results,
// and the chunks again from what comes into them.
#include "field.cuh"

static DEVICE Fr scalar_at(const u32 *v, u32 i) { return Fr::load(v + 8ull * i); }

static DEVICE void store_at(u32 *v, u32 i, const Fr &a) { a.canonical().store(v + 8ull * i); }

// sum += factor * v over the terms, given by their addresses.
KERNEL(256, 4) vector_combine(u32 *sum, const u64 *terms, const u32 *factors, u32 n_terms, u32 n) {
  u32 i = thread_index();
  if (i >= n) return;
  Fr s = scalar_at(sum, i);
  ROLLED for (u32 term = 0; term < n_terms; term++) {
    s = s + scalar_at((const u32 *)terms[term], i) * scalar_at(factors, term);
  }
  store_at(sum, i, s);
}
EXPORT_STRAIGHT(vector_combine)

// Vectors at most that are mixed in one launch.
constexpr u32 MIXED = 16;

// (v_0, v_1, …) = matrix * (v_0, v_1, …), row by row of the matrix.
KERNEL(128, 2) vector_mix(const u64 *vectors, const u32 *matrix, u32 n_vectors, u32 n) {
  u32 i = thread_index();
  if (i >= n || n_vectors > MIXED) return;
  Fr before[MIXED];
  ROLLED for (u32 k = 0; k < n_vectors; k++) before[k] = scalar_at((const u32 *)vectors[k], i);
  ROLLED for (u32 row = 0; row < n_vectors; row++) {
    Fr s = Fr::zero();
    ROLLED for (u32 k = 0; k < n_vectors; k++) s = s + before[k] * scalar_at(matrix, row * n_vectors + k);
    store_at((u32 *)vectors[row], i, s);
  }
}
EXPORT_STRAIGHT(vector_mix)

// out[t] = the value at x^threads of every threads-th coefficient from t on; `power` is x^threads.
KERNEL(256, 4) vector_evaluate(u32 *out, const u32 *p, Element power, u32 threads, u32 n) {
  u32 t = thread_index();
  if (t >= threads) return;
  Fr x = Fr::of(power), s = Fr::zero();
  ROLLED for (u32 k = t < n ? (n - 1 - t) / threads + 1 : 0; k > 0; k--) s = s * x + scalar_at(p, t + (k - 1) * threads);
  store_at(out, t, s);
}
EXPORT_STRAIGHT(vector_evaluate)

// out[t] = the value at z of the coefficients of chunk t alone.
KERNEL(256, 4) vector_chunk_values(u32 *out, const u32 *p, Element z, u32 chunk, u32 chunks, u32 n) {
  u32 t = thread_index();
  if (t >= chunks) return;
  Fr x = Fr::of(z), s = Fr::zero();
  u32 first = t * chunk, end = n - first < chunk ? n : first + chunk;
  ROLLED for (u32 i = end; i > first; i--) s = s * x + scalar_at(p, i - 1);
  store_at(out, t, s);
}
EXPORT_STRAIGHT(vector_chunk_values)

// The quotient by X - z; carries[t] comes into chunk t from above.
KERNEL(256, 4) vector_divide(u32 *p, const u32 *carries, Element z, u32 chunk, u32 chunks, u32 n) {
  u32 t = thread_index();
  if (t >= chunks) return;
  Fr x = Fr::of(z), carry = scalar_at(carries, t);
  u32 first = t * chunk, end = n - first < chunk ? n : first + chunk;
  ROLLED for (u32 i = end; i > first; i--) {
    Fr below = scalar_at(p, i - 1) + carry * x;
    store_at(p, i - 1, carry);
    carry = below;
  }
}
EXPORT_STRAIGHT(vector_divide)

// out[t] = the product over chunk t.
KERNEL(256, 4) vector_chunk_products(u32 *out, const u32 *v, u32 chunk, u32 chunks, u32 n) {
  u32 t = thread_index();
  if (t >= chunks) return;
  Fr product = Fr::one();
  u32 first = t * chunk, end = n - first < chunk ? n : first + chunk;
  ROLLED for (u32 i = first; i < end; i++) product = product * scalar_at(v, i);
  store_at(out, t, product);
}
EXPORT_STRAIGHT(vector_chunk_products)

// Every value becomes the product of those before it in its chunk and starts[t].
KERNEL(256, 4) vector_running_products(u32 *v, const u32 *starts, u32 chunk, u32 chunks, u32 n) {
  u32 t = thread_index();
  if (t >= chunks) return;
  Fr product = scalar_at(starts, t);
  u32 first = t * chunk, end = n - first < chunk ? n : first + chunk;
  ROLLED for (u32 i = first; i < end; i++) {
    Fr factor = scalar_at(v, i);
    store_at(v, i, product);
    product = product * factor;
  }
}
EXPORT_STRAIGHT(vector_running_products)

// 1/v, 0 for 0; thread t inverts every threads-th value from t on at once. `before` is as long as v.
KERNEL(128, 4) vector_invert(u32 *v, u32 *before, u32 threads, u32 n) {
  u32 t = thread_index();
  if (t >= threads || t >= n) return;
  Fr product = Fr::one();
  u32 count = (n - 1 - t) / threads + 1;
  ROLLED for (u32 k = 0; k < count; k++) {
    Fr a = scalar_at(v, t + k * threads);
    product.store(before + 8ull * (t + k * threads));
    if (!a.is_zero()) product = product * a;
  }
  Fr inverse = product.inverse();
  ROLLED for (u32 k = count; k > 0; k--) {
    u32 i = t + (k - 1) * threads;
    Fr a = scalar_at(v, i);
    if (a.is_zero()) continue;
    store_at(v, i, inverse * scalar_at(before, i));
    inverse = inverse * a;
  }
}
EXPORT_STRAIGHT(vector_invert)

// out[i] = factors[index / n_table] * table[index % n_table].
KERNEL(256, 4)
vector_lookup(u32 *out, const u32 *table, const u32 *factors, const u32 *indices, u32 n_table, u32 n) {
  u32 i = thread_index();
  if (i >= n) return;
  u32 index = indices[i];
  store_at(out, i, scalar_at(factors, index / n_table) * scalar_at(table, index % n_table));
}
EXPORT_STRAIGHT(vector_lookup)
