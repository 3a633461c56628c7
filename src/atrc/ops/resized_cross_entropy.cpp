// Cross entropy of logits that are resized bilinearly to the size of the labels, and its gradient, in one pass.
//
// Pixel by pixel, with the classes of a pixel in vectors: neither the resized logits nor their probabilities are ever
// in memory. A task is a band of rows of logits, with all rows of labels whose upper row of logits is in it.
#include "kernel.hpp"

namespace {

constexpr std::int64_t BAND = 4;       // rows of logits of a task
constexpr Scalar NOTHING = -1e30;      // logit of a class that there is not, in the last vector of a pixel

struct Shape {
  std::int64_t batch, classes, rows, columns, height, width;  // rows, columns: logits; height, width: labels

  std::int64_t vectors() const { return (classes + LANES - 1) / LANES; }
  std::int64_t bands() const { return (rows + BAND - 1) / BAND; }
};

// Where a label lies between two logits of an axis; as PyTorch's interpolate with align_corners=False.
struct Place {
  std::int64_t first, second;
  Scalar far;  // share of the second

  Place(std::int64_t i, std::int64_t labels, std::int64_t logits) {
    const Scalar scale = static_cast<Scalar>(logits) / static_cast<Scalar>(labels);
    const Scalar place = std::max<Scalar>((static_cast<Scalar>(i) + Scalar(0.5)) * scale - Scalar(0.5), 0);
    first = std::min(static_cast<std::int64_t>(place), logits - 1);
    second = std::min(first + 1, logits - 1);
    far = std::min<Scalar>(std::max<Scalar>(place - static_cast<Scalar>(first), 0), 1);
  }
};

class Worker {
 public:
  explicit Worker(const Shape& shape)
      : shape(shape), vectors(shape.vectors()), line(shape.columns * vectors), logits((BAND + 1) * line),
        grads((BAND + 1) * line), row(line), grad_row(line), pixel(vectors) {
    for (std::int64_t x = 0; x < shape.width; x++) places.emplace_back(x, shape.width, shape.columns);
  }

  // Returns the sum of the losses. `grad` gets the rows of this band, `below` its share of the row after them.
  double run(const Scalar* from, const std::int64_t* labels, const Scalar* weights, Scalar* grad, Scalar* below,
             std::int64_t band) {
    const std::int64_t start = band * BAND, end = std::min(start + BAND, shape.rows);
    const std::int64_t last = std::min(end + 1, shape.rows);
    pack(from, start, last);
    std::fill(grads.begin(), grads.end(), Vector{});
    double total = 0;
    for (std::int64_t y = 0; y < shape.height; y++) {
      const Place place(y, shape.height, shape.rows);
      if (place.first < start || place.first >= end) continue;
      const Vector *upper = &logits[(place.first - start) * line], *lower = &logits[(place.second - start) * line];
      for (std::int64_t i = 0; i < line; i++) row[i] = upper[i] * (1 - place.far) + lower[i] * place.far;
      std::fill(grad_row.begin(), grad_row.end(), Vector{});
      total += run_row(labels + y * shape.width, weights);
      Vector *above = &grads[(place.first - start) * line], *under = &grads[(place.second - start) * line];
      for (std::int64_t i = 0; i < line; i++) {
        above[i] += grad_row[i] * (1 - place.far);
        under[i] += grad_row[i] * place.far;
      }
    }
    unpack(grads.data(), grad + start * shape.columns, shape.rows * shape.columns, end - start);
    if (last > end) unpack(&grads[(end - start) * line], below, shape.columns, 1);
    return total;
  }

