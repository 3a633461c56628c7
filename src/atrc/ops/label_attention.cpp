// Attention to label regions on CPUs: for every pixel, softmax over the regions of q.k / sqrt(d), times v.
//
// Compiled on first use for one SCALAR.
//
// Vectors run along pixels. A worker packs some panels of pixels at a time, so that all that happens to them
// happens in the cache; the scores of a panel are a small matrix product, whose sums stay in registers.
#include "kernel.hpp"

namespace {

// PANEL * COLUMNS sums, PANEL vectors and one number fit the registers; so do LEFT * RIGHT sums and their factors.
constexpr int PANEL = REGISTERS == 32 ? 4 : 2, COLUMNS = 6;
constexpr int LEFT = REGISTERS == 32 ? 5 : 3, RIGHT = REGISTERS == 32 ? 5 : 3;
constexpr std::int64_t WIDTH = PANEL * LANES;     // pixels of a panel
constexpr std::int64_t CACHE = 1 << 17;           // what a worker's panels may take [bytes]
constexpr std::int64_t TASK = 2048, TASKS = 256;  // pixels of a task at least; tasks of a call at most, about

struct Shape {
  std::int64_t images;
  std::int64_t d, c;  // channels of queries and keys, of values
  std::int64_t regions;
  std::int64_t pixels;

  Scalar scale() const { return 1 / std::sqrt(static_cast<Scalar>(d)); }

  // Into how many tasks an image is cut. Must not depend on the number of threads: the sums of keys and values do not.
  std::int64_t pieces() const {
    return std::clamp<std::int64_t>(TASKS / std::max<std::int64_t>(images, 1), 1, (pixels + TASK - 1) / TASK);
  }
  std::int64_t start(std::int64_t piece) const {
    const std::int64_t panels = (pixels + WIDTH - 1) / WIDTH;
    return std::min(panels * piece / pieces() * WIDTH, pixels);
  }
  // Panels of so many rows to work on at a time.
  std::int64_t panels(std::int64_t rows) const {
    return std::clamp<std::int64_t>(CACHE / (rows * PANEL * BYTES), 1, 8);
  }
};

// Rows of pixels, panel by panel: (panel, row, vector).
class Panels {
 public:
  Panels(std::int64_t rows, std::int64_t panels) : rows(rows), memory(rows * panels * PANEL) {}

  Vector* panel(std::int64_t i) { return memory.data() + i * rows * PANEL; }

  // `count` pixels from maps that are `stride` apart; zeros up to a whole panel.
  void pack(const Scalar* map, std::int64_t stride, std::int64_t count) {
    for_pieces(stride, count, [&](Vector* row, std::int64_t x, auto size) {
      if (size < WIDTH) std::fill(row, row + PANEL, Vector{});
      std::memcpy(row, map + x, size * sizeof(Scalar));
    });
  }
  void unpack(Scalar* map, std::int64_t stride, std::int64_t count) {
    for_pieces(stride, count, [&](const Vector* row, std::int64_t x, auto size) {
      std::memcpy(map + x, row, size * sizeof(Scalar));
    });
  }

  const std::int64_t rows;

 private:
  // f(row of a panel, its place in the maps, its pixels), the last being a constant for whole panels.
  template <class F>
  void for_pieces(std::int64_t stride, std::int64_t count, const F& f) {
    for (std::int64_t i = 0; i < rows; i++) {
      std::int64_t x = 0;
      for (; x + WIDTH <= count; x += WIDTH)
        f(panel(x / WIDTH) + i * PANEL, i * stride + x, std::integral_constant<std::int64_t, WIDTH>());
      if (x < count) f(panel(x / WIDTH) + i * PANEL, i * stride + x, count - x);
    }
  }

