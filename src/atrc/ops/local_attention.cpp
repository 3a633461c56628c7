// Local attention on CPUs: softmax over the WINDOW x WINDOW neighbours that exist of q.k / sqrt(d), times v.
//
// No library besides the standard one; compiled on first use for one SCALAR and one WINDOW.
//
// Vectors run along image rows. Maps are packed as (image, row, channel, x) with zeros left and right of a row,
// so a neighbour is a load at another offset. ROWS rows of queries are worked on at once: every neighbour
// that is loaded serves all of them, and the sums of a whole row of the window stay in registers.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <system_error>
#include <thread>
#include <type_traits>
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
constexpr int RADIUS = WINDOW / 2;
constexpr int NEIGHBOURS = WINDOW * WINDOW;
// ROWS * WINDOW sums, ROWS queries and one key fit the registers.
constexpr int ROWS = std::clamp((REGISTERS - 1) / (WINDOW + 1), 1, 4);
constexpr int MARGIN = (RADIUS + LANES - 1) / LANES * LANES;
// Rows that write gradients up to RADIUS rows away, yet never to those of the next block but one.
constexpr int BLOCK_ROWS = std::max(1, (2 * RADIUS + ROWS - 1) / ROWS) * ROWS;
constexpr Scalar MASKED = std::numeric_limits<Scalar>::lowest() / 2;

Vector load(const Scalar* from) {
  Vector x;
  std::memcpy(&x, from, BYTES);
  return x;
}

void store(Scalar* to, Vector x) { std::memcpy(to, &x, BYTES); }

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

struct Shape {
  std::int64_t batch, height, width;
  int vectors;          // that cover a row
  std::int64_t stride;  // of a packed row; an odd number of vectors spreads the channels over the cache

  Shape(std::int64_t batch, std::int64_t height, std::int64_t width)
      : batch(batch), height(height), width(width), vectors((width + LANES - 1) / LANES),
        stride((vectors + 2 * MARGIN / LANES) / 2 * 2 * LANES + LANES) {}

  // Rows [first, last) of the map that row y sees, or that see it.
  std::int64_t first(std::int64_t y) const { return std::max<std::int64_t>(y - RADIUS, 0); }
  std::int64_t last(std::int64_t y) const { return std::min(y + RADIUS + 1, height); }
};

// Zeroed memory of packed rows; `row(i)` is x = 0 of the first channel.
class Rows {
 public:
  Rows(std::int64_t rows, std::int64_t channels, const Shape& shape)
      : channels(channels), stride(shape.stride), memory(rows * channels * shape.stride + LANES) {}
  Scalar* row(std::int64_t i) { return memory.data() + i * channels * stride + MARGIN; }

  const std::int64_t channels, stride;

 private:
  std::vector<Scalar> memory;
};

template <class Worker>
void parallel(int threads, std::int64_t tasks, const Worker& worker) {
  std::atomic<std::int64_t> next{0};
  const auto work = [&] {
    auto task = worker();
    for (std::int64_t i; (i = next++) < tasks;) task(i);
  };
  std::vector<std::thread> others;
  try {
    for (int i = 1; i < std::min<std::int64_t>(threads, tasks); i++) others.emplace_back(work);
  } catch (const std::system_error&) {  // no more threads to have: those at hand do all tasks
  }
  work();
  for (auto& other : others) other.join();
}

void pack(const Scalar* map, std::int64_t channels, const Shape& shape, std::int64_t y, Scalar factor, Scalar* row) {
  for (std::int64_t c = 0; c < channels; c++) {
    const Scalar* from = map + (c * shape.height + y) * shape.width;
    for (std::int64_t x = 0; x < shape.width; x++) row[c * shape.stride + x] = from[x] * factor;
  }
}

void unpack(const Scalar* row, std::int64_t channels, const Shape& shape, std::int64_t y, Scalar factor, Scalar* map) {
  for (std::int64_t c = 0; c < channels; c++) {
    Scalar* to = map + (c * shape.height + y) * shape.width;
    for (std::int64_t x = 0; x < shape.width; x++) to[x] = row[c * shape.stride + x] * factor;
  }
}

Rows packed(const Scalar* maps, std::int64_t channels, const Shape& shape, int threads) {
  Rows rows(shape.batch * shape.height, channels, shape);
  parallel(threads, shape.batch * shape.height, [&] {
    return [&](std::int64_t i) {
      const std::int64_t image = i / shape.height, y = i % shape.height;
      pack(maps + image * channels * shape.height * shape.width, channels, shape, y, 1, rows.row(i));
    };
  });
  return rows;
}

