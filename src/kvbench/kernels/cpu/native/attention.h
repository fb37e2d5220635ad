// Decode attention over a cache of any format. K and V are read once, in blocks; the softmax is
// online, so that no buffer grows with the depth. Integer codes are never dequantised: a key's scale
// multiplies its score, a value's scale its probability.
#pragma once
#include <unistd.h>

#include "kernels.h"
#include "parallel.h"
#include "vec.h"

namespace {

constexpr int kBlock = 512;    // keys in a block: its K and V stay in L2 for a group's heads
constexpr int kHeads = 8;      // query heads that share one pass; larger groups take several
constexpr int kMaxSize = 512;  // head size

// A format: how W of a row's numbers become floats. Vector i holds columns i * W ..., as they are;
// `shared` neighbouring vectors come from the same bytes.
struct PlainRow {
  static constexpr bool scaled = false;
  static constexpr int shared = 1;
  static int column(int i, int lane) { return i * W + lane; }
  static float unit(int) { return 1.0f; }
};

struct Fp32Row : PlainRow {
  static int64_t bytes(int64_t size) { return 4 * size; }
  static F at(const char* row, int i) { return load<F>(row + 4 * W * i); }
};

struct Bf16Row : PlainRow {
  static int64_t bytes(int64_t size) { return 2 * size; }
  static F at(const char* row, int i) { return load_bf16(row + 2 * W * i); }
};

struct Int8Row : PlainRow {
  static constexpr bool scaled = true;
  static int64_t bytes(int64_t size) { return size; }
  static F at(const char* row, int i) { return to_float(load_i8(row + W * i)); }
};

// Two codes in a byte, the even column low. Even vectors hold even columns, odd vectors odd ones. One
// operation isolates a code: shifted up the low one weighs 2^28, masked the high one 16. Queries
// and outputs are laid out to match and carry the inverse.
struct Int4Row {
  static constexpr bool scaled = true;
  static constexpr int shared = 2;
  static int64_t bytes(int64_t size) { return size / 2; }
  static F at(const char* row, int i) {
    I b = load_i8(row + W * (i / 2));
    return to_float(i % 2 ? b & ~15 : b << 28);
  }
  static int column(int i, int lane) { return i / 2 * 2 * W + 2 * lane + i % 2; }
  static float unit(int i) { return i % 2 ? 1.0f / 16 : 1.0f / (1 << 28); }
};

// The block that is read after the one at hand, or none. Its bytes are asked for in four streams. That
// pays where memory is what is waited for: floats do, codes wait for their conversion.
struct Next {
  const char* at;
  int64_t bytes;

