// Symmetric integer codes per row: scale = largest magnitude / limit, code = x / scale rounded to
// the nearest, ties to even, all in fp32, so that the reference gives the same bits. A cache of
// floats takes rows as they are.
#pragma once
#include "attention.h"
#include "kernels.h"
#include "vec.h"

namespace {

// The largest magnitude.
inline float absmax(const float* x, int size) {
  I most = {};  // magnitudes order like their bit patterns, and a NaN is above them all
  for (int i = 0; i < size; i += W) {
    I magnitude = load<I>(x + i) & 0x7fffffff;
    most = magnitude > most ? magnitude : most;
  }
  int32_t top = most[0];
  for (int i = 1; i < W; ++i) top = most[i] > top ? most[i] : top;
  return bits<float>(top);
}

inline bool usable(float scale) { return scale > 0.0f && scale < __builtin_inff(); }

inline void encode(const float* x, int size, int limit, float scale, int8_t* codes) {
  for (int i = 0; i < size; i += W) {
    I c = {};
    if (usable(scale)) {
      c = to_int(nearest(load<F>(x + i) / scale));
      c = c > limit ? I{} + limit : c;  // a subnormal scale is coarse enough to overshoot
      c = c < -limit ? I{} - limit : c;
    }
    for (int j = 0; j < W; ++j) codes[i + j] = static_cast<int8_t>(c[j]);
  }
}

// The nearest fp8 code of |x| up to the format's largest, ties to even, with `kept` bits of mantissa
// and a least exponent of `least`: below it steps are all alike.
inline I fp8_code(F x, int kept, int least) {
  const I u = bits<I>(x), magnitude = u & 0x7fffffff;
  const int drop = 23 - kept;
  const I rounded = (magnitude + ((1 << (drop - 1)) - 1) + ((magnitude >> drop) & 1)) >> drop;
  const I normal = rounded - ((least + 126) << kept);
  const float steps = bits<float>((127 + kept - least) << 23);
  const I small = to_int(nearest(bits<F>(magnitude) * steps));
  const I below = magnitude < ((least + 127) << 23);
  return (below ? small : normal) | ((u >> 24) & 0x80);
}

inline void encode_fp8(const float* x, int size, bool e4m3, float scale, int8_t* codes) {
  const float limit = e4m3 ? 448.0f : 57344.0f;
  for (int i = 0; i < size; i += W) {
    I c = {};
    if (usable(scale)) {
      F step = load<F>(x + i) / scale;
      step = step > limit ? F{} + limit : step;
      step = step < -limit ? F{} - limit : step;
      c = fp8_code(step, e4m3 ? 3 : 2, e4m3 ? -6 : -14);
    }
    for (int j = 0; j < W; ++j) codes[i + j] = static_cast<int8_t>(c[j]);
  }
}

// A block as llama.cpp's reference codes it, by the inverse of d in fp32; returns d. In q4_0 the number
// of the largest magnitude, the first of equal ones, is -8.
inline float encode_block(const float* x, int size, bool four, int8_t* codes) {
  float most = x[0];
  for (int i = 1; i < size; ++i)
    if (__builtin_fabsf(x[i]) > __builtin_fabsf(most)) most = x[i];
  const float d = four ? most / -8.0f : __builtin_fabsf(most) / 127.0f;
  const float inverse = d == 0.0f ? 0.0f : 1.0f / d;
  for (int i = 0; i < size; ++i) {
    const float step = x[i] * inverse, away = __builtin_floorf(__builtin_fabsf(step) + 0.5f);
    const float up = __builtin_floorf(step + 8.5f);
    codes[i] = static_cast<int8_t>(four ? (up < 15.0f ? up : 15.0f) - 8.0f : step < 0 ? -away : away);
  }
  return d;
}

// `size` numbers that share a scale, which is number `at` of the scales.
inline void encode_shared(const Rows& to, const float* x, int size, int8_t* codes, int64_t at) {
  const int limit = to.format == kInt4 ? 7 : 127;
  const bool fp8 = to.format == kE4m3 || to.format == kE5m2, e4m3 = to.format == kE4m3;
  float scale = to.blocks ? encode_block(x, size, to.format == kInt4, codes)
                          : absmax(x, size) / (!fp8 ? static_cast<float>(limit) : e4m3 ? 448.0f : 57344.0f);
  if (to.half) {
    const uint16_t h = narrow_half(scale);
    reinterpret_cast<uint16_t*>(to.scale)[at] = h;
    scale = widen_half(h);
  } else {
    to.scale[at] = scale;
  }
  if (to.blocks) return;
  if (fp8)
    encode_fp8(x, size, e4m3, scale, codes);
  else
    encode(x, size, limit, scale, codes);
}

// Calls `write_row(from, position)` for every row of x: a token's heads together, which lie side by side.
template <class WriteRow>
inline void for_each_row(const Rows& to, int64_t rows, int64_t x_batch, int64_t x_head, int64_t x_row,
                         int64_t at, WriteRow write_row) {
  for (int64_t b = 0; b < to.batch; ++b)
    for (int64_t t = 0; t < rows; ++t)
      for (int64_t h = 0; h < to.heads; ++h)
        write_row(b * x_batch + h * x_head + t * x_row, (b * to.heads + h) * to.capacity + at + t);
}

void append_codes(const Rows* to, int32_t io, int64_t rows, const void* x, int64_t x_batch,
                  int64_t x_head, int64_t x_row, int64_t at) {
  alignas(64) float row[kMaxSize];
  alignas(64) int8_t code[kMaxSize];
  const bool pairs = to->format == kInt4;
  const int64_t size = to->size, bytes = pairs ? size / 2 : size;
  const int64_t shared = to->shared ? to->shared : size, groups = size / shared;
  for_each_row(*to, rows, x_batch, x_head, x_row, at, [&](int64_t from, int64_t position) {
    for (int64_t i = 0; i < size; ++i) row[i] = read(x, from + i, io);
    for (int64_t g = 0; g < groups; ++g)
      encode_shared(*to, row + g * shared, static_cast<int>(shared), code + g * shared,
                    position * groups + g);
    if (pairs)
      for (int64_t i = 0; i < bytes; ++i)
        code[i] = static_cast<int8_t>((code[2 * i] & 15) | (code[2 * i + 1] << 4));
    memcpy(static_cast<char*>(to->rows) + position * bytes, code, static_cast<size_t>(bytes));
  });
}

// Rows x as they are, or in the other float format.
void append_floats(const Rows* to, int32_t io, int64_t rows, const void* x, int64_t x_batch,
                   int64_t x_head, int64_t x_row, int64_t at) {
  const int64_t size = to->size;
  for_each_row(*to, rows, x_batch, x_head, x_row, at, [&](int64_t from, int64_t position) {
    position *= size;
    if (io == to->format) {
      const int64_t bytes = io == kBf16 ? 2 : 4;
      memcpy(static_cast<char*>(to->rows) + position * bytes,
             static_cast<const char*>(x) + from * bytes, static_cast<size_t>(size * bytes));
    } else {
      for (int64_t i = 0; i < size; ++i)
        write(to->rows, position + i, to->format, read(x, from + i, io));
    }
  });
}

void append(const Rows* to, int32_t io, int64_t rows, const void* x, int64_t x_batch,
            int64_t x_head, int64_t x_row, int64_t at) {
  auto run = to->format == kFp32 || to->format == kBf16 ? append_floats : append_codes;
  run(to, io, rows, x, x_batch, x_head, x_row, at);
}

// S streams in turn, a cache line of each. One stream is left to the processor's own prefetching.
template <int S> float sum_streams(const float* x, int64_t count, int64_t times) {
  constexpr int L = 16, U = 8;  // floats in a cache line; independent sums that hide the latency
  constexpr int lines = S > 1 ? 1 : U * W / L;
  const int64_t apart = count / (S * L) * L;
  F part[U] = {};
  float rest = 0.0f;
  for (int64_t t = 0; t < times; ++t) {
    int64_t i = 0;
    for (; i + lines * L <= apart; i += lines * L)
      for (int s = 0; s < S; ++s) {
        const float* line = x + s * apart + i;
        if (S > 1) __builtin_prefetch(line + 256);  // 1 KiB ahead
        for (int j = 0; j < lines * L / W; ++j) part[(s * (L / W) + j) % U] += load<F>(line + j * W);
      }
    for (int s = 0; s < S; ++s)
      for (int64_t j = i; j < apart; ++j) rest += x[s * apart + j];
    for (int64_t j = S * apart; j < count; ++j) rest += x[j];
  }
  for (int u = 1; u < U; ++u) part[0] += part[u];
  return sum(part[0]) + rest;
}

float read_sum(const float* x, int64_t count, int64_t times, int32_t streams) {
  auto run = streams >= 16 ? sum_streams<16> : streams >= 8 ? sum_streams<8> : sum_streams<1>;
  return run(x, count, times);
}

}  // namespace