// scores[n][dx] = sum over c of a[n][c] * b[c] moved by dx, for N rows of a and one of b.
template <int N>
void correlate(const Scalar* a, std::int64_t a_row, const Scalar* b, std::int64_t channels, std::int64_t stride,
               Scalar* scores, std::int64_t scores_row) {
  Vector sums[N][WINDOW] = {};
  for (std::int64_t c = 0; c < channels; c++, a += stride, b += stride) {
    Vector left[N];
    for (int n = 0; n < N; n++) left[n] = load(a + n * a_row);
    for (int dx = 0; dx < WINDOW; dx++) {
      const Vector right = load(b + dx - RADIUS);
      for (int n = 0; n < N; n++) sums[n][dx] += left[n] * right;
    }
  }
  for (int n = 0; n < N; n++)
    for (int dx = 0; dx < WINDOW; dx++) store(scores + n * scores_row + dx * stride, sums[n][dx]);
}

// to[n][c] += sum over dx of weights[n][dx] * from[c] moved by dx (SIGN = 1), for C channels of N rows.
// With SIGN = -1 the product is moved by -dx instead: what a row gives to the rows that it sees.
template <int SIGN, int C, int N>
void accumulate(Scalar* to, std::int64_t to_row, const Scalar* weights, std::int64_t weights_row, const Scalar* from,
                std::int64_t stride) {
  Vector sums[N][C];
  for (int n = 0; n < N; n++)
    for (int c = 0; c < C; c++) sums[n][c] = load(to + n * to_row + c * stride);
  for (int dx = 0; dx < WINDOW; dx++) {
    const int move = SIGN * (dx - RADIUS);
    Vector weight[N];
    for (int n = 0; n < N; n++) weight[n] = load(weights + n * weights_row + dx * stride + (SIGN < 0 ? move : 0));
    for (int c = 0; c < C; c++) {
      const Vector right = load(from + c * stride + move);
      for (int n = 0; n < N; n++) sums[n][c] += weight[n] * right;
    }
  }
  for (int n = 0; n < N; n++)
    for (int c = 0; c < C; c++) store(to + n * to_row + c * stride, sums[n][c]);
}

// Calls f(constant) with the constant equal to n, 1 <= n <= MOST.
template <int MOST, class F>
void with_constant(int n, const F& f) {
  if constexpr (MOST > 1)
    if (n < MOST) return with_constant<MOST - 1>(n, f);
  f(std::integral_constant<int, MOST>());
}

template <class F>
void for_channel_blocks(std::int64_t channels, const F& f) {
  std::int64_t c = 0;
  for (; c + 8 <= channels; c += 8) f(std::integral_constant<int, 8>(), c);
  for (; c + 2 <= channels; c += 2) f(std::integral_constant<int, 2>(), c);
  for (; c < channels; c++) f(std::integral_constant<int, 1>(), c);
}

// ROWS rows of queries of one image and their weights, at most; everything a thread keeps for itself.
class Tile {
 public:
  Tile(const Shape& shape) : shape(shape) {}

  void move_to(std::int64_t image_, std::int64_t top_) {
    image = image_, top = top_;
    rows = std::min<std::int64_t>(ROWS, shape.height - top);
  }

  // f(rows constant, first row of the tile, plane dy of that row, packed row) for every row the tile sees.
  template <class F>
  void for_rows_seen(const F& f) const {
    for (std::int64_t y = shape.first(top); y < shape.last(top + rows - 1); y++) {
      const std::int64_t low = std::max<std::int64_t>(y - RADIUS - top, 0);
      const std::int64_t high = std::min<std::int64_t>(y + RADIUS - top + 1, rows);
      with_constant<ROWS>(high - low, [&](auto n) { f(n, low, y - top - low + RADIUS, image * shape.height + y); });
    }
  }

  // Planes of the scores of one row that belong to rows of the image.
  std::int64_t first_plane(std::int64_t row) const { return (shape.first(top + row) - top - row + RADIUS) * WINDOW; }
  std::int64_t last_plane(std::int64_t row) const { return (shape.last(top + row) - top - row + RADIUS) * WINDOW; }

  void products(Rows& a, Rows& b, std::int64_t x, Rows& scores) const {
    const std::int64_t stride = shape.stride;
    for_rows_seen([&](auto n, std::int64_t row, std::int64_t dy, std::int64_t seen) {
      correlate<n>(a.row(row) + x, a.channels * stride, b.row(seen) + x, a.channels, stride,
                   scores.row(row) + dy * WINDOW * stride + x, (NEIGHBOURS - WINDOW) * stride);
    });
  }

