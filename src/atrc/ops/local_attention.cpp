// Local attention on CPUs: softmax over the WINDOW x WINDOW neighbours that exist of q.k / sqrt(d), times v.
//
// Compiled on first use for one SCALAR and one WINDOW.
//
// Vectors run along image rows. A worker packs the rows it needs as (row, channel, x) with zeros left and right,
// so a neighbour is a load at another offset. ROWS rows of queries are worked on at once: every neighbour
// that is loaded serves all of them, and the sums of a whole row of the window stay in registers.
#include "kernel.hpp"

namespace {

constexpr int RADIUS = WINDOW / 2;
constexpr int NEIGHBOURS = WINDOW * WINDOW;
// ROWS * WINDOW sums, ROWS queries and one key fit the registers.
constexpr int ROWS = std::clamp((REGISTERS - 1) / (WINDOW + 1), 1, 4);
constexpr int MARGIN = (RADIUS + LANES - 1) / LANES * LANES;
// Rows of queries whose keys are packed together. What they see overlaps that of the next block only.
constexpr int BLOCK_ROWS = std::max(1, (2 * RADIUS + ROWS - 1) / ROWS) * ROWS;
constexpr Scalar MASKED = std::numeric_limits<Scalar>::lowest() / 2;

Vector load(const Scalar* from) {
  Vector x;
  std::memcpy(&x, from, BYTES);
  return x;
}

void store(Scalar* to, Vector x) { std::memcpy(to, &x, BYTES); }

struct Shape {
  std::int64_t batch, height, width;
  std::int64_t d, c;    // channels of queries and keys, of values
  std::int64_t stride;  // of a packed row; an odd number of vectors spreads the channels over the cache

  Shape(std::int64_t batch, std::int64_t d, std::int64_t c, std::int64_t height, std::int64_t width)
      : batch(batch), height(height), width(width), d(d), c(c),
        stride(((width + LANES - 1) / LANES + 2 * MARGIN / LANES) / 2 * 2 * LANES + LANES) {}

  std::int64_t blocks() const { return (height + BLOCK_ROWS - 1) / BLOCK_ROWS; }

  // Rows [first, last) of the image that row y sees, or that see it.
  std::int64_t first(std::int64_t y) const { return std::max<std::int64_t>(y - RADIUS, 0); }
  std::int64_t last(std::int64_t y) const { return std::min(y + RADIUS + 1, height); }
};

// Packed rows; `row(i)` is x = 0 of the first channel. The margins are never written and stay zero.
class Rows {
 public:
  Rows(std::int64_t rows, std::int64_t channels, const Shape& shape)
      : channels(channels), stride(shape.stride), memory(rows * channels * shape.stride) {}

  Scalar* row(std::int64_t i) { return memory.data() + i * channels * stride + MARGIN; }

  // From or to row y of a map (channel, y, x).
  void pack(std::int64_t i, const Scalar* map, const Shape& shape, std::int64_t y, Scalar factor = 1) {
    for (std::int64_t c = 0; c < channels; c++) {
      const Scalar* from = map + (c * shape.height + y) * shape.width;
      Scalar* to = row(i) + c * stride;
      for (std::int64_t x = 0; x < shape.width; x++) to[x] = from[x] * factor;
    }
  }
  void unpack(std::int64_t i, Scalar* map, const Shape& shape, std::int64_t y, Scalar factor = 1) {
    for (std::int64_t c = 0; c < channels; c++) {
      Scalar* to = map + (c * shape.height + y) * shape.width;
      const Scalar* from = row(i) + c * stride;
      for (std::int64_t x = 0; x < shape.width; x++) to[x] = from[x] * factor;
    }
  }
  void move_onto(std::int64_t i, Scalar* map, const Shape& shape, std::int64_t y) {
    for (std::int64_t c = 0; c < channels; c++) {
      Scalar* to = map + (c * shape.height + y) * shape.width;
      Scalar* from = row(i) + c * stride;
      for (std::int64_t x = 0; x < shape.width; x++) to[x] += from[x];
      std::fill(from, from + (shape.width + LANES - 1) / LANES * LANES, Scalar(0));
    }
  }

  const std::int64_t channels, stride;

 private:
  std::vector<Scalar> memory;
};

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

template <class F>
void for_channel_blocks(std::int64_t channels, const F& f) {
  std::int64_t c = 0;
  for (; c + 8 <= channels; c += 8) f(std::integral_constant<int, 8>(), c);
  for (; c + 2 <= channels; c += 2) f(std::integral_constant<int, 2>(), c);
  for (; c < channels; c++) f(std::integral_constant<int, 1>(), c);
}

// At most ROWS rows of queries of a block, and their place in the image.
class Tile {
 public:
  explicit Tile(const Shape& shape) : shape(shape) {}

