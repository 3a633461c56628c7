// 1x1 convolution and batch norm in training, and their gradients, tile of pixels by tile of pixels.
//
// A layer multiplies by W (outputs x inputs) for each of some groups. The inputs of a layer of `hidden` inputs are what
// the layer before gave, normalised and cut at 0 as they are read; its own outputs are not kept: they are made again.
#include "kernel.hpp"

namespace {

constexpr int ROWS = 6, COLUMNS = REGISTERS == 32 ? 4 : 2;                 // vectors of a product in registers
constexpr int DOT_ROWS = REGISTERS == 32 ? 4 : 3, DOT_COLUMNS = REGISTERS == 32 ? 6 : 4;  // of a product of two maps
constexpr int TILE = 16 * LANES, STRIDE = TILE + LANES;                    // pixels; rows start in different sets of a cache
constexpr std::int64_t PART = 4 * TILE;                                    // pixels of a task

enum : std::int64_t { NONE, RELU, SOFTPLUS };

struct Shape {
  std::int64_t batch, groups, inputs, outputs, pixels;
  bool hidden;
  std::int64_t activation;  // after the batch norm

  std::int64_t parts() const { return (pixels + PART - 1) / PART; }
  std::int64_t rows() const { return groups * outputs; }
  std::int64_t columns() const { return groups * inputs; }
};

// The rows of some maps (batch, channels, pixels), the channels of one after those of the other.
class Rows {
 public:
  // Of every map its address and its channels.
  Rows(const std::int64_t* table, std::int64_t maps, std::int64_t batch, std::int64_t pixels) {
    for (std::int64_t image = 0; image < batch; image++)
      for (std::int64_t map = 0; map < maps; map++) {
        Scalar* start = reinterpret_cast<Scalar*>(table[2 * map]) + image * table[2 * map + 1] * pixels;
        for (std::int64_t i = 0; i < table[2 * map + 1]; i++) rows.push_back(start + i * pixels);
      }
  }
  Rows(const Scalar* start, std::int64_t count, std::int64_t pixels) {
    for (std::int64_t i = 0; i < count; i++) rows.push_back(const_cast<Scalar*>(start) + i * pixels);
  }
  Scalar* const* from(std::int64_t row) const { return rows.data() + row; }

 private:
  std::vector<Scalar*> rows;
};

// Rows of coefficients, one number for each channel; what a function does not use need not be there.
struct Norm {
  const Scalar *scale, *shift, *mean, *slope, *offset;

  Norm(const Scalar* from, std::int64_t rows)
      : scale(from), shift(from + rows), mean(from + 2 * rows), slope(from + 3 * rows), offset(from + 4 * rows) {}
};

// Count, mean and sum of squared deviations; of two samples together by Chan, Golub and LeVeque.
struct Moments {
  double count = 0, mean = 0, squares = 0;