  std::vector<Vector> memory;
};

// A small matrix as (row, column), from one that may be transposed.
std::vector<Scalar> matrix(const Scalar* from, std::int64_t rows, std::int64_t columns, std::int64_t row_stride,
                           std::int64_t column_stride, Scalar factor = 1) {
  std::vector<Scalar> to(rows * columns);
  for (std::int64_t row = 0; row < rows; row++)
    for (std::int64_t column = 0; column < columns; column++)
      to[row * columns + column] = from[row * row_stride + column * column_stride] * factor;
  return to;
}

// f(constant, first) for blocks of at most MOST of n, all of nearly the same size.
template <int MOST, class F>
void for_blocks(std::int64_t n, const F& f) {
  const std::int64_t blocks = (n + MOST - 1) / MOST;
  for (std::int64_t i = 0; i < blocks; i++) {
    const std::int64_t first = n * i / blocks, last = n * (i + 1) / blocks;
    with_constant<MOST>(last - first, [&](auto size) { f(size, first); });
  }
}

// out[column] = sum over rows of from[row] * by[row][column], for every pixel of a panel and N columns.
template <int N>
void multiply(const Vector* from, const Scalar* by, std::int64_t rows, std::int64_t columns, Vector* out) {
  Vector sums[N * PANEL];
  unroll<N * PANEL>([&](auto i) { sums[i] = Vector{}; });
  for (std::int64_t row = 0; row < rows; row++, from += PANEL, by += columns)
    unroll<N * PANEL>([&](auto i) { sums[i] += from[i % PANEL] * by[i / PANEL]; });
  unroll<N * PANEL>([&](auto i) { out[i] = sums[i]; });
}

void multiply(const Vector* from, const std::vector<Scalar>& by, std::int64_t columns, Vector* out) {
  for_blocks<COLUMNS>(columns, [&](auto n, std::int64_t column) {
    multiply<n>(from, by.data() + column, by.size() / columns, columns, out + column * PANEL);
  });
}

// sums[m][n] += sum over the pixels of a[m] * b[n], lane by lane, for M rows of a and N of b.
template <int M, int N>
void correlate(Panels& a, std::int64_t first_a, Panels& b, std::int64_t first_b, std::int64_t panels, Vector* sums) {
  Vector block[M * N];
  unroll<M * N>([&](auto i) { block[i] = Vector{}; });
  for (std::int64_t panel = 0; panel < panels; panel++) {
    const Vector *left = a.panel(panel) + first_a * PANEL, *right = b.panel(panel) + first_b * PANEL;
    for (int x = 0; x < PANEL; x++, left++, right++)
      unroll<M * N>([&](auto i) { block[i] += left[i / N * PANEL] * right[i % N * PANEL]; });
  }
  unroll<M * N>([&](auto i) { sums[(first_a + i / N) * b.rows + first_b + i % N] += block[i]; });
}

void correlate(Panels& a, Panels& b, std::int64_t panels, Vector* sums) {
  for_blocks<LEFT>(a.rows, [&](auto m, std::int64_t i) {
    for_blocks<RIGHT>(b.rows, [&](auto n, std::int64_t j) { correlate<m, n>(a, i, b, j, panels, sums); });
  });
}

// Scores to weights, for the pixels of a panel.
void softmax(Vector* scores, std::int64_t regions) {
  for (int x = 0; x < PANEL; x++) {
    Vector most = scores[x];
    for (std::int64_t i = 1; i < regions; i++) {
      const Vector score = scores[i * PANEL + x];
      most = score > most ? score : most;
    }
    Vector sum = {};
    for (std::int64_t i = 0; i < regions; i++) sum += scores[i * PANEL + x] = exponential(scores[i * PANEL + x] - most);
    const Vector factor = 1 / sum;
    for (std::int64_t i = 0; i < regions; i++) scores[i * PANEL + x] *= factor;
  }
}

// Gradients of the weights to gradients of the scores.
void softmax_backward(const Vector* weights, Vector* grads, std::int64_t regions) {
  for (int x = 0; x < PANEL; x++) {
    Vector mean = {};
    for (std::int64_t i = x; i < regions * PANEL; i += PANEL) mean += weights[i] * grads[i];
    for (std::int64_t i = x; i < regions * PANEL; i += PANEL) grads[i] = weights[i] * (grads[i] - mean);
  }
}

// Adds up the lanes of the first sums, and sets these to zero again.
void drain(std::vector<Vector>& sums, std::int64_t count, Scalar factor, Scalar* to) {
  for (std::int64_t i = 0; i < count; i++) {
    Scalar total = 0;
    for (int lane = 0; lane < LANES; lane++) total += sums[i][lane];
    to[i] = total * factor;
    sums[i] = Vector{};
  }
}

class Forward {
 public:
  explicit Forward(const Shape& shape)
      : shape(shape), size(shape.panels(shape.d + shape.c)), queries(shape.d, size), outs(shape.c, size),
        weights(shape.regions, 1) {}

  // Pixels [first, last) of one image.
  void run(const Scalar* query, const Scalar* key, const Scalar* value, Scalar* out, std::int64_t first,
           std::int64_t last) {
    const std::int64_t regions = shape.regions;
    const auto keys = matrix(key, shape.d, regions, shape.regions, 1, shape.scale());
    const auto values = matrix(value, regions, shape.c, 1, shape.regions);
    for (std::int64_t x = first; x < last; x += size * WIDTH) {
      const std::int64_t count = std::min(size * WIDTH, last - x);
      queries.pack(query + x, shape.pixels, count);
      for (std::int64_t i = 0; i * WIDTH < count; i++) {
        multiply(queries.panel(i), keys, regions, weights.panel(0));
        softmax(weights.panel(0), regions);
        multiply(weights.panel(0), values, shape.c, outs.panel(i));
      }
      outs.unpack(out + x, shape.pixels, count);
    }
  }