  // As many of its bytes as [from, to) of the block at hand. Inlined, since GCC drops calls of a
  // function that only prefetches.
  __attribute__((always_inline)) inline void fetch(int64_t from, int64_t to) const {
    if (!at) return;
    to = to < bytes ? to : bytes;
    for (int64_t i = (from + 255) / 256 * 256; i < to; i += 256)
      for (int s = 0; s < 4; ++s) __builtin_prefetch(at + s * (bytes / 4) + i / 4, 0, 2);
  }
};

// Bytes of the second level's cache; 1 MiB where the system does not tell.
inline int64_t cache_bytes() {
#if defined(_SC_LEVEL2_CACHE_SIZE)
  static const int64_t size = sysconf(_SC_LEVEL2_CACHE_SIZE);
  if (size > 0) return size;
#endif
  return 1 << 20;
}

// Asks for what comes 2 KiB after these bytes, unless they were asked for a block ago. With numbers to
// widen, the processor's own prefetching falls behind; plain fp32 it reads faster undisturbed.
template <class Row>
__attribute__((always_inline)) inline void prefetch(const char* p, int64_t bytes, Next next) {
  if (Row::bytes(1) < 4 && !next.at)
    for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(p + 2048 + i);
}

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
  F most = load<F>(s);
  for (int j = W; j < padded; j += W) {
    F x = load<F>(s + j);
    most = x > most ? x : most;
  }
  float top = max(most);
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
  F most = load<F>(s);
  for (int j = W; j < padded; j += W) {
    F x = load<F>(s + j);
    most = x > most ? x : most;
  }
  if (state->unit == 1.0f && max(most) > kLarge) {
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

// Up to kHeads query heads from `head` on, G at a time, over the K/V head they share.
template <class Row, int G>
void attend(const Cache& c, const Query& y, int64_t batch, int64_t head, int heads) {
  alignas(64) float q[kHeads * kMaxSize], acc[kHeads * kMaxSize], s[G * kBlock];
  Softmax state[kHeads];
  const int size = static_cast<int>(c.size), padded = (heads + G - 1) / G * G;
  for (int h = 0; h < padded; ++h) {
    state[h] = {-__builtin_inff(), 0.0f};
    const int64_t at = batch * y.batch + (head + (h < heads ? h : 0)) * y.head;
    for (int i = 0; i < size; ++i) {
      acc[h * size + i] = 0.0f;
      q[h * size + i] = read(y.q, at + Row::column(i / W, i % W), y.io) * c.scale *
                        Row::unit(i / W);
    }
  }
  const int64_t bytes = Row::bytes(size);
  const int64_t first = (batch * c.kv_heads + head / c.group) * c.capacity, end = first + y.n;
  const bool far = !Row::scaled && c.batch * c.kv_heads * y.n * bytes > cache_bytes();
  for (int64_t j = first; j < end; j += kBlock) {
    const int keys = static_cast<int>(end - j < kBlock ? end - j : kBlock);
    const int64_t after = j + keys < end ? j + keys : first + c.capacity;  // or the next head's
    for (int h = 0; h < padded; h += G) {
      float* a = acc + h * size;
      const bool ask = far && h == 0;
      const Next v_next = {ask ? c.v + j * bytes : nullptr, keys * bytes};
      const Next k_next = {ask ? c.k + after * bytes : nullptr, keys * bytes};
      scores<Row, G>(q + h * size, c.k + j * bytes, keys, size, v_next, s);
      for (int g = 0; g < G; ++g)
        softmax(s + g * kBlock, keys, Row::scaled ? c.k_scale + j : nullptr,
                Row::scaled ? c.v_scale + j : nullptr, state + h + g, a + g * size, size);
      if (Row::scaled)
        for (int g = 0; g < G; ++g)
          fit(s + g * kBlock, keys, state + h + g, a + g * size, size);
      constexpr int N = G > 1 ? 2 : W == 16 ? 4 : 8;
      int i = 0;
      for (; i + N <= size / W; i += N) values<Row, G, N>(s, c.v + j * bytes, keys, size, i, k_next, a);
      for (; i < size / W; i += Row::shared)
        values<Row, G, Row::shared>(s, c.v + j * bytes, keys, size, i, k_next, a);
    }
  }
  for (int h = 0; h < heads; ++h) {
    const int64_t at = (batch * c.kv_heads * c.group + head + h) * size;
    for (int i = 0; i < size; ++i)
      write(y.out, at + Row::column(i / W, i % W), y.io,
            acc[h * size + i] / state[h].total * (Row::unit(i / W) / state[h].unit));
  }
}

template <class Row> void attend_all(const Cache& c, const Query& y) {
  parallel(c.batch * c.kv_heads, c.threads, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i)
      for (int64_t g = 0; g < c.group; g += kHeads) {
        const int heads = static_cast<int>(c.group - g < kHeads ? c.group - g : kHeads);
        const int64_t head = i % c.kv_heads * c.group + g;
        (heads == 1 ? attend<Row, 1> : attend<Row, 4>)(c, y, i / c.kv_heads, head, heads);
      }
  });
}

void attention(const Cache* cache, int32_t io, const void* q, int64_t q_batch, int64_t q_head,
               int64_t n, void* out) {
  auto run = cache->format == kFp32   ? attend_all<Fp32Row>
             : cache->format == kBf16 ? attend_all<Bf16Row>
             : cache->format == kInt8 ? attend_all<Int8Row>
                                      : attend_all<Int4Row>;
  run(*cache, {io, q, q_batch, q_head, n, out});
}

}  // namespace