  void add(const Moments& other) {
    const double all = count + other.count, difference = other.mean - mean;
    if (all == 0) return;
    mean += difference * other.count / all;
    squares += other.squares + difference * difference * count * other.count / all;
    count = all;
  }
};

inline Vector load(const Scalar* from) {
  Vector x;
  std::memcpy(&x, from, BYTES);
  return x;
}
inline void store(Scalar* to, Vector x) { std::memcpy(to, &x, BYTES); }
inline Vector cut(Vector x) { return x < 0 ? Vector{} : x; }  // what is no number stays none
inline Vector absolute(Vector x) { return x < 0 ? -x : x; }

// log(1 + u) for 0 <= u <= 1, relative error 1e-7: twice the area tangent of u / (2 + u).
[[maybe_unused]] Floats log_of_one_plus(Floats u) {
  const Floats s = u / (u + 2.0f), q = s * s;
  Floats p = q / 13.0f + 1.0f / 11.0f;
  p = p * q + 1.0f / 9.0f;
  p = p * q + 1.0f / 7.0f;
  p = p * q + 1.0f / 5.0f;
  p = p * q + 1.0f / 3.0f;
  return 2.0f * (p * q * s + s);
}

[[maybe_unused]] Doubles log_of_one_plus(Doubles u) {
  for (std::size_t i = 0; i < BYTES / sizeof(double); i++) u[i] = std::log1p(u[i]);
  return u;
}

Vector activate(Vector x, std::int64_t activation) {
  if (activation == NONE) return x;
  return activation == RELU ? cut(x) : cut(x) + log_of_one_plus(exponential(-absolute(x)));
}

// The slope of the activation, times the gradient.
Vector differentiate(Vector x, Vector grad, std::int64_t activation) {
  if (activation == NONE) return grad;
  if (activation == RELU) return x <= 0 ? Vector{} : grad;
  const Vector small = exponential(-absolute(x));
  return grad * (x < 0 ? small : small * 0 + 1) / (small + 1);
}

inline Scalar total(Vector x) {
  return reduce(x, [](auto a, auto b) { return a + b; });
}

// Calls f(constant, start) for parts of 0 .. n - 1 as equal as can be, none larger than MOST.
template <int MOST, class F>
void split(std::int64_t n, const F& f) {
  const std::int64_t parts = (n + MOST - 1) / MOST;
  for (std::int64_t i = 0; i < parts; i++) {
    const std::int64_t start = i * n / parts;
    with_constant<MOST>((i + 1) * n / parts - start, [&](auto size) { f(size, start); });
  }
}

// R rows of W times COLUMNS vectors of a tile.
template <int R>
void product(const Scalar* w, const Scalar* x, Scalar* y, std::int64_t inputs) {
  Vector sums[R][COLUMNS]{};
  for (std::int64_t j = 0; j < inputs; j++) {
    Vector row[COLUMNS];
    unroll<COLUMNS>([&](auto v) { row[v] = load(x + j * STRIDE + v * LANES); });
    unroll<R>([&](auto r) {
      const Scalar weight = w[r * inputs + j];
      unroll<COLUMNS>([&](auto v) { sums[r][v] += weight * row[v]; });
    });
  }
  unroll<R>([&](auto r) { unroll<COLUMNS>([&](auto v) { store(y + r * STRIDE + v * LANES, sums[r][v]); }); });
}

// y = W x, of tiles.
void multiply(const Scalar* w, const Scalar* x, Scalar* y, std::int64_t outputs, std::int64_t inputs) {
  for (int column = 0; column < TILE; column += COLUMNS * LANES)
    split<ROWS>(outputs, [&](auto rows, std::int64_t i) {
      product<rows>(w + i * inputs, x + column, y + i * STRIDE + column, inputs);
    });
}

template <int R, int S>
void dots(const Scalar* a, const Scalar* b, Scalar* to, std::int64_t stride) {
  Vector sums[R][S]{};
  for (int v = 0; v < TILE; v += LANES) {
    Vector rows[R];
    unroll<R>([&](auto r) { rows[r] = load(a + r * STRIDE + v); });
    unroll<S>([&](auto s) {
      const Vector other = load(b + s * STRIDE + v);
      unroll<R>([&](auto r) { sums[r][s] += rows[r] * other; });
    });
  }
  unroll<R>([&](auto r) { unroll<S>([&](auto s) { to[r * stride + s] += total(sums[r][s]); }); });
}

// to += a b^T, of tiles.
void multiply_maps(const Scalar* a, const Scalar* b, Scalar* to, std::int64_t rows, std::int64_t columns) {
  split<DOT_ROWS>(rows, [&](auto some, std::int64_t i) {
    split<DOT_COLUMNS>(columns, [&](auto others, std::int64_t j) {
      dots<some, others>(a + i * STRIDE, b + j * STRIDE, to + i * columns + j, columns);
    });
  });
}

Moments moments(const Scalar* x, std::int64_t count) {
  const std::int64_t full = count / LANES * LANES;
  Vector sums{}, squares{};
  for (std::int64_t i = 0; i < full; i += LANES) sums += load(x + i);
  double sum = total(sums);
  for (std::int64_t i = full; i < count; i++) sum += x[i];
  const Scalar mean = sum / count;
  for (std::int64_t i = 0; i < full; i += LANES) {
    const Vector difference = load(x + i) - mean;
    squares += difference * difference;
  }
  double rest = 0;
  for (std::int64_t i = full; i < count; i++) rest += double(x[i] - mean) * (x[i] - mean);
  return {double(count), mean, rest + total(squares)};
}

// The tiles of a task, in turn. Pixels of a tile that the map does not have are 0.
class Worker {
 public:
  explicit Worker(const Shape& shape)
      : shape(shape), input(shape.inputs * STRIDE / LANES), output(shape.outputs * STRIDE / LANES), grad(shape.outputs * STRIDE / LANES),
        back(shape.inputs * STRIDE / LANES) {}

