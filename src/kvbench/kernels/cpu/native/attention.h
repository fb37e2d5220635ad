// Decode attention over a cache of any format. K and V are read once, in blocks; the softmax is
// online, so that no buffer grows with the depth. Integer codes are never dequantised: a key's scale
// multiplies its score, a value's scale its probability.
#pragma once
#include "kernels.h"
#include "parallel.h"
#include "rows.h"
#include "vec.h"

namespace {

constexpr int kBlock = 512;    // keys in a block: its K and V stay in L2 for a group's heads
constexpr int kHeads = 8;      // query heads that share one pass; larger groups take several
constexpr int kMaxSize = 512;  // head size

// s[g][j] = q[g] . k[j] for G = 1 or 4 heads; rows past the last repeat it.
template <class Row, int G>
void scores(const float* q, const char* k, int keys, int size, Next next, float* s) {
  constexpr int T = G == 1 || W == 16 ? 4 : 2;  // keys at a time: G * T sums fit the registers
  const int64_t bytes = Row::bytes(size);
  for (int j = 0; j < keys; j += T) {
    const char* row[T];
    for (int t = 0; t < T; ++t) row[t] = k + bytes * (j + t < keys ? j + t : keys - 1);
    prefetch<Row>(row[0], T * bytes, next);
    next.fetch(j * bytes, (j + T) * bytes);
    F dot[T][G] = {};
    for (int i = 0; i < size / W; i += Row::shared)
      for (int t = 0; t < T; ++t)
        for (int u = 0; u < Row::shared; ++u) {
          F x = Row::at(row[t] + Row::bytes(i * W), u);
          for (int g = 0; g < G; ++g) dot[t][g] += load<F>(q + g * size + (i + u) * W) * x;
        }
    if constexpr (G == 1)
      store(s + j, sum4(dot[0][0], dot[1][0], dot[2][0], dot[3][0]));
    else
      for (int t = 0; t < T; ++t) {
        F4 each = sum4(dot[t][0], dot[t][1], dot[t][2], dot[t][3]);
        for (int g = 0; g < G; ++g) s[g * kBlock + j + t] = each[g];
      }
  }
}

// The largest of `keys` numbers and what follows up to a multiple of 16.
inline float largest(const float* s, int keys) {
  F most = load<F>(s);
  for (int j = W; j < keys; j += W) {
    F x = load<F>(s + j);
    most = x > most ? x : most;
  }
  return max(most);
}

struct Softmax {
  float top, total;
  float unit = 1.0f;  // what acc is of, where its sums would not fit a float
};

// One block of one head's online softmax: scores s become weights of values, 0 from keys up to a
// multiple of 16, and what acc holds of earlier blocks fades to the new maximum.
__attribute__((noinline)) void softmax(float* s, int keys, const float* k_scale,
                                       const float* v_scale, Softmax* state, float* acc, int size) {
  const int padded = (keys + 15) / 16 * 16;
  if (k_scale)
    for (int j = 0; j < keys; ++j) s[j] *= k_scale[j];
  for (int j = keys; j < padded; ++j) s[j] = -__builtin_inff();
  float top = largest(s, keys);
  top = top > state->top ? top : state->top;
  F total = {};
  for (int j = 0; j < padded; j += W) {
    F p = vexp(load<F>(s + j) - top);
    total += p;
    store(s + j, p);
  }
  if (v_scale)
    for (int j = 0; j < keys; ++j) s[j] *= v_scale[j];
  for (int j = keys; j < padded; ++j) s[j] = 0.0f;
  const float fade = vexp(F{} + (state->top - top))[0];
  for (int i = 0; i < size; i += W) store(acc + i, load<F>(acc + i) * fade);
  *state = {top, state->total * fade + sum(total), state->unit};
}

// Weights of values that, with their scales, would make sums too large are made smaller, as is acc.
// A code may weigh 2^28 and there may be as many keys as 2^20: a sum stays below 2^128.
constexpr float kLarge = 0x1p76f, kSmaller = 0x1p-48f;

inline void fit(float* s, int keys, Softmax* state, float* acc, int size) {
  const int padded = (keys + 15) / 16 * 16;
  if (state->unit == 1.0f && largest(s, keys) > kLarge) {
    state->unit = kSmaller;
    for (int i = 0; i < size; i += W) store(acc + i, load<F>(acc + i) * kSmaller);
  }
  if (state->unit != 1.0f)
    for (int j = 0; j < padded; j += W) store(s + j, load<F>(s + j) * kSmaller);
}

// acc[g] += sum over j of p[g][j] v[j], in N vectors from the first on; p is 0 past the last key.
template <class Row, int G, int N>
void values(const float* p, const char* v, int keys, int size, int first, Next next, float* acc) {
  constexpr int U = G * N >= 8 ? 1 : 8 / (G * N);  // independent sums that hide the FMA's latency
  const int64_t bytes = Row::bytes(size);
  const char* const last = v + bytes * (keys - 1);
  F part[U][G][N] = {};
  for (int j = 0; j < keys; j += U, v += U * bytes) {
    if (first == 0) {
      prefetch<Row>(v, U * bytes, next);
      next.fetch(j * bytes, (j + U) * bytes);
    }
    for (int u = 0; u < U; ++u) {
      const char* row = v + bytes * u < last ? v + bytes * u : last;
      for (int i = 0; i < N; ++i) {
        F x = Row::at(row + Row::bytes(first * W), i);
        for (int g = 0; g < G; ++g) part[u][g][i] += p[g * kBlock + j + u] * x;
      }
    }
  }
  for (int g = 0; g < G; ++g)
    for (int i = 0; i < N; ++i) {
      F t = part[0][g][i];
      for (int u = 1; u < U; ++u) t += part[u][g][i];
      float* a = acc + g * size + (first + i) * W;
      store(a, load<F>(a) + t);
    }
}

struct Query {
  int32_t io;
  const void* q;
  int64_t batch, head;  // strides
  int64_t n;
  void* out;
};

inline float read(const void* p, int64_t i, int32_t io) {
  return io == kBf16 ? widen(static_cast<const uint16_t*>(p)[i]) : static_cast<const float*>(p)[i];
}

inline void write(void* p, int64_t i, int32_t io, float x) {
  if (io == kBf16)
    static_cast<uint16_t*>(p)[i] = narrow(x);
  else
    static_cast<float*>(p)[i] = x;
}

}  // namespace
