// Products of a tile of rows and panels of weights, whose sums stay in registers. With outputs side by
// side in a panel no sum goes across lanes. Up to four rows meet several neighbouring panels at a
// time: memory answers several streams faster than one.
#pragma once
#include "kernels.h"
#include "vec.h"

namespace {

constexpr int V = 2;               // vectors across a panel
constexpr int kPanel = V * W;      // outputs side by side in a panel
constexpr int kStep = 4 * kPanel;  // bytes: weights of one input in fp32, of two inputs in bf16
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

// to (columns, rows) = from (rows, columns) turned about: numbers of four bytes, rows of each `from_row`
// and `to_row` numbers from the last.
inline void transpose(const void* from, int64_t from_row, int64_t rows, int64_t columns, void* to,
                      int64_t to_row) {
  const char* a = static_cast<const char*>(from);
  char* b = static_cast<char*>(to);
  const int64_t whole_rows = rows / 4 * 4, whole_columns = columns / 4 * 4;
  for (int64_t c = 0; c < whole_columns; c += 4)
    for (int64_t r = 0; r < whole_rows; r += 4) {
      F4 m[4];
      for (int i = 0; i < 4; ++i) m[i] = load<F4>(a + 4 * ((r + i) * from_row + c));
#if defined(__x86_64__)
      _MM_TRANSPOSE4_PS(m[0], m[1], m[2], m[3]);
      for (int i = 0; i < 4; ++i) store(b + 4 * ((c + i) * to_row + r), m[i]);
#else
      for (int i = 0; i < 4; ++i)
        store(b + 4 * ((c + i) * to_row + r), F4{m[0][i], m[1][i], m[2][i], m[3][i]});
#endif
    }
  for (int64_t c = 0; c < columns; ++c)
    for (int64_t r = c < whole_columns ? whole_rows : 0; r < rows; ++r)
      memcpy(b + 4 * (c * to_row + r), a + 4 * (r * from_row + c), 4);
}

// y (S, M, kPanel) += M rows of x, whose numbers of a step lie side by side and `next` from those of the
// one before, times some steps of S panels that lie `apart` bytes from each other, fetching `ahead`
// bytes beyond each meanwhile, `pace` bytes a step. One row of one fp32 panel only adds up what it
// reads: the processor's own prefetching keeps pace best.
template <class Panel, int M, int S>
void add(const char* w, int64_t apart, int64_t steps, const typename Panel::X* x, int64_t next,
         int64_t ahead, int64_t pace, float* y) {
  constexpr bool fetch = M > 1 || S > 1 || Panel::inputs > 1;
  F part[S][M][V] = {};
  for (int64_t s = 0; s < steps; ++s)
    for (int p = 0; p < S; ++p) {
      const char* panel = w + p * apart;
      if (fetch) __builtin_prefetch(panel + ahead + pace * s);
      if (fetch && kStep > 64) __builtin_prefetch(panel + ahead + pace * s + 64);
      Panel::template step<M>(part[p], panel + kStep * s, x + next * s);
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
              const typename Panel::X* x, int64_t next, int64_t ahead, int64_t pace, float* y) {
  if (rows == M && panels == S) return add<Panel, M, S>(w, apart, steps, x, next, ahead, pace, y);
  if constexpr (2 * S * M * V <= Panel::sums)
    if (rows == M)
      return add_rows<Panel, M, 2 * S>(rows, panels, w, apart, steps, x, next, ahead, pace, y);
  if constexpr (M > 1 && S == 1)
    add_rows<Panel, M - 1>(rows, panels, w, apart, steps, x, next, ahead, pace, y);
}

}  // namespace
