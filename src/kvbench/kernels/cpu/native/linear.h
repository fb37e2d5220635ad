// y = x w^T + b for a few rows of x: the weights stream through once, sequentially, and meet every
// row of x while they are in a register or in L1. With outputs side by side in a panel no sum goes across lanes.
#pragma once
#include <stdlib.h>

#include "kernels.h"
#include "parallel.h"
#include "vec.h"

namespace {

constexpr int V = 2;               // vectors across a panel
constexpr int kPanel = V * W;      // outputs side by side in a panel
constexpr int kStep = 4 * kPanel;  // bytes: weights of one input in fp32, of two inputs in bf16
constexpr int64_t kRowBytes = 256 << 10;  // of x at a time: half of a small L2
constexpr int64_t kPart = 16 << 10;       // bytes of a panel at a time: half of a small L1
constexpr int64_t kAhead = 1 << 10;       // bytes that one tile fetches ahead of itself
constexpr int64_t kGroup = 96;            // rows of x at a time
#if defined(__AVX512F__) || defined(__ARM_NEON)
constexpr int kRows = 8;  // rows of x whose sums fit the registers, of which there are 32 here
#else
constexpr int kRows = 6;
#endif

// y[m] += x[m] a: one input of every row against the panel's weights for it.
template <int M> inline void meet(F (&y)[M][V], const F (&a)[V], const float* x, int64_t x_row) {
  for (int m = 0; m < M; ++m)
    for (int v = 0; v < V; ++v) y[m][v] += x[m * x_row] * a[v];
}

struct Fp32Panel {
  typedef float X;
  static constexpr int inputs = 1, rows = kRows;  // inputs in a step, rows of x in a tile
  template <int M> static void step(F (&y)[M][V], const char* w, const float* x, int64_t x_row) {
    F a[V];
    for (int v = 0; v < V; ++v) a[v] = load<F>(w + 4 * W * v);
    meet<M>(y, a, x, x_row);
  }
};

#if defined(__AVX512BF16__)
struct Bf16Panel {
  typedef uint16_t X;
  static constexpr int inputs = 2, rows = kRows;
  template <int M> static void step(F (&y)[M][V], const char* w, const uint16_t* x, int64_t x_row) {
    for (int m = 0; m < M; ++m) {
      __m512bh pair = bits<__m512bh>(_mm512_set1_epi32(load<int32_t>(x + m * x_row)));
      for (int v = 0; v < V; ++v)
        y[m][v] = _mm512_dpbf16_ps(y[m][v], load<__m512bh>(w + 4 * W * v), pair);
    }
  }
};
#else
struct Bf16Panel {
  typedef float X;
  static constexpr int inputs = 2, rows = kRows - 2;  // less what widening takes
  template <int M> static void step(F (&y)[M][V], const char* w, const float* x, int64_t x_row) {
    F a[V];  // a bf16 is the upper half of a float
    for (int v = 0; v < V; ++v) a[v] = bits<F>(load<I>(w + 4 * W * v) << 16);
    meet<M>(y, a, x, x_row);
    for (int v = 0; v < V; ++v) a[v] = bits<F>(load<I>(w + 4 * W * v) & ~0xffff);
    meet<M>(y, a, x + 1, x_row);
  }
};
#endif

inline float get(const float* p) { return *p; }
inline float get(const uint16_t* p) { return widen(*p); }
inline void put(float* p, float x) { *p = x; }
inline void put(uint16_t* p, float x) { *p = narrow(x); }

// y (M, kPanel) += M rows of x times some steps of a panel, fetching from `next` meanwhile, `pace` bytes
// a step. One fp32 row only adds up what it reads: the processor's own prefetching keeps pace best.
template <class Panel, int M>
void add(const char* w, int64_t steps, const typename Panel::X* x, int64_t x_row, const char* next,
         int64_t pace, float* y) {
  constexpr int U = M * V >= 8 ? 1 : 8 / (M * V);  // independent sums that hide the latency
  constexpr bool fetch = M > 1 || Panel::inputs > 1;
  F part[U][M][V] = {};
  int64_t s = 0;
  for (; s + U <= steps; s += U)
    for (int u = 0; u < U; ++u) {
      if (fetch) __builtin_prefetch(next + pace * (s + u));
      if (fetch && kStep > 64) __builtin_prefetch(next + pace * (s + u) + 64);
      Panel::template step<M>(part[u], w + kStep * (s + u), x + Panel::inputs * (s + u), x_row);
    }
  for (; s < steps; ++s) Panel::template step<M>(part[0], w + kStep * s, x + Panel::inputs * s, x_row);
  for (int m = 0; m < M; ++m)
    for (int v = 0; v < V; ++v) {
      F t = load<F>(y + m * kPanel + v * W);
      for (int u = 0; u < U; ++u) t += part[u][m][v];
      store(y + m * kPanel + v * W, t);
    }
}

template <class Panel, int M = Panel::rows>
void add_rows(int64_t rows, const char* w, int64_t steps, const typename Panel::X* x, int64_t x_row,
              const char* next, int64_t pace, float* y) {
  if (rows == M)
    add<Panel, M>(w, steps, x, x_row, next, pace, y);
  else if constexpr (M > 1)
    add_rows<Panel, M - 1>(rows, w, steps, x, x_row, next, pace, y);
}

// The first `outputs` sums of a row with bias, and GELU if asked, in the weights' format.
template <class T> void finish(float* y, int outputs, const T* bias, bool gelu, T* out) {
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

// y (rows, kPanel) += rows of x times a panel. Where one tile does not hold them, tiles alike in height
// take turns at a part of the panel, which all but the first find in L1, and each fetches its share
// of the next part.
template <class Panel>
void add_panel(int64_t rows, const char* w, int64_t steps, const typename Panel::X* x, int64_t x_row,
               float* y) {
  if (rows <= Panel::rows)
    return add_rows<Panel>(rows, w, steps, x, x_row, w + kAhead, kStep, y);
  const int64_t tiles = (rows + Panel::rows - 1) / Panel::rows, part = kPart / kStep;
  for (int64_t s = 0; s < steps; s += part, w += part * kStep, x += part * Panel::inputs) {
    const int64_t here = steps - s < part ? steps - s : part, bytes = here * kStep;
    for (int64_t t = 0; t < tiles; ++t) {
      const int64_t first = rows * t / tiles, last = rows * (t + 1) / tiles;
      add_rows<Panel>(last - first, w, here, x + first * x_row, x_row, w + bytes + bytes * t / tiles,
                      kStep / tiles, y + first * kPanel);
    }
  }
}

template <class Panel, class T>
void multiply_group(const Weights& w, int64_t rows, const typename Panel::X* x, void* out) {
  parallel((w.outputs + kPanel - 1) / kPanel, w.threads, [&](int64_t first, int64_t last) {
    const int64_t steps = w.inputs / Panel::inputs;
    alignas(64) float y[kGroup * kPanel];
    for (int64_t p = first; p < last; ++p) {
      const int64_t at = p * kPanel, left = w.outputs - at;
      const int outputs = static_cast<int>(left < kPanel ? left : kPanel);
      const T* bias = w.bias ? static_cast<const T*>(w.bias) + at : nullptr;
      memset(y, 0, static_cast<size_t>(rows) * kPanel * sizeof(float));
      add_panel<Panel>(rows, static_cast<const char*>(w.panels) + p * kStep * steps, steps, x,
                       w.inputs, y);
      for (int64_t r = 0; r < rows; ++r)
        finish(y + r * kPanel, outputs, bias, w.gelu, static_cast<T*>(out) + r * w.outputs + at);
    }
  });
}

// Many rows go through in groups whose x stays in L2 while the weights pass.
template <class Panel, class T>
void multiply(const Weights& w, int64_t rows, const typename Panel::X* x, void* out) {
  int64_t group = kRowBytes / (w.inputs * static_cast<int64_t>(sizeof(typename Panel::X)));
  group = group < kRows ? kRows : group < kGroup ? group : kGroup;
  for (; rows > group; rows -= group, x += group * w.inputs) {
    multiply_group<Panel, T>(w, group, x, out);
    out = static_cast<T*>(out) + group * w.outputs;
  }
  multiply_group<Panel, T>(w, rows, x, out);
}

// Each calling thread keeps one buffer, as large as the largest x it has seen.
inline float* scratch(int64_t count) {
  static thread_local float* buffer = nullptr;
  static thread_local int64_t held = 0;
  if (count > held) {
    free(buffer);
    buffer = static_cast<float*>(malloc(static_cast<size_t>(count) * sizeof(float)));
    held = buffer ? count : 0;
  }
  return buffer;
}

int32_t linear(const Weights* w, int64_t rows, const void* x, void* out) {
  if (w->format == kFp32) {
    multiply<Fp32Panel, float>(*w, rows, static_cast<const float*>(x), out);
    return 0;
  }
  const uint16_t* h = static_cast<const uint16_t*>(x);
#if defined(__AVX512BF16__)
  multiply<Bf16Panel, uint16_t>(*w, rows, h, out);
#else
  const int64_t count = rows * w->inputs;
  float* wide = scratch(count);
  if (!wide) return 1;
  for (int64_t i = 0; i < count; ++i) wide[i] = widen(h[i]);
  multiply<Bf16Panel, uint16_t>(*w, rows, wide, out);
#endif
  return 0;
}

// A panel has the place of the rows it is made of, so by way of a buffer w can become its own panels.
template <class T> int32_t pack_as(const Weights& to, const T* w) {
  constexpr int S = 4 / sizeof(T);  // inputs in a step
  const int64_t count = kPanel * to.inputs;
  T* panel = reinterpret_cast<T*>(scratch(count));
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