 private:
  const Shape shape;
  const std::int64_t size;  // panels at a time
  Panels queries, outs, weights;
};

class Backward {
 public:
  explicit Backward(const Shape& shape)
      : shape(shape), size(shape.panels(2 * (shape.d + shape.regions) + shape.c)), queries(shape.d, size),
        grads(shape.c, size), weights(shape.regions, size), grad_scores(shape.regions, size),
        grad_queries(shape.d, size), key_sums(shape.regions * shape.d), value_sums(shape.regions * shape.c) {}

  // Pixels [first, last) of one image. What they add to the gradients of keys and values is written to `partial`, as
  // (region, channel of the key) and (region, channel of the value).
  void run(const Scalar* grad, const Scalar* query, const Scalar* key, const Scalar* value, Scalar* grad_query,
           Scalar* partial, std::int64_t first, std::int64_t last) {
    const std::int64_t d = shape.d, c = shape.c, regions = shape.regions;
    const auto keys = matrix(key, d, regions, shape.regions, 1, shape.scale());
    const auto keys_transposed = matrix(key, regions, d, 1, shape.regions, shape.scale());
    const auto values = matrix(value, c, regions, shape.regions, 1);
    for (std::int64_t x = first; x < last; x += size * WIDTH) {
      const std::int64_t count = std::min(size * WIDTH, last - x), panels = (count + WIDTH - 1) / WIDTH;
      queries.pack(query + x, shape.pixels, count);
      grads.pack(grad + x, shape.pixels, count);
      for (std::int64_t i = 0; i < panels; i++) {
        multiply(queries.panel(i), keys, regions, weights.panel(i));
        softmax(weights.panel(i), regions);
        multiply(grads.panel(i), values, regions, grad_scores.panel(i));
        softmax_backward(weights.panel(i), grad_scores.panel(i), regions);
        multiply(grad_scores.panel(i), keys_transposed, d, grad_queries.panel(i));
      }
      grad_queries.unpack(grad_query + x, shape.pixels, count);
      correlate(grad_scores, queries, panels, key_sums.data());
      correlate(weights, grads, panels, value_sums.data());
    }
    drain(key_sums, regions * d, shape.scale(), partial);
    drain(value_sums, regions * c, 1, partial + regions * d);
  }

 private:
  const Shape shape;
  const std::int64_t size;  // panels at a time
  Panels queries, grads, weights, grad_scores, grad_queries;
  std::vector<Vector> key_sums, value_sums;  // zeros between the runs
};

}  // namespace

extern "C" {

// All arrays as PyTorch has them.
void label_attention(const Scalar* query, const Scalar* key, const Scalar* value, Scalar* out, std::int64_t batch,
                     std::int64_t d, std::int64_t c, std::int64_t regions, std::int64_t pixels, int threads) {
  const Shape shape{batch, d, c, regions, pixels};
  const std::int64_t pieces = shape.pieces();
  std::vector<std::unique_ptr<Forward>> workers(threads);
  parallel(workers, shape, batch * pieces, [&](Forward& worker, std::int64_t task) {
    const std::int64_t image = task / pieces, piece = task % pieces;
    worker.run(query + image * d * pixels, key + image * d * regions, value + image * c * regions,
               out + image * c * pixels, shape.start(piece), shape.start(piece + 1));
  });
}

// grad_key and grad_value come as zeros. Every task has its own sums, added in order at the end: the result, to the
// last bit, does not depend on the number of threads.
void label_attention_backward(const Scalar* grad, const Scalar* query, const Scalar* key, const Scalar* value,
                              Scalar* grad_query, Scalar* grad_key, Scalar* grad_value, std::int64_t batch,
                              std::int64_t d, std::int64_t c, std::int64_t regions, std::int64_t pixels, int threads) {
  const Shape shape{batch, d, c, regions, pixels};
  const std::int64_t pieces = shape.pieces(), sums = regions * (d + c);
  std::vector<Scalar> partials(batch * pieces * sums);
  std::vector<std::unique_ptr<Backward>> workers(threads);
  parallel(workers, shape, batch * pieces, [&](Backward& worker, std::int64_t task) {
    const std::int64_t image = task / pieces, piece = task % pieces;
    worker.run(grad + image * c * pixels, query + image * d * pixels, key + image * d * regions,
               value + image * c * regions, grad_query + image * d * pixels, partials.data() + task * sums,
               shape.start(piece), shape.start(piece + 1));
  });
  for (std::int64_t task = 0; task < batch * pieces; task++) {
    const std::int64_t image = task / pieces;
    const Scalar* partial = partials.data() + task * sums;
    for (std::int64_t i = 0; i < regions; i++)
      for (std::int64_t j = 0; j < d; j++) grad_key[(image * d + j) * regions + i] += *partial++;
    for (std::int64_t i = 0; i < regions; i++)
      for (std::int64_t j = 0; j < c; j++) grad_value[(image * c + j) * regions + i] += *partial++;
  }
}
}
