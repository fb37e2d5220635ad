// A whole decode step in one call: what lies between products and attention (embedding, norms, rotary
// positions, residuals, the gate) takes as long as a tenth of them where Python calls it piece by piece
// on cold caches. Numbers are rounded to the model's format where its operators round them.
#pragma once
#include <math.h>

#include "append.h"
#include "attend.h"
#include "kernels.h"
#include "linear.h"

namespace {

// Sums over x of x and, about a `middle`, of squares: vectors first, then what is left.
inline float total(const float* x, int64_t n) {
  F part = {};
  int64_t i = 0;
  for (; i + W <= n; i += W) part += load<F>(x + i);
  float all = sum(part);
  for (; i < n; ++i) all += x[i];
  return all;
}

inline float squares(const float* x, int64_t n, float middle) {
  F part = {};
  int64_t i = 0;
  for (; i + W <= n; i += W) {
    F d = load<F>(x + i) - middle;
    part += d * d;
  }
  float all = sum(part);
  for (; i < n; ++i) all += (x[i] - middle) * (x[i] - middle);
  return all;
}

template <class T> void normalise(const Norm& norm, int64_t n, const T* x, float* wide, T* out) {
  const T *weight = static_cast<const T*>(norm.weight), *bias = static_cast<const T*>(norm.bias);
  for (int64_t i = 0; i < n; ++i) wide[i] = get(x + i);
  const float count = static_cast<float>(n), middle = norm.mean ? total(wide, n) / count : 0.0f;
  const float scale = 1.0f / sqrtf(squares(wide, n, middle) / count + norm.eps);
  if (bias)
    for (int64_t i = 0; i < n; ++i)
      put(out + i, (wide[i] - middle) * scale * get(weight + i) + get(bias + i));
  else
    for (int64_t i = 0; i < n; ++i) put(out + i, (wide[i] - middle) * scale * get(weight + i));
}

// Row `token` of weights that lie in panels.
template <class T> void unpack_row(const Weights& w, int64_t token, T* out) {
  constexpr int pair = 4 / sizeof(T);  // neighbouring inputs of one output lie side by side
  const T* at = static_cast<const T*>(w.panels) + token / kPanel * kPanel * w.inputs;
  for (int64_t i = 0; i < w.inputs; ++i)
    out[i] = at[(i / pair * kPanel + token % kPanel) * pair + i % pair];
}

template <class T> void embed(const Step& s, int64_t token, int64_t position, T* x) {
  if (s.embedding)
    memcpy(x, static_cast<const T*>(s.embedding) + token * s.width,
           static_cast<size_t>(s.width) * sizeof(T));
  else
    unpack_row(*s.head, token, x);
  if (!s.positions) return;
  const T* at = static_cast<const T*>(s.positions) + position * s.width;
  for (int64_t i = 0; i < s.width; ++i) put(x + i, get(x + i) + get(at + i));
}

// Norms each of some heads in a row, where the norm has a weight.
template <class T> void normalise_heads(const Step& s, const Norm& norm, int64_t heads, T* row) {
  if (!norm.weight) return;
  for (int64_t h = 0; h < heads; ++h, row += s.size) normalise(norm, s.size, row, s.wide, row);
}

// Turns the first 2 pairs channels of each of some heads in a row.
template <class T> void turn_heads(const Step& s, int64_t heads, T* row) {
  const float *cosine = s.turn, *sine = s.turn + s.pairs;
  for (int64_t h = 0; h < heads; ++h, row += s.size)
    for (int64_t i = 0; i < s.pairs; ++i) {
      const float a = get(row + 2 * i), b = get(row + 2 * i + 1);
      put(row + 2 * i, a * cosine[i] - b * sine[i]);
      put(row + 2 * i + 1, a * sine[i] + b * cosine[i]);
    }
}

// x += y.
template <class T> void add_to(T* x, const T* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) put(x + i, get(x + i) + get(y + i));
}