 private:
  double run_row(const std::int64_t* labels, const Scalar* weights) {
    double total = 0;
    for (std::int64_t x = 0; x < shape.width; x++) {
      const std::int64_t label = labels[x];
      if (label < 0 || label >= shape.classes) continue;
      const Place& place = places[x];
      const Vector *left = &row[place.first * vectors], *right = &row[place.second * vectors];
      const Scalar far = place.far, near = 1 - far, weight = weights[label];
      Vector most = Vector{} + NOTHING;
      for (std::int64_t k = 0; k < vectors; k++) {
        pixel[k] = left[k] * near + right[k] * far;
        most = most < pixel[k] ? pixel[k] : most;
      }
      const Scalar highest = reduce(most, [](auto a, auto b) { return a < b ? b : a; });
      const Scalar own = reinterpret_cast<const Scalar*>(pixel.data())[label] - highest;
      Vector sums{};
      for (std::int64_t k = 0; k < vectors; k++) sums += pixel[k] = exponential(pixel[k] - highest);
      const Scalar sum = reduce(sums, [](auto a, auto b) { return a + b; });
      total += weight * (std::log(sum) - own);
      const Scalar share = weight / sum;
      reinterpret_cast<Scalar*>(pixel.data())[label] -= sum;
      Vector *grad_left = &grad_row[place.first * vectors], *grad_right = &grad_row[place.second * vectors];
      for (std::int64_t k = 0; k < vectors; k++) {
        const Vector grad = pixel[k] * share;
        grad_left[k] += grad * near;
        grad_right[k] += grad * far;
      }
    }
    return total;
  }

  // Rows of maps, pixel by pixel.
  void pack(const Scalar* from, std::int64_t start, std::int64_t end) {
    Scalar* to = reinterpret_cast<Scalar*>(logits.data());
    const std::int64_t pixels = (end - start) * shape.columns, stride = shape.rows * shape.columns;
    for (std::int64_t i = 0; i < pixels; i++)
      for (std::int64_t k = 0; k < vectors * LANES; k++)
        *to++ = k < shape.classes ? from[k * stride + start * shape.columns + i] : NOTHING;
  }
  void unpack(const Vector* from, Scalar* to, std::int64_t stride, std::int64_t rows) const {
    const Scalar* scalars = reinterpret_cast<const Scalar*>(from);
    for (std::int64_t k = 0; k < shape.classes; k++)
      for (std::int64_t i = 0; i < rows * shape.columns; i++) to[k * stride + i] = scalars[i * vectors * LANES + k];
  }

  Shape shape;
  std::int64_t vectors, line;  // vectors of a pixel, of a row
  std::vector<Vector> logits, grads, row, grad_row, pixel;
  std::vector<Place> places;
};

}  // namespace

extern "C" {

// Labels outside 0 .. classes - 1 do not count. Every band has its own sums, added in order at the end: the result, to
// the last bit, does not depend on the number of threads.
void resized_cross_entropy(const Scalar* logits, const std::int64_t* labels, const Scalar* weights, Scalar* total,
                           Scalar* grad, std::int64_t batch, std::int64_t classes, std::int64_t rows,
                           std::int64_t columns, std::int64_t height, std::int64_t width, int threads) {
  const Shape shape{batch, classes, rows, columns, height, width};
  const std::int64_t bands = shape.bands(), map = classes * rows * columns;
  std::vector<double> totals(batch * bands);
  std::vector<Scalar> below(batch * bands * classes * columns);
  std::vector<std::unique_ptr<Worker>> workers(threads);
  parallel(workers, shape, batch * bands, [&](Worker& worker, std::int64_t task) {
    const std::int64_t image = task / bands, band = task % bands;
    totals[task] = worker.run(logits + image * map, labels + image * height * width, weights, grad + image * map,
                              below.data() + task * classes * columns, band);
  });
  double sum = 0;
  for (std::int64_t task = 0; task < batch * bands; task++) {
    sum += totals[task];
    const std::int64_t image = task / bands, row = (task % bands + 1) * BAND;
    if (row >= rows) continue;
    for (std::int64_t k = 0; k < classes; k++)
      for (std::int64_t x = 0; x < columns; x++)
        grad[image * map + (k * rows + row) * columns + x] += below[(task * classes + k) * columns + x];
  }
  *total = static_cast<Scalar>(sum);
}
}
