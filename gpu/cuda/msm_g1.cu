// The kernels of msm.cuh in G1.
#include "msm.cuh"

KERNEL(256, 4)
msm_g1_count(const u32 *scalars, const u32 *finite, u32 *counts, u32 *fault, u32 n, u32 c, u32 n_windows, u32 set, u32 stride,
             u32 max_bits, u32 unsigned_class) {
  count_digits(scalars, finite, counts, fault, Recoding{n, c, n_windows, set, stride, max_bits, unsigned_class});
}
EXPORT_STRAIGHT(msm_g1_count)
KERNEL(256, 4)
msm_g1_place(const u32 *scalars, const u32 *finite, u32 *cursors, u32 *entries, u32 n, u32 c, u32 n_windows, u32 set,
             u32 stride) {
  place_digits(scalars, finite, cursors, entries, Recoding{n, c, n_windows, set, stride, 256, 0});
}
EXPORT_STRAIGHT(msm_g1_place)
KERNEL(256, 4) msm_g1_count_groups(const u32 *groups, const u32 *finite, u32 *counts, u32 n) {
  count_groups(groups, finite, counts, n);
}
EXPORT_STRAIGHT(msm_g1_count_groups)
KERNEL(256, 4) msm_g1_place_groups(const u32 *groups, const u32 *finite, u32 *cursors, u32 *entries, u32 n) {
  place_groups(groups, finite, cursors, entries, n);
}
EXPORT_STRAIGHT(msm_g1_place_groups)
KERNEL(SCAN_THREADS, 4) msm_g1_scan_sums(const u32 *counts, u32 *sums, u32 n) { scan_sums(counts, sums, n); }
EXPORT(msm_g1_scan_sums)
KERNEL(SCAN_THREADS, 1) msm_g1_scan_top(u32 *sums, u32 n) { scan_top(sums, n); }
EXPORT(msm_g1_scan_top)
KERNEL(SCAN_THREADS, 4) msm_g1_scan_write(const u32 *counts, const u32 *sums, u32 *offsets, u32 *cursors, u32 n) {
  scan_write(counts, sums, offsets, cursors, n);
}
EXPORT(msm_g1_scan_write)
KERNEL(128, 3)
msm_g1_accumulate(const u32 *points, const u32 *entries, const u32 *offsets, u32 *buckets, u32 *partial, u32 *keys, u32 n_buckets,
                  u32 total, u32 length) {
  accumulate<G1>(points, entries, offsets, buckets, partial, keys, n_buckets, total, length);
}
EXPORT_STRAIGHT(msm_g1_accumulate)
KERNEL(128, 2)
msm_g1_merge(const u32 *from, const u32 *from_keys, u32 *buckets, u32 *partial, u32 *keys, u32 total, u32 length) {
  merge<G1>(from, from_keys, buckets, partial, keys, total, length);
}
EXPORT_STRAIGHT(msm_g1_merge)
KERNEL(128, 2) msm_g1_weigh(const u32 *buckets, u32 *out, u32 set, u32 length, u32 per_set, u32 n_sets) {
  weigh<G1>(buckets, out, set, length, per_set, n_sets);
}
EXPORT_STRAIGHT(msm_g1_weigh)
KERNEL(128, 2) msm_g1_fold(const u32 *from, u32 *out, u32 per_set, u32 length, u32 n_sets) {
  fold<G1>(from, out, per_set, length, n_sets);
}
EXPORT_STRAIGHT(msm_g1_fold)
KERNEL(128, 2) msm_g1_normalize(const u32 *sums, u32 *points, u32 n) { normalize<G1>(sums, points, n); }
EXPORT_STRAIGHT(msm_g1_normalize)
KERNEL(128, 2) msm_g1_double(u32 *points, u32 *fault, u32 first, u32 n, u32 stride, u32 c) {
  double_points<G1>(points, fault, first, n, stride, c);
}
EXPORT_STRAIGHT(msm_g1_double)
