// Symmetric integer codes per row: scale = largest magnitude / limit, code = x / scale rounded to
// the nearest, ties to even, all in fp32, so that the reference gives the same bits. A cache of
// floats takes rows as they are.
#pragma once
#include "attention.h"
#include "kernels.h"
#include "vec.h"

namespace {

inline void encode(const float* x, int size, int limit, int8_t* codes, float* scale) {
  I most = {};  // magnitudes order like their bit patterns, and a NaN is above them all
  for (int i = 0; i < size; i += W) {
    I magnitude = load<I>(x + i) & 0x7fffffff;
    most = magnitude > most ? magnitude : most;
  }
  int32_t top = most[0];
  for (int i = 1; i < W; ++i) top = most[i] > top ? most[i] : top;
  *scale = bits<float>(top) / static_cast<float>(limit);
  const bool usable = *scale > 0.0f && *scale < __builtin_inff();
  for (int i = 0; i < size; i += W) {
    I c = {};
    if (usable) {
      c = to_int(nearest(load<F>(x + i) / *scale));
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

inline void encode_fp8(const float* x, int size, bool e4m3, int8_t* codes, float* scale) {
  I most = {};
  for (int i = 0; i < size; i += W) {
    I magnitude = load<I>(x + i) & 0x7fffffff;
    most = magnitude > most ? magnitude : most;
  }
  int32_t top = most[0];
  for (int i = 1; i < W; ++i) top = most[i] > top ? most[i] : top;
  const float limit = e4m3 ? 448.0f : 57344.0f;
  *scale = bits<float>(top) / limit;
  const bool usable = *scale > 0.0f && *scale < __builtin_inff();
  for (int i = 0; i < size; i += W) {
    I c = {};
    if (usable) {
      F step = load<F>(x + i) / *scale;
      step = step > limit ? F{} + limit : step;
      step = step < -limit ? F{} - limit : step;
      c = fp8_code(step, e4m3 ? 3 : 2, e4m3 ? -6 : -14);
    }
    for (int j = 0; j < W; ++j) codes[i + j] = static_cast<int8_t>(c[j]);
  }
}

void append_codes(const Rows* to, int32_t io, int64_t rows, const void* x, int64_t x_batch,
                  int64_t x_head, int64_t x_row, int64_t at) {
  alignas(64) float row[kMaxSize];
  alignas(64) int8_t code[kMaxSize];
  const bool pairs = to->format == kInt4;
  const int64_t size = to->size, bytes = pairs ? size / 2 : size;
  for (int64_t bh = 0; bh < to->batch * to->heads; ++bh)
    for (int64_t t = 0; t < rows; ++t) {
      const int64_t from = bh / to->heads * x_batch + bh % to->heads * x_head + t * x_row;
      const int64_t position = bh * to->capacity + at + t;
      for (int64_t i = 0; i < size; ++i) row[i] = read(x, from + i, io);
      if (to->format == kE4m3 || to->format == kE5m2)
        encode_fp8(row, static_cast<int>(size), to->format == kE4m3, code, to->scale + position);
      else
        encode(row, static_cast<int>(size), pairs ? 7 : 127, code, to->scale + position);
      if (pairs)
        for (int64_t i = 0; i < bytes; ++i)
          code[i] = static_cast<int8_t>((code[2 * i] & 15) | (code[2 * i + 1] << 4));
      memcpy(static_cast<char*>(to->rows) + position * bytes, code, static_cast<size_t>(bytes));
    }
}

// Rows x as they are, or in the other float format.
void append_floats(const Rows* to, int32_t io, int64_t rows, const void* x, int64_t x_batch,
                   int64_t x_head, int64_t x_row, int64_t at) {
  const int64_t size = to->size;
  for (int64_t bh = 0; bh < to->batch * to->heads; ++bh)
    for (int64_t t = 0; t < rows; ++t) {
      const int64_t from = bh / to->heads * x_batch + bh % to->heads * x_head + t * x_row;
      const int64_t position = (bh * to->capacity + at + t) * size;
      if (io == to->format) {
        const int64_t bytes = io == kBf16 ? 2 : 4;
        memcpy(static_cast<char*>(to->rows) + position * bytes,
               static_cast<const char*>(x) + from * bytes, static_cast<size_t>(size * bytes));
      } else {
        for (int64_t i = 0; i < size; ++i)
          write(to->rows, position + i, to->format, read(x, from + i, io));
      }
    }
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
