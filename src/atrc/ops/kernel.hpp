// What the kernels share: vectors of SCALARs of the widest kind, threads, loops that the compiler unrolls.
//
// No library besides the standard one.
#pragma once

#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

#if defined(__AVX512F__)
constexpr int REGISTERS = 32, BYTES = 64;
#elif defined(__AVX__)
constexpr int REGISTERS = 16, BYTES = 32;
#elif defined(__aarch64__)
constexpr int REGISTERS = 32, BYTES = 16;
#else
constexpr int REGISTERS = 16, BYTES = 16;
#endif

using Scalar = SCALAR;
typedef Scalar Vector __attribute__((vector_size(BYTES)));
typedef float Floats __attribute__((vector_size(BYTES)));
typedef double Doubles __attribute__((vector_size(BYTES)));
typedef std::int32_t Integers __attribute__((vector_size(BYTES)));

constexpr int LANES = BYTES / sizeof(Scalar);

// Relative error 1e-7; x <= 0, and below -87 the result is the smallest normal number instead of 0.
[[maybe_unused]] Floats exponential(Floats x) {
  const float round = 12582912.0f;  // 1.5 * 2^23: adding and subtracting it rounds to an integer
  x = x < -87.0f ? Floats{} - 87.0f : x;
  const Floats n = (x * 1.44269504f + round) - round;
  const Floats r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  Floats p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const Integers bits = (__builtin_convertvector(n, Integers) + 127) << 23;
  Floats power;
  std::memcpy(&power, &bits, BYTES);
  return p * power;
}

[[maybe_unused]] Doubles exponential(Doubles x) {
  for (std::size_t i = 0; i < BYTES / sizeof(double); i++) x[i] = std::exp(x[i]);
  return x;
}

// Calls work(*workers[i], task) for all tasks, thread i with a worker of its own, made when it is first needed.
template <class Worker, class Shape, class Work>
void parallel(std::vector<std::unique_ptr<Worker>>& workers, const Shape& shape, std::int64_t tasks, const Work& work) {
  const int threads = tasks > 1 ? workers.size() : 1;
  std::atomic<std::int64_t> next{0};
  std::atomic<int> started{0};
  const auto loop = [&] {
    auto& worker = workers[started++];
    for (std::int64_t task; (task = next++) < tasks;) {
      if (!worker) worker = std::make_unique<Worker>(shape);
      work(*worker, task);
    }
  };
  if (threads == 1) return loop();
  // PyTorch's own threads, where they are OpenMP's: they spin for a while after their last work, and would
  // compete with threads of ours.
  using Pool = void (*)(void (*)(void*), void*, unsigned, unsigned);
  static const auto pool = reinterpret_cast<Pool>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
  if (pool) {
    const auto call = [](void* data) { (**static_cast<decltype(&loop)*>(data))(); };
    auto data = &loop;
    return pool(call, &data, threads, 0);
  }
  std::vector<std::thread> others;
  try {
    for (int i = 1; i < threads; i++) others.emplace_back(loop);
  } catch (const std::system_error&) {  // no more threads to have: those at hand do all tasks
  }
  loop();
  for (auto& other : others) other.join();
}

// Calls f(constant) with the constant equal to n, 1 <= n <= MOST.
template <int MOST, class F>
void with_constant(int n, const F& f) {
  if constexpr (MOST > 1)
    if (n < MOST) return with_constant<MOST - 1>(n, f);
  f(std::integral_constant<int, MOST>());
}

// Calls f(constant) for 0, ..., N - 1. Sums in an array stay in registers only if its indices are constants early on.
template <class F, int... I>
inline void unroll(const F& f, std::integer_sequence<int, I...>) {
  (f(std::integral_constant<int, I>()), ...);
}

template <int N, class F>
inline void unroll(const F& f) {
  unroll(f, std::make_integer_sequence<int, N>());
}

template <int SIZE>
struct Part {
  typedef Scalar Type __attribute__((vector_size(SIZE)));
};

// Halves of a vector on each other, until one scalar is left.
template <int SIZE = BYTES, class Fold>
inline Scalar reduce(typename Part<SIZE>::Type x, const Fold& fold) {
  if constexpr (SIZE == sizeof(Scalar)) {
    return x[0];
  } else {
    typename Part<SIZE / 2>::Type halves[2];
    std::memcpy(halves, &x, SIZE);
    return reduce<SIZE / 2>(fold(halves[0], halves[1]), fold);
  }
}

}  // namespace
