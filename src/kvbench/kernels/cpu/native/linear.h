// y = x w^T + b for a few rows of x: the weights stream through once and meet every row of x while
// they are in a register or in L1. With outputs side by side in a panel no sum goes across lanes. Up to four
// rows meet several neighbouring panels at a time: memory answers several streams faster than one.
#pragma once
#include "kernels.h"
#include "parallel.h"
#include "rows.h"
#include "vec.h"

namespace {

constexpr int V = 2;               // vectors across a panel
constexpr int kPanel = V * W;      // outputs side by side in a panel
constexpr int kStep = 4 * kPanel;  // bytes: weights of one input in fp32, of two inputs in bf16
constexpr int64_t kPart = 16 << 10;       // bytes of a panel at a time: half of a small L1
constexpr int64_t kAhead = 2 << 10;       // bytes that one tile fetches ahead of itself
constexpr int64_t kGroup = 96;            // rows of x at a time
#if defined(__AVX512F__) || defined(__ARM_NEON)
constexpr int kRows = 12;  // rows of x whose sums fit the registers, of which there are 32 here
#else
constexpr int kRows = 6;
#endif

// y[m] += x[m] a: one input of every row, each `Apart` numbers from the last, against the panel's weights.
template <int M, int Apart> inline void meet(F (&y)[M][V], const F (&a)[V], const float* x) {
  for (int m = 0; m < M; ++m)
    for (int v = 0; v < V; ++v) y[m][v] += x[m * Apart] * a[v];
}

struct Fp32Panel {
  typedef float X;
  static constexpr int inputs = 1, rows = kRows;  // inputs in a step, rows of x in a tile
  static constexpr int sums = 16;                 // vectors of sums, where a tile has several panels
  template <int M> static void step(F (&y)[M][V], const char* w, const float* x) {
    F a[V];
    for (int v = 0; v < V; ++v) a[v] = load<F>(w + 4 * W * v);
    meet<M, 1>(y, a, x);
  }
};

#if defined(__AVX512BF16__)
struct Bf16Panel {
  typedef uint16_t X;
  static constexpr int inputs = 2, rows = kRows, sums = 16;
  template <int M> static void step(F (&y)[M][V], const char* w, const uint16_t* x) {
    for (int m = 0; m < M; ++m) {
      __m512bh pair = bits<__m512bh>(_mm512_set1_epi32(load<int32_t>(x + 2 * m)));
      for (int v = 0; v < V; ++v)
        y[m][v] = _mm512_dpbf16_ps(y[m][v], load<__m512bh>(w + 4 * W * v), pair);
    }
  }
};
#else
struct Bf16Panel {
  typedef float X;
  static constexpr int inputs = 2, rows = kRows - 2, sums = kRows > 8 ? 16 : 2 * kRows;  // less what widening takes
  template <int M> static void step(F (&y)[M][V], const char* w, const float* x) {
    F a[V];  // a bf16 is the upper half of a float
    for (int v = 0; v < V; ++v) a[v] = bits<F>(load<I>(w + 4 * W * v) << 16);
    meet<M, 2>(y, a, x);
    for (int v = 0; v < V; ++v) a[v] = bits<F>(load<I>(w + 4 * W * v) & ~0xffff);
    meet<M, 2>(y, a, x + 1);
  }
};
#endif

inline float get(const float* p) { return *p; }
inline float get(const uint16_t* p) { return widen(*p); }
inline void put(float* p, float x) { *p = x; }
inline void put(uint16_t* p, float x) { *p = narrow(x); }

// Rows of x lie step by step in a tile: (steps, M, inputs of a step).
// y (S, M, kPanel) += M rows of x times some steps of S panels that lie `apart` bytes from each other,
// fetching `ahead` bytes beyond each meanwhile, `pace` bytes a step. One row of one fp32 panel only adds
// up what it reads: the processor's own prefetching keeps pace best.
template <class Panel, int M, int S>
void add(const char* w, int64_t apart, int64_t steps, const typename Panel::X* x, int64_t ahead,
         int64_t pace, float* y) {
  constexpr bool fetch = M > 1 || S > 1 || Panel::inputs > 1;
  F part[S][M][V] = {};
  for (int64_t s = 0; s < steps; ++s)
    for (int p = 0; p < S; ++p) {
      const char* panel = w + p * apart;
      if (fetch) __builtin_prefetch(panel + ahead + pace * s);
      if (fetch && kStep > 64) __builtin_prefetch(panel + ahead + pace * s + 64);
      Panel::template step<M>(part[p], panel + kStep * s, x + M * Panel::inputs * s);
    }
  for (int p = 0; p < S; ++p)
    for (int m = 0; m < M; ++m)
      for (int v = 0; v < V; ++v) {
        float* to = y + ((p * M + m) * V + v) * W;
        store(to, load<F>(to) + part[p][m][v]);
      }
}

// How many of the panels left some rows meet at a time: a power of two.
template <class Panel> int64_t at_once(int64_t rows, int64_t left) {
  int64_t panels = 8;
  while (panels > 1 && (panels * rows * V > Panel::sums || panels > left)) panels /= 2;
  return panels;
}

template <class Panel, int M = Panel::rows, int S = 1>
void add_rows(int64_t rows, int64_t panels, const char* w, int64_t apart, int64_t steps,
              const typename Panel::X* x, int64_t ahead, int64_t pace, float* y) {
  if (rows == M && panels == S) return add<Panel, M, S>(w, apart, steps, x, ahead, pace, y);
  if constexpr (2 * S * M * V <= Panel::sums)
    if (rows == M)
      return add_rows<Panel, M, 2 * S>(rows, panels, w, apart, steps, x, ahead, pace, y);
  if constexpr (M > 1 && S == 1)
    add_rows<Panel, M - 1>(rows, panels, w, apart, steps, x, ahead, pace, y);
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

template <class Panel> int64_t tiles_of(int64_t rows) {
  return (rows + Panel::rows - 1) / Panel::rows;
}

// Rows of x (rows, inputs) as tiles have them, one tile after the other.
template <class Panel>
void tile_rows(int64_t rows, int64_t inputs, const typename Panel::X* x, typename Panel::X* to) {
  const int64_t tiles = tiles_of<Panel>(rows);
  for (int64_t t = 0; t < tiles; ++t)
    for (int64_t i = 0; i < inputs; i += Panel::inputs)
      for (int64_t r = rows * t / tiles; r < rows * (t + 1) / tiles; ++r)
        for (int64_t j = 0; j < Panel::inputs; ++j) *to++ = x[r * inputs + i + j];
}

// y (rows, kPanel) += more rows of x than a tile holds times a panel. Tiles alike in height take turns
// at a part of the panel, which all but the first find in L1, and each fetches its share of the next
// part.
template <class Panel>
void add_tiles(int64_t rows, const char* w, int64_t steps, const typename Panel::X* x, float* y) {
  const int64_t tiles = tiles_of<Panel>(rows), part = kPart / kStep;
  for (int64_t s = 0; s < steps; s += part, w += part * kStep) {
    const int64_t here = steps - s < part ? steps - s : part, bytes = here * kStep;
    for (int64_t t = 0; t < tiles; ++t) {
      const int64_t first = rows * t / tiles, last = rows * (t + 1) / tiles;
      const auto* at = x + Panel::inputs * (first * steps + (last - first) * s);
      add_rows<Panel>(last - first, 1, w, 0, here, at, bytes + bytes * t / tiles, kStep / tiles,
                      y + first * kPanel);
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
      if (rows <= Panel::rows)
        add_rows<Panel>(rows, panels, panel, apart, steps, x, kAhead, kStep, y);
      else
        add_tiles<Panel>(rows, panel, steps, x, y);
      for (int64_t i = 0; i < panels; ++i) {
        const int64_t at = (p + i) * kPanel, left = w.outputs - at;
        const int outputs = static_cast<int>(left < kPanel ? left : kPanel);
        const T* bias = w.bias ? static_cast<const T*>(w.bias) + at : nullptr;
        for (int64_t r = 0; r < rows; ++r)
          finish(y + (i * rows + r) * kPanel, outputs, bias, w.gelu,
                 static_cast<T*>(out) + r * w.outputs + at);
      }
    }
  });
  return true;
}

// Many rows go through in groups whose x fills half of L2 while the weights pass.
template <class Panel, class T>
bool multiply(const Weights& w, int64_t rows, const typename Panel::X* x, void* out) {
  int64_t group = cache_bytes() / 2 / (w.inputs * static_cast<int64_t>(sizeof(typename Panel::X)));
  group = group < kRows ? kRows : group < kGroup ? group : kGroup;
  for (; rows > group; rows -= group, x += group * w.inputs) {
    if (!multiply_group<Panel, T>(w, group, x, out)) return false;
    out = static_cast<T*>(out) + group * w.outputs;
  }
  return multiply_group<Panel, T>(w, rows, x, out);
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