// up *= SiLU of gate, which is rounded between.
template <class T> void gated(T* up, const T* gate, float* wide, int64_t n) {
  for (int64_t i = 0; i < n; ++i) wide[i] = get(gate + i);
  int64_t i = 0;
  for (; i + W <= n; i += W) {
    F t = load<F>(wide + i);
    store(wide + i, t / (1.0f + vexp(-t)));
  }
  for (; i < n; ++i) wide[i] = wide[i] / (1.0f + vexp(F{} - wide[i])[0]);
  for (i = 0; i < n; ++i) {
    T rounded;
    put(&rounded, wide[i]);
    put(up + i, get(up + i) * get(&rounded));
  }
}

template <class T> int32_t attend_block(const Step& s, const Layer& layer, int64_t position) {
  const int64_t q = s.q_heads * s.size, kv = s.kv_heads * s.size, row = layer.qkv->outputs;
  T *heads = static_cast<T*>(s.heads), *x = static_cast<T*>(s.x), *y = static_cast<T*>(s.y);
  for (int64_t b = 0; b < s.batch; ++b)
    normalise(layer.norm_1, s.width, x + b * s.width, s.wide, y + b * s.width);
  if (linear(layer.qkv, s.batch, y, heads)) return 1;
  for (int64_t b = 0; b < s.batch; ++b) {
    normalise_heads(s, layer.q_norm, s.q_heads, heads + b * row);
    if (layer.k) normalise_heads(s, layer.k_norm, s.kv_heads, heads + b * row + q);
  }
  if (s.pairs && layer.turns)
    for (int64_t b = 0; b < s.batch; ++b)
      turn_heads(s, s.q_heads + (layer.k ? s.kv_heads : 0), heads + b * row);
  const bool ring = layer.newest && position >= layer.first;
  const int64_t at = ring ? layer.first + (position - layer.first) % layer.newest : position;
  const int64_t end = position + 1, room = layer.cache->capacity;
  if (layer.k) {
    append(layer.k, s.format, 1, heads + q, row, s.size, 0, at);
    append(layer.v, s.format, 1, heads + q + kv, row, s.size, 0, at);
  }
  attention(layer.cache, s.format, heads, row, s.size, end < room ? end : room, s.mixed);
  if (linear(layer.proj, s.batch, s.mixed, y)) return 1;
  add_to(x, y, s.batch * s.width);
  return 0;
}

template <class T> int32_t feed_forward(const Step& s, const Layer& layer) {
  T *x = static_cast<T*>(s.x), *y = static_cast<T*>(s.y);
  T *up = static_cast<T*>(s.up), *gate = static_cast<T*>(s.gate);
  for (int64_t b = 0; b < s.batch; ++b)
    normalise(layer.norm_2, s.width, x + b * s.width, s.wide, y + b * s.width);
  if (linear(layer.up, s.batch, y, up)) return 1;
  if (layer.gate) {
    if (linear(layer.gate, s.batch, y, gate)) return 1;
    const int64_t inner = layer.up->outputs;
    for (int64_t b = 0; b < s.batch; ++b) gated(up + b * inner, gate + b * inner, s.wide, inner);
  }
  if (linear(layer.down, s.batch, up, y)) return 1;
  add_to(x, y, s.batch * s.width);
  return 0;
}

template <class T>
int32_t step_as(const Step& s, const int64_t* tokens, int64_t position, void* logits) {
  T *x = static_cast<T*>(s.x), *y = static_cast<T*>(s.y);
  for (int64_t b = 0; b < s.batch; ++b)
    if (tokens[b] < 0 || tokens[b] >= s.head->outputs) return 2;
  for (int64_t b = 0; b < s.batch; ++b) embed(s, tokens[b], position, x + b * s.width);
  for (int64_t i = 0; i < s.pairs; ++i) {
    const float angle = static_cast<float>(position) * s.speed[i];
    s.turn[i] = cosf(angle);
    s.turn[s.pairs + i] = sinf(angle);
  }
  for (int64_t i = 0; i < s.layers; ++i)
    if (attend_block<T>(s, s.layer[i], position) || feed_forward<T>(s, s.layer[i])) return 1;
  for (int64_t b = 0; b < s.batch; ++b)
    normalise(s.norm, s.width, x + b * s.width, s.wide, y + b * s.width);
  return linear(s.head, s.batch, y, logits);
}

int32_t step(const Step* s, const int64_t* tokens, int64_t position, void* logits) {
  return (s->format == kBf16 ? step_as<uint16_t> : step_as<float>)(*s, tokens, position, logits);
}

}  // namespace
