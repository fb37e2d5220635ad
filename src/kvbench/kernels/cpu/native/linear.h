// y = x w^T + b: the weights stream through once and meet every row of x while they are in a register
// or in L1.
#pragma once
#include "kernels.h"
#include "parallel.h"
#include "rows.h"
#include "tile.h"

namespace {

constexpr int64_t kPart = 16 << 10;  // bytes of a panel at a time: half of a small L1
constexpr int64_t kAhead = 2 << 10;  // bytes that one tile fetches ahead of itself
constexpr int64_t kGroup = 96;       // rows of x at a time

// The first `outputs` sums of a row with bias, and GELU if asked, in the weights' format.
template <class T>
__attribute__((always_inline)) inline void finish_as(float* y, int outputs, const T* bias, bool gelu,
                                                     T* out) {
  if (bias)
    for (int i = 0; i < outputs; ++i) y[i] += get(bias + i);
  if (gelu)  // 0.5 t (1 + tanh z) = t / (1 + exp(-2 z)), without the cancellation
    for (int v = 0; v < V; ++v) {
      F t = load<F>(y + v * W);
      F z = 0.79788456f * (t + 0.044715f * t * t * t);
      store(y + v * W, t / (1.0f + vexp(-2.0f * z)));
    }
  for (int i = 0; i < outputs; ++i) put(out + i, y[i]);
}

template <class T> void finish(float* y, int outputs, const T* bias, bool gelu, T* out) {
  if (outputs == kPanel)
    finish_as(y, kPanel, bias, gelu, out);  // of a known length, by vectors
  else
    finish_as(y, outputs, bias, gelu, out);
}

template <class Panel> int64_t tiles_of(int64_t rows) {
  return (rows + Panel::rows - 1) / Panel::rows;
}

// The first row of a tile. Tiles are alike in height, but for multiples of four where those divide the
// highest: four rows turn into steps together.
template <class Panel> int64_t first_of(int64_t tile, int64_t rows) {
  constexpr int64_t by = Panel::rows % 4 ? 1 : 4;
  const int64_t first = (rows * tile / tiles_of<Panel>(rows) + by - 1) / by * by;
  return first < rows ? first : rows;
}

// Rows of x (rows, inputs) as tiles have them, one tile after the other.
template <class Panel>
void tile_rows(int64_t rows, int64_t inputs, const typename Panel::X* x, typename Panel::X* to) {
  constexpr int bytes = Panel::inputs * sizeof(typename Panel::X);  // of a row in a step
  const int64_t tiles = tiles_of<Panel>(rows), steps = inputs / Panel::inputs;
  for (int64_t t = 0; t < tiles; ++t) {
    const int64_t first = first_of<Panel>(t, rows), height = first_of<Panel>(t + 1, rows) - first;
    const auto* from = x + first * inputs;
    if (bytes == 4)
      transpose(from, steps, height, steps, to, height);
    else
      for (int64_t i = 0; i < inputs; i += Panel::inputs)
        for (int64_t r = 0; r < height; ++r)
          memcpy(to + (i * height + r * Panel::inputs), from + r * inputs + i, bytes);
    to += height * inputs;
  }
}

// y (rows, kPanel) += more rows of x than a tile holds times a panel. Tiles alike in height take turns
// at a part of the panel, which all but the first find in L1, and each fetches its share of the next
// part. `soon(first, last)` is called before a tile's last products, `done` after them.
template <class Panel, class Soon, class Done>
void add_tiles(int64_t rows, const char* w, int64_t steps, const typename Panel::X* x, float* y,
               Soon soon, Done done) {
  const int64_t tiles = tiles_of<Panel>(rows), part = kPart / kStep;
  for (int64_t s = 0; s < steps; s += part, w += part * kStep) {
    const int64_t here = steps - s < part ? steps - s : part, bytes = here * kStep;
    for (int64_t t = 0; t < tiles; ++t) {
      const int64_t first = first_of<Panel>(t, rows), last = first_of<Panel>(t + 1, rows);
      const auto* at = x + Panel::inputs * (first * steps + (last - first) * s);
      if (s + part >= steps) soon(first, last);
      add_rows<Panel>(last - first, 1, w, 0, here, at, Panel::inputs * (last - first),
                      bytes + bytes * t / tiles, kStep / tiles, y + first * kPanel);
      if (s + part >= steps) done(first, last);
    }
  }
}

template <class Panel, class T>
bool multiply_group(const Weights& w, int64_t rows, const typename Panel::X* x, void* out) {
  if (rows > 1) {
    auto* tiled = scratch<typename Panel::X, 1>(rows * w.inputs);
    if (!tiled) return false;
    tile_rows<Panel>(rows, w.inputs, x, tiled);
    x = tiled;
  }
  parallel((w.outputs + kPanel - 1) / kPanel, w.threads, [&](int64_t first, int64_t last) {
    const int64_t steps = w.inputs / Panel::inputs, apart = kStep * steps;
    alignas(64) float y[kGroup * kPanel];
    for (int64_t p = first, panels; p < last; p += panels) {
      const char* panel = static_cast<const char*>(w.panels) + p * apart;
      panels = at_once<Panel>(rows, last - p);
      memset(y, 0, static_cast<size_t>(panels * rows) * kPanel * sizeof(float));
      const auto done = [&](int64_t from, int64_t to) {
        for (int64_t i = 0; i < panels; ++i) {
          const int64_t at = (p + i) * kPanel, left = w.outputs - at;
          const int outputs = static_cast<int>(left < kPanel ? left : kPanel);
          const T* bias = w.bias ? static_cast<const T*>(w.bias) + at : nullptr;
          for (int64_t r = from; r < to; ++r)
            finish(y + (i * rows + r) * kPanel, outputs, bias, w.gelu,
                   static_cast<T*>(out) + r * w.outputs + at);
        }
      };
      if (rows > Panel::rows) {
        const auto soon = [&](int64_t from, int64_t to) {  // memory answers while products go on
          for (int64_t r = from; r < to; ++r)
            for (int64_t i = 0; i < kPanel; i += 64 / sizeof(T))
              __builtin_prefetch(static_cast<T*>(out) + r * w.outputs + p * kPanel + i, 1);
        };
        add_tiles<Panel>(rows, panel, steps, x, y, soon, done);
        continue;
      }
      add_rows<Panel>(rows, panels, panel, apart, steps, x, Panel::inputs * rows, kAhead, kStep, y);
      done(0, rows);
    }
  });
  return true;
}

// Many rows go through in groups whose x fills three quarters of L2 while the weights pass.
template <class Panel, class T>
bool multiply(const Weights& w, int64_t rows, const typename Panel::X* x, void* out) {
  int64_t group = cache_bytes() * 3 / 4 / (w.inputs * static_cast<int64_t>(sizeof(typename Panel::X)));
  group = (group < Panel::rows ? Panel::rows : group < kGroup ? group : kGroup) / Panel::rows * Panel::rows;
  for (int64_t first = 0; first < rows; first += group) {
    const int64_t here = rows - first < group ? rows - first : group;
    T* to = static_cast<T*>(out) + first * w.outputs;
    if (!multiply_group<Panel, T>(w, here, x + first * w.inputs, to)) return false;
  }
  return true;
}

int32_t linear(const Weights* w, int64_t rows, const void* x, void* out) {
  if (w->format == kFp32)
    return !multiply<Fp32Panel, float>(*w, rows, static_cast<const float*>(x), out);
  const uint16_t* h = static_cast<const uint16_t*>(x);
#if defined(__AVX512BF16__)
  return !multiply<Bf16Panel, uint16_t>(*w, rows, h, out);
#else
  const int64_t count = rows * w->inputs;
  float* wide = scratch<float, 0>(count);
  if (!wide) return 1;
  for (int64_t i = 0; i < count; ++i) wide[i] = widen(h[i]);
  return !multiply<Bf16Panel, uint16_t>(*w, rows, wide, out);
#endif
}

// A panel has the place of the rows it is made of, so by way of a buffer w can become its own panels.
template <class T> int32_t pack_as(const Weights& to, const T* w) {
  constexpr int S = 4 / sizeof(T);  // inputs in a step
  const int64_t count = kPanel * to.inputs;
  T* panel = scratch<T, 0>(count);
  if (!panel) return 1;
  char* panels = static_cast<char*>(const_cast<void*>(to.panels));
  for (int64_t p = 0; p < to.outputs; p += kPanel, panels += count * sizeof(T)) {
    T* at = panel;
    for (int64_t s = 0; s < to.inputs; s += S)
      for (int64_t o = p; o < p + kPanel; ++o)
        for (int i = 0; i < S; ++i) *at++ = o < to.outputs ? w[o * to.inputs + s + i] : T{0};
    memcpy(panels, panel, count * sizeof(T));
  }
  return 0;
}

int32_t pack(const Weights* to, const void* w) {
  return to->format == kFp32 ? pack_as(*to, static_cast<const float*>(w))
                             : pack_as(*to, static_cast<const uint16_t*>(w));
}

}  // namespace