  void mask(std::int64_t x, Rows& scores) const {
    if (x >= RADIUS && x + LANES + RADIUS <= shape.width) return;
    for (std::int64_t row = 0; row < rows; row++)
      for (std::int64_t plane = first_plane(row); plane < last_plane(row); plane++)
        for (int lane = 0; lane < LANES; lane++) {
          const std::int64_t seen = x + lane + plane % WINDOW - RADIUS;
          if (seen < 0 || seen >= shape.width) scores.row(row)[plane * shape.stride + x + lane] = MASKED;
        }
  }

  // From what the tile sees to the tile.
  void gather(Rows& weights, Rows& seen, std::int64_t x, Rows& to) const {
    const std::int64_t stride = shape.stride, channels = to.channels;
    for_channel_blocks(channels, [&](auto block, std::int64_t c) {
      for (std::int64_t row = 0; row < rows; row++)
        for (int i = 0; i < block; i++) store(to.row(row) + (c + i) * stride + x, Vector{});
      for_rows_seen([&](auto n, std::int64_t row, std::int64_t dy, std::int64_t y) {
        accumulate<1, block, n>(to.row(row) + c * stride + x, channels * stride,
                                weights.row(row) + dy * WINDOW * stride + x, (NEIGHBOURS - WINDOW) * stride,
                                seen.row(y) + c * stride + x, stride);
      });
    });
  }

  // From the tile to what it sees.
  void scatter(Rows& weights, Rows& from, std::int64_t x, Rows& seen) const {
    const std::int64_t stride = shape.stride, channels = from.channels;
    for_channel_blocks(channels, [&](auto block, std::int64_t c) {
      for (std::int64_t row = 0; row < rows; row++) {
        const std::int64_t last = shape.last(top + row);
        for (std::int64_t y = shape.first(top + row); y < last; y += ROWS)
          with_constant<ROWS>(std::min<std::int64_t>(ROWS, last - y), [&](auto n) {
            accumulate<-1, block, n>(seen.row(image * shape.height + y) + c * stride + x, channels * stride,
                                     weights.row(row) + (y - top - row + RADIUS) * WINDOW * stride + x,
                                     WINDOW * stride, from.row(row) + c * stride + x, stride);
          });
      }
    });
  }

  const Shape shape;
  std::int64_t image = 0, top = 0, rows = 0;
};

// Scores to weights, for one vector of pixels.
void softmax(Scalar* scores, std::int64_t first, std::int64_t last, std::int64_t stride) {
  Vector most = load(scores + first * stride);
  for (std::int64_t i = first + 1; i < last; i++) {
    const Vector score = load(scores + i * stride);
    most = score > most ? score : most;
  }
  Vector sum = {};
  for (std::int64_t i = first; i < last; i++) {
    const Vector weight = exponential(load(scores + i * stride) - most);
    store(scores + i * stride, weight);
    sum += weight;
  }
  const Vector factor = 1 / sum;
  for (std::int64_t i = first; i < last; i++) store(scores + i * stride, load(scores + i * stride) * factor);
}

// Gradients of the weights to gradients of the scores.
void softmax_backward(const Scalar* weights, Scalar* grads, std::int64_t first, std::int64_t last, std::int64_t stride) {
  Vector mean = {};
  for (std::int64_t i = first; i < last; i++) mean += load(weights + i * stride) * load(grads + i * stride);
  for (std::int64_t i = first; i < last; i++)
    store(grads + i * stride, load(weights + i * stride) * (load(grads + i * stride) - mean));
}

void forward(const Scalar* query, const Scalar* key, const Scalar* value, Scalar* out, const Shape& shape,
             std::int64_t d, std::int64_t c, int threads) {
  Rows keys = packed(key, d, shape, threads), values = packed(value, c, shape, threads);
  const std::int64_t pixels = shape.height * shape.width, tiles = (shape.height + ROWS - 1) / ROWS;
  const Scalar scale = 1 / std::sqrt(static_cast<Scalar>(d));
  parallel(threads, shape.batch * tiles, [&] {
    return [&, tile = Tile(shape), queries = Rows(ROWS, d, shape), outs = Rows(ROWS, c, shape),
            weights = Rows(ROWS, NEIGHBOURS, shape)](std::int64_t i) mutable {
      tile.move_to(i / tiles, i % tiles * ROWS);
      for (std::int64_t row = 0; row < tile.rows; row++)
        pack(query + tile.image * d * pixels, d, shape, tile.top + row, scale, queries.row(row));
      for (std::int64_t x = 0; x < shape.width; x += LANES) {
        tile.products(queries, keys, x, weights);
        tile.mask(x, weights);
        for (std::int64_t row = 0; row < tile.rows; row++)
          softmax(weights.row(row) + x, tile.first_plane(row), tile.last_plane(row), shape.stride);
        tile.gather(weights, values, x, outs);
      }
      for (std::int64_t row = 0; row < tile.rows; row++)
        unpack(outs.row(row), c, shape, tile.top + row, 1, out + tile.image * c * pixels);
    };
  });
}