  void forward(Scalar* const* from, const Norm& before, const Scalar* w, Scalar* const* to, Moments* found,
               std::int64_t part) {
    tiles(part, [&](std::int64_t group) {
      read_input(from, before, group);
      multiply(w + group * shape.outputs * shape.inputs, x(), y(), shape.outputs, shape.inputs);
      write(y(), to + group * shape.outputs, shape.outputs);
      for (std::int64_t i = 0; i < shape.outputs; i++)
        found[group * shape.outputs + i].add(moments(y() + i * STRIDE, count));
    });
  }

  // Sums of what the gradient is before the batch norm, and of that times the deviation from the mean.
  void sums(Scalar* const* grads, Scalar* const* from, const Norm& before, const Scalar* w, const Norm& norm,
            double* to, std::int64_t part) {
    tiles(part, [&](std::int64_t group) {
      read_output(grads, from, from, before, w, norm, group);
      for (std::int64_t i = 0; i < shape.outputs; i++) {
        const std::int64_t row = group * shape.outputs + i;
        const Scalar mean = norm.mean[row];
        Vector sums{}, products{};
        for (std::int64_t j = i * STRIDE; j < i * STRIDE + TILE; j += LANES) {
          sums += load(g() + j);
          products += load(g() + j) * (load(y() + j) - mean);
        }
        to[row] += total(sums);
        to[shape.rows() + row] += total(products);
      }
    });
  }

  void backward(Scalar* const* grads, Scalar* const* from, Scalar* const* outputs, const Norm& before, const Scalar* w,
                const Scalar* transposed, const Norm& norm, Scalar* const* to, Scalar* to_w, std::int64_t part) {
    const std::int64_t size = shape.outputs * shape.inputs;
    tiles(part, [&](std::int64_t group) {
      if (!shape.hidden) read_input(from, before, group);
      read_output(grads, from, outputs, before, w, norm, group);
      for (std::int64_t i = 0; i < shape.outputs; i++) {
        const std::int64_t row = group * shape.outputs + i;
        const Scalar scale = norm.scale[row], mean = norm.mean[row], slope = norm.slope[row], offset = norm.offset[row];
        for (std::int64_t j = i * STRIDE; j < i * STRIDE + TILE; j += LANES)
          store(g() + j, scale * load(g() + j) + (slope * (load(y() + j) - mean) + offset));
        std::fill(g() + i * STRIDE + count, g() + i * STRIDE + TILE, Scalar(0));
      }
      multiply_maps(g(), x(), to_w + group * size, shape.outputs, shape.inputs);
      Scalar* result = reinterpret_cast<Scalar*>(back.data());
      multiply(transposed + group * size, g(), result, shape.inputs, shape.outputs);
      write(result, to + group * shape.inputs, shape.inputs);
    });
  }

 private:
  Scalar* x() { return reinterpret_cast<Scalar*>(input.data()); }
  Scalar* y() { return reinterpret_cast<Scalar*>(output.data()); }
  Scalar* g() { return reinterpret_cast<Scalar*>(grad.data()); }