  // f(y, i) for every row y that a block of queries sees; i counts them from RADIUS rows above the block.
  template <class F>
  void for_rows_of_block(const F& f) const {
    const std::int64_t bottom = std::min(block + BLOCK_ROWS, shape.height);
    for (std::int64_t y = shape.first(block); y < shape.last(bottom - 1); y++) f(y, y - block + RADIUS);
  }

  template <class F>
  void for_tiles_of_block(const F& f) {
    for (top = block; top < std::min(block + BLOCK_ROWS, shape.height); top += ROWS) {
      rows = std::min<std::int64_t>(ROWS, shape.height - top);
      f();
    }
  }

  // f(rows constant, first row of the tile, plane dy of that row, row of the block) for every row the tile sees.
  template <class F>
  void for_rows_seen(const F& f) const {
    for (std::int64_t y = shape.first(top); y < shape.last(top + rows - 1); y++) {
      const std::int64_t low = std::max<std::int64_t>(y - RADIUS - top, 0);
      const std::int64_t high = std::min<std::int64_t>(y + RADIUS - top + 1, rows);
      with_constant<ROWS>(high - low, [&](auto n) { f(n, low, y - top - low + RADIUS, y - block + RADIUS); });
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
    for_channel_blocks(channels, [&](auto count, std::int64_t c) {
      for (std::int64_t row = 0; row < rows; row++)
        for (int i = 0; i < count; i++) store(to.row(row) + (c + i) * stride + x, Vector{});
      for_rows_seen([&](auto n, std::int64_t row, std::int64_t dy, std::int64_t y) {
        accumulate<1, count, n>(to.row(row) + c * stride + x, channels * stride,
                                weights.row(row) + dy * WINDOW * stride + x, (NEIGHBOURS - WINDOW) * stride,
                                seen.row(y) + c * stride + x, stride);
      });
    });
  }

  // From the tile to what it sees.
  void scatter(Rows& weights, Rows& from, std::int64_t x, Rows& seen) const {
    const std::int64_t stride = shape.stride, channels = from.channels;
    for_channel_blocks(channels, [&](auto count, std::int64_t c) {
      for (std::int64_t row = 0; row < rows; row++) {
        const std::int64_t last = shape.last(top + row);
        for (std::int64_t y = shape.first(top + row); y < last; y += ROWS)
          with_constant<ROWS>(std::min<std::int64_t>(ROWS, last - y), [&](auto n) {
            accumulate<-1, count, n>(seen.row(y - block + RADIUS) + c * stride + x, channels * stride,
                                     weights.row(row) + (y - top - row + RADIUS) * WINDOW * stride + x,
                                     WINDOW * stride, from.row(row) + c * stride + x, stride);
          });
      }
    });
  }

  const Shape shape;
  std::int64_t block = 0, top = 0, rows = 0;
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

class Forward {
 public:
  explicit Forward(const Shape& shape)
      : tile(shape), queries(ROWS, shape.d, shape), keys(BLOCK_ROWS + 2 * RADIUS, shape.d, shape),
        values(BLOCK_ROWS + 2 * RADIUS, shape.c, shape), weights(ROWS, NEIGHBOURS, shape), outs(ROWS, shape.c, shape) {}

  // Maps of one image.
  void block(const Scalar* query, const Scalar* key, const Scalar* value, Scalar* out, std::int64_t top) {
    const Shape& shape = tile.shape;
    const Scalar scale = 1 / std::sqrt(static_cast<Scalar>(shape.d));
    tile.block = top;
    tile.for_rows_of_block([&](std::int64_t y, std::int64_t i) {
      keys.pack(i, key, shape, y);
      values.pack(i, value, shape, y);
    });
    tile.for_tiles_of_block([&] {
      for (std::int64_t row = 0; row < tile.rows; row++) queries.pack(row, query, shape, tile.top + row, scale);
      for (std::int64_t x = 0; x < shape.width; x += LANES) {
        tile.products(queries, keys, x, weights);
        tile.mask(x, weights);
        for (std::int64_t row = 0; row < tile.rows; row++)
          softmax(weights.row(row) + x, tile.first_plane(row), tile.last_plane(row), shape.stride);
        tile.gather(weights, values, x, outs);
      }
      for (std::int64_t row = 0; row < tile.rows; row++) outs.unpack(row, out, shape, tile.top + row);
    });
  }

 private:
  Tile tile;
  Rows queries, keys, values, weights, outs;
};

class Backward {
 public:
  explicit Backward(const Shape& shape)
      : tile(shape), queries(ROWS, shape.d, shape), grads(ROWS, shape.c, shape),
        keys(BLOCK_ROWS + 2 * RADIUS, shape.d, shape), values(BLOCK_ROWS + 2 * RADIUS, shape.c, shape),
        weights(ROWS, NEIGHBOURS, shape), grad_scores(ROWS, NEIGHBOURS, shape), grad_queries(ROWS, shape.d, shape),
        grad_keys(BLOCK_ROWS + 2 * RADIUS, shape.d, shape), grad_values(BLOCK_ROWS + 2 * RADIUS, shape.c, shape) {}

  // Maps of one image; the gradients of keys and values are added to what is there.
  void block(const Scalar* grad, const Scalar* query, const Scalar* key, const Scalar* value, Scalar* grad_query,
             Scalar* grad_key, Scalar* grad_value, std::int64_t top) {
    const Shape& shape = tile.shape;
    const Scalar scale = 1 / std::sqrt(static_cast<Scalar>(shape.d));
    tile.block = top;
    tile.for_rows_of_block([&](std::int64_t y, std::int64_t i) {
      keys.pack(i, key, shape, y);
      values.pack(i, value, shape, y);
    });
    tile.for_tiles_of_block([&] {
      for (std::int64_t row = 0; row < tile.rows; row++) {
        queries.pack(row, query, shape, tile.top + row, scale);
        grads.pack(row, grad, shape, tile.top + row);
      }
      for (std::int64_t x = 0; x < shape.width; x += LANES) differentiate_weights(x);
      for (std::int64_t x = 0; x < shape.width; x += LANES) {
        tile.scatter(grad_scores, queries, x, grad_keys);
        tile.scatter(weights, grads, x, grad_values);
      }
      for (std::int64_t row = 0; row < tile.rows; row++)
        grad_queries.unpack(row, grad_query, shape, tile.top + row, scale);
    });
    tile.for_rows_of_block([&](std::int64_t y, std::int64_t i) {
      grad_keys.move_onto(i, grad_key, shape, y);
      grad_values.move_onto(i, grad_value, shape, y);
    });
  }

 private:
  void differentiate_weights(std::int64_t x) {
    tile.products(queries, keys, x, weights);
    tile.mask(x, weights);
    tile.products(grads, values, x, grad_scores);
    for (std::int64_t row = 0; row < tile.rows; row++) {
      const std::int64_t first = tile.first_plane(row), last = tile.last_plane(row);
      softmax(weights.row(row) + x, first, last, tile.shape.stride);
      softmax_backward(weights.row(row) + x, grad_scores.row(row) + x, first, last, tile.shape.stride);
    }
    tile.gather(grad_scores, keys, x, grad_queries);
  }

  Tile tile;
  Rows queries, grads, keys, values, weights, grad_scores, grad_queries, grad_keys, grad_values;
};

}  // namespace

extern "C" {

void local_attention(const Scalar* query, const Scalar* key, const Scalar* value, Scalar* out, std::int64_t batch,
                     std::int64_t d, std::int64_t c, std::int64_t height, std::int64_t width, int threads) {
  const Shape shape(batch, d, c, height, width);
  const std::int64_t queries = d * height * width, values = c * height * width, blocks = shape.blocks();
  std::vector<std::unique_ptr<Forward>> workers(threads);
  parallel(workers, shape, batch * blocks, [&](Forward& worker, std::int64_t task) {
    const std::int64_t image = task / blocks, top = task % blocks * BLOCK_ROWS;
    worker.block(query + image * queries, key + image * queries, value + image * values,
                          out + image * values, top);
  });
}

// grad_key and grad_value come as zeros.
void local_attention_backward(const Scalar* grad, const Scalar* query, const Scalar* key, const Scalar* value,
                              Scalar* grad_query, Scalar* grad_key, Scalar* grad_value, std::int64_t batch,
                              std::int64_t d, std::int64_t c, std::int64_t height, std::int64_t width, int threads) {
  const Shape shape(batch, d, c, height, width);
  const std::int64_t queries = d * height * width, values = c * height * width;
  std::vector<std::unique_ptr<Backward>> workers(threads);
  // Every other block first, then the rest: no two threads ever add to the same row, and the order of the sums,
  // so the result to the last bit, does not depend on the number of threads.
  for (int parity = 0; parity < 2; parity++) {
    const std::int64_t blocks = (shape.blocks() + 1 - parity) / 2;
    parallel(workers, shape, batch * blocks, [&](Backward& worker, std::int64_t task) {
      const std::int64_t image = task / blocks, top = (task % blocks * 2 + parity) * BLOCK_ROWS;
      worker.block(grad + image * values, query + image * queries, key + image * queries,
                            value + image * values, grad_query + image * queries, grad_key + image * queries,
                            grad_value + image * values, top);
    });
  }
}
}