void unpack_all(Rows& rows, const Shape& shape, Scalar* maps, int threads) {
  parallel(threads, shape.batch * shape.height, [&] {
    return [&](std::int64_t i) {
      const std::int64_t image = i / shape.height, y = i % shape.height;
      unpack(rows.row(i), rows.channels, shape, y, 1, maps + image * rows.channels * shape.height * shape.width);
    };
  });
}

void backward(const Scalar* grad, const Scalar* query, const Scalar* key, const Scalar* value, Scalar* grad_query,
              Scalar* grad_key, Scalar* grad_value, const Shape& shape, std::int64_t d, std::int64_t c, int threads) {
  Rows keys = packed(key, d, shape, threads), values = packed(value, c, shape, threads);
  Rows grad_keys(shape.batch * shape.height, d, shape), grad_values(shape.batch * shape.height, c, shape);
  const std::int64_t pixels = shape.height * shape.width;
  const std::int64_t blocks = (shape.height + BLOCK_ROWS - 1) / BLOCK_ROWS;
  const Scalar scale = 1 / std::sqrt(static_cast<Scalar>(d));
  // Every other block first, then the rest: no two threads ever write the same row, and the order of the sums,
  // so the result to the last bit, does not depend on the number of threads.
  for (int parity = 0; parity < 2; parity++) {
    const std::int64_t some = (blocks + 1 - parity) / 2;
    parallel(threads, shape.batch * some, [&] {
      return [&, tile = Tile(shape), queries = Rows(ROWS, d, shape), grads = Rows(ROWS, c, shape),
              grad_queries = Rows(ROWS, d, shape), weights = Rows(ROWS, NEIGHBOURS, shape),
              grad_scores = Rows(ROWS, NEIGHBOURS, shape)](std::int64_t i) mutable {
        const std::int64_t top = (i % some * 2 + parity) * BLOCK_ROWS;
        for (std::int64_t y = top; y < std::min(top + BLOCK_ROWS, shape.height); y += ROWS) {
          tile.move_to(i / some, y);
          for (std::int64_t row = 0; row < tile.rows; row++) {
            pack(query + tile.image * d * pixels, d, shape, y + row, scale, queries.row(row));
            pack(grad + tile.image * c * pixels, c, shape, y + row, 1, grads.row(row));
          }
          for (std::int64_t x = 0; x < shape.width; x += LANES) {
            tile.products(queries, keys, x, weights);
            tile.mask(x, weights);
            tile.products(grads, values, x, grad_scores);
            for (std::int64_t row = 0; row < tile.rows; row++) {
              const std::int64_t first = tile.first_plane(row), last = tile.last_plane(row);
              softmax(weights.row(row) + x, first, last, shape.stride);
              softmax_backward(weights.row(row) + x, grad_scores.row(row) + x, first, last, shape.stride);
            }
            tile.gather(grad_scores, keys, x, grad_queries);
          }
          for (std::int64_t x = 0; x < shape.width; x += LANES) {
            tile.scatter(grad_scores, queries, x, grad_keys);
            tile.scatter(weights, grads, x, grad_values);
          }
          for (std::int64_t row = 0; row < tile.rows; row++)
            unpack(grad_queries.row(row), d, shape, y + row, scale, grad_query + tile.image * d * pixels);
        }
      };
    });
  }
  unpack_all(grad_keys, shape, grad_key, threads);
  unpack_all(grad_values, shape, grad_value, threads);
}

}  // namespace

extern "C" {

void local_attention(const Scalar* query, const Scalar* key, const Scalar* value, Scalar* out, std::int64_t batch,
                     std::int64_t d, std::int64_t c, std::int64_t height, std::int64_t width, int threads) {
  forward(query, key, value, out, Shape(batch, height, width), d, c, threads);
}

void local_attention_backward(const Scalar* grad, const Scalar* query, const Scalar* key, const Scalar* value,
                              Scalar* grad_query, Scalar* grad_key, Scalar* grad_value, std::int64_t batch,
                              std::int64_t d, std::int64_t c, std::int64_t height, std::int64_t width, int threads) {
  backward(grad, query, key, value, grad_query, grad_key, grad_value, Shape(batch, height, width), d, c, threads);
}
}