  template <class Work>
  void tiles(std::int64_t part, const Work& work) {
    const std::int64_t end = std::min((part + 1) * PART, shape.pixels);
    for (start = part * PART; start < end; start += TILE) {
      count = std::min<std::int64_t>(TILE, end - start);
      for (std::int64_t group = 0; group < shape.groups; group++) work(group);
    }
  }

  void read(Scalar* const* from, Scalar* to, std::int64_t rows) const {
    for (std::int64_t i = 0; i < rows; i++, to += STRIDE) {
      std::memcpy(to, from[i] + start, count * sizeof(Scalar));
      std::fill(to + count, to + TILE, Scalar(0));
    }
  }
  void write(const Scalar* from, Scalar* const* to, std::int64_t rows) const {
    for (std::int64_t i = 0; i < rows; i++) std::memcpy(to[i] + start, from + i * STRIDE, count * sizeof(Scalar));
  }

  void read_input(Scalar* const* from, const Norm& before, std::int64_t group) {
    read(from + group * shape.inputs, x(), shape.inputs);
    if (!shape.hidden) return;
    for (std::int64_t i = 0; i < shape.inputs; i++) {
      const Scalar scale = before.scale[group * shape.inputs + i], shift = before.shift[group * shape.inputs + i];
      Scalar* row = x() + i * STRIDE;
      for (int j = 0; j < TILE; j += LANES) store(row + j, ::cut(scale * load(row + j) + shift));
      std::fill(row + count, row + TILE, Scalar(0));
    }
  }

  // The outputs before the batch norm, and the gradient after it.
  void read_output(Scalar* const* grads, Scalar* const* from, Scalar* const* outputs, const Norm& before,
                   const Scalar* w, const Norm& norm, std::int64_t group) {
    read(grads + group * shape.outputs, g(), shape.outputs);
    if (shape.hidden) {
      read_input(from, before, group);
      multiply(w + group * shape.outputs * shape.inputs, x(), y(), shape.outputs, shape.inputs);
    } else {
      read(outputs + group * shape.outputs, y(), shape.outputs);
    }
    if (shape.activation == NONE) return;
    for (std::int64_t i = 0; i < shape.outputs; i++) {
      const Scalar scale = norm.scale[group * shape.outputs + i], shift = norm.shift[group * shape.outputs + i];
      for (std::int64_t j = i * STRIDE; j < i * STRIDE + TILE; j += LANES)
        store(g() + j, differentiate(scale * load(y() + j) + shift, load(g() + j), shape.activation));
    }
  }

  Shape shape;
  std::vector<Vector> input, output, grad, back;
  std::int64_t start = 0, count = 0;  // of the tile
};

// Calls work(worker, image, part, task) for all tasks.
template <class Work>
void each(const Shape& shape, int threads, const Work& work) {
  std::vector<std::unique_ptr<Worker>> workers(threads);
  parallel(workers, shape, shape.batch * shape.parts(), [&](Worker& worker, std::int64_t task) {
    work(worker, task / shape.parts(), task % shape.parts(), task);
  });
}

// Adds up what all tasks found, `size` numbers each.
template <class Number>
void add_up(const std::vector<Number>& found, Scalar* to, std::size_t size) {
  for (std::size_t i = 0; i < size; i++) {
    double sum = 0;
    for (std::size_t task = 0; task < found.size(); task += size) sum += found[task + i];
    to[i] = sum;
  }
}

}  // namespace

// What a function is told of a layer, and the threads; of maps where x is a table.
#define LAYER                                                                                              \
  std::int64_t batch, std::int64_t groups, std::int64_t inputs, std::int64_t outputs, std::int64_t pixels, \
      std::int64_t hidden, std::int64_t activation, [[maybe_unused]] std::int64_t maps, int threads

