// sppark's multiplications in G1 of BN254 and its transforms, on data that lies on the GPU, as ours are timed: `sppark [LOG ...]`.
//
// Points are the first 4096 multiples of the generator over and over, scalars are spread over the field. One JSON object a line, with the median
// of the runs. Every sum is compared with that of the logarithms, every transform taken back; the exit status is 1 where one is wrong.
#define FEATURE_BN254
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

#include <ff/alt_bn128.hpp>

#include <ec/jacobian_t.hpp>
#include <ec/xyzz_t.hpp>

typedef jacobian_t<fp_t> point_t;
typedef xyzz_t<fp_t> bucket_t;
typedef bucket_t::affine_t affine_t;
typedef fr_t scalar_t;

#include <msm/pippenger.cuh>
#include <ntt/ntt.cuh>

#ifndef __CUDA_ARCH__
static const size_t DISTINCT = 4096;
static const int RUNS = 7;

static void print_times(const char *what, int log_n, const std::function<void()> &run) {
  run();
  std::vector<double> seconds;
  for (int i = 0; i < RUNS; i++) {
    auto begun = std::chrono::steady_clock::now();
    run();
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count());
  }
  std::sort(seconds.begin(), seconds.end());
  printf("{\"what\": \"%s\", \"log_n\": %d, \"min_s\": %.9f, \"median_s\": %.9f, \"max_s\": %.9f}\n", what, log_n, seconds[0],
         seconds[RUNS / 2], seconds[RUNS - 1]);
  fflush(stdout);
}

// Words below the modulus are the Montgomery form of some element.
static std::vector<fr_t> spread(size_t n) {
  std::vector<fr_t> scalars(n);
  uint64_t state = 0x9E3779B97F4A7C15, words[4];
  for (auto &scalar : scalars) {
    for (auto &word : words) {
      state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
      word = state * 0x2545F4914F6CDD1D;
    }
    words[3] %= 0x30644e72e131a029;
    memcpy(&scalar, words, sizeof(words));
  }
  return scalars;
}

static point_t the_generator() {
  fp_t one = fp_t::one(), two = one + one;
  return point_t(one, two, one);
}

static std::vector<affine_t> multiples(size_t n) {
  point_t generator = the_generator(), sum = generator;
  std::vector<affine_t> points(n);
  for (size_t i = 0; i < n; i++) {
    if (i < DISTINCT) {
      points[i] = sum;
      sum.add(generator);
    } else {
      points[i] = points[i - DISTINCT];
    }
  }
  return points;
}

static point_t by_logarithms(const std::vector<fr_t> &scalars) {
  std::vector<fr_t> of_point(DISTINCT, fr_t(0));
  for (size_t i = 0; i < scalars.size(); i++) of_point[i % DISTINCT] += scalars[i];
  fr_t sum = fr_t(0);
  for (size_t i = 0; i < DISTINCT; i++) sum += of_point[i] * fr_t((uint64_t)(i + 1));
  alignas(8) fr_t::pow_t bits;
  sum.to_scalar(bits);
  point_t generator = the_generator(), product;
  product.inf();
  for (int i = 255; i >= 0; i--) {
    product.dbl();
    if (bits[i / 8] >> (i % 8) & 1) product.add(generator);
  }
  return product;
}

static void stop(const RustError &error) {
  if (error.code == 0) return;
  fprintf(stderr, "sppark failed: %d\n", (int)error.code);
  exit(1);
}

static bool multiplication(const gpu_t &gpu, int log_n) {
  size_t n = (size_t)1 << log_n;
  std::vector<affine_t> points = multiples(n);
  std::vector<fr_t> scalars = spread(n);
  dev_ptr_t<affine_t::mem_t> device_points(n);
  dev_ptr_t<scalar_t> device_scalars(n);
  gpu.HtoD((affine_t::mem_t *)device_points, points.data(), n, sizeof(affine_t));
  gpu.HtoD((scalar_t *)device_scalars, scalars.data(), n);
  gpu.sync();
  msm_t<bucket_t, point_t, affine_t, scalar_t> msm(nullptr, n);
  point_t sum;
  print_times("MSM G1, sppark", log_n, [&] {
    stop(msm.invoke<const dev_ptr_t<affine_t::mem_t> &, const dev_ptr_t<scalar_t> &>(sum, device_points, n, device_scalars));
  });
  affine_t got = sum, expected = by_logarithms(scalars);
  return got == expected;
}

static bool transform(const gpu_t &gpu, int log_n) {
  size_t n = (size_t)1 << log_n;
  std::vector<fr_t> values = spread(n), back(n);
  dev_ptr_t<fr_t> vector(n);
  stream_t &stream = gpu;
  auto run = [&](NTT::Direction direction) {
    NTT::Base_dev_ptr(stream, (fr_t *)vector, log_n, NTT::InputOutputOrder::NN, direction, NTT::Type::standard);
  };
  gpu.HtoD((fr_t *)vector, values.data(), n);
  run(NTT::Direction::forward);
  run(NTT::Direction::inverse);
  gpu.DtoH(back.data(), (fr_t *)vector, n);
  gpu.sync();
  if (memcmp(back.data(), values.data(), n * sizeof(fr_t)) != 0) return false;
  const int in_a_row = std::max(4, std::min(128, (1 << 24) >> log_n));
  char what[64];
  snprintf(what, sizeof(what), "NTT, sppark, %d in a row", in_a_row);
  print_times(what, log_n, [&] {
    for (int i = 0; i < in_a_row; i++) run(NTT::Direction::forward);
    gpu.sync();
  });
  return true;
}

int main(int argc, char **argv) {
  std::vector<int> logs;
  for (int i = 1; i < argc; i++) logs.push_back(atoi(argv[i]));
  if (logs.empty()) logs = {16, 18, 20, 22};
  try {
    const gpu_t &gpu = select_gpu();
    gpu.select();
    for (int log_n : logs) {
      if (!transform(gpu, log_n)) {
        fprintf(stderr, "sppark: a transform of 2^%d is not undone by its inverse\n", log_n);
        return 1;
      }
      if (!multiplication(gpu, log_n)) {
        fprintf(stderr, "sppark: a sum of 2^%d is not that of the logarithms\n", log_n);
        return 1;
      }
    }
  } catch (const cuda_error &error) {
    fprintf(stderr, "sppark: %s\n", error.what());
    return 1;
  }
  return 0;
}
#endif