extern "C" {

// x and grad_x are tables: of every map its address and its channels. Every task has its own sums, added in order at the
// end: no result depends on the number of threads.

void projection(const std::int64_t* x, const Scalar* before, const Scalar* w, Scalar* y, Scalar* statistics, LAYER) {
  const Shape shape{batch, groups, inputs, outputs, pixels, hidden != 0, activation};
  const Rows in(x, maps, batch, pixels), out(y, batch * shape.rows(), pixels);
  std::vector<Moments> found(batch * shape.parts() * shape.rows());
  each(shape, threads, [&](Worker& worker, std::int64_t image, std::int64_t part, std::int64_t task) {
    worker.forward(in.from(image * shape.columns()), {before, shape.columns()}, w, out.from(image * shape.rows()),
                   &found[task * shape.rows()], part);
  });
  for (std::int64_t row = 0; row < shape.rows(); row++) {
    Moments all;
    for (std::size_t task = 0; task < found.size(); task += shape.rows()) all.add(found[task + row]);
    statistics[row] = all.mean;
    statistics[shape.rows() + row] = all.squares / all.count;
  }
}

// z may be y.
void projection_activate(const Scalar* y, const Scalar* norm, Scalar* z, std::int64_t batch, std::int64_t rows,
                         std::int64_t pixels, std::int64_t activation, int threads) {
  std::vector<std::unique_ptr<std::int64_t>> workers(threads);
  parallel(workers, rows, batch * rows, [&](std::int64_t&, std::int64_t row) {
    const Scalar scale = norm[row % rows], shift = norm[rows + row % rows];
    const std::int64_t end = (row + 1) * pixels;
    std::int64_t i = row * pixels;
    for (; i + LANES <= end; i += LANES) store(z + i, activate(scale * load(y + i) + shift, activation));
    Vector rest{};
    std::memcpy(&rest, y + i, (end - i) * sizeof(Scalar));
    rest = activate(scale * rest + shift, activation);
    std::memcpy(z + i, &rest, (end - i) * sizeof(Scalar));
  });
}

// x: what there is of a layer of hidden inputs, or y.
void projection_sums(const Scalar* grad, const Scalar* x, const Scalar* before, const Scalar* w, const Scalar* norm,
                     Scalar* to, LAYER) {
  const Shape shape{batch, groups, inputs, outputs, pixels, hidden != 0, activation};
  const std::int64_t rows = shape.rows(), read = hidden ? shape.columns() : rows;
  const Rows grads(grad, batch * rows, pixels), from(x, batch * read, pixels);
  std::vector<double> sums(batch * shape.parts() * 2 * rows);
  each(shape, threads, [&](Worker& worker, std::int64_t image, std::int64_t part, std::int64_t task) {
    worker.sums(grads.from(image * rows), from.from(image * read), {before, shape.columns()}, w, {norm, rows},
                &sums[task * 2 * rows], part);
  });
  add_up(sums, to, 2 * rows);
}

// y is read where the inputs are not hidden.
void projection_backward(const Scalar* grad, const std::int64_t* x, const Scalar* y, const Scalar* before,
                         const Scalar* w, const Scalar* transposed, const Scalar* norm, const std::int64_t* grad_x,
                         Scalar* grad_w, LAYER) {
  const Shape shape{batch, groups, inputs, outputs, pixels, hidden != 0, activation};
  const std::int64_t rows = shape.rows(), columns = shape.columns(), size = rows * inputs;
  const Rows grads(grad, batch * rows, pixels), from(x, maps, batch, pixels), given(y, batch * rows, pixels);
  const Rows to(grad_x, maps, batch, pixels);
  std::vector<Scalar> sums(batch * shape.parts() * size);
  each(shape, threads, [&](Worker& worker, std::int64_t image, std::int64_t part, std::int64_t task) {
    const std::int64_t in = image * columns, out = image * rows;
    worker.backward(grads.from(out), from.from(in), given.from(out), {before, columns}, w, transposed, {norm, rows},
                    to.from(in), &sums[task * size], part);
  });
  add_up(sums, grad_w, size);
}
}
