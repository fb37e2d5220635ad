// Decode attention's loop over heads and blocks, by the code that is fastest for a format and a group.
#pragma once
#include "attention.h"
#include "apart.h"
#include "bytes.h"

namespace {

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
  Bytes<Row, G> by(c, y.n, q);
  const bool far = (!Row::scaled || by.use) && c.batch * c.kv_heads * y.n * bytes > cache_bytes();
  for (int64_t j = first; j < end; j += kBlock) {
    const int keys = static_cast<int>(end - j < kBlock ? end - j : kBlock);
    const int64_t after = j + keys < end ? j + keys : first + c.capacity;  // or the next head's
    for (int h = 0; h < padded; h += G) {
      float* a = acc + h * size;
      const bool ask = far && h == 0;
      const Next v_next = {ask ? c.v + j * bytes : nullptr, keys * bytes};
      const Next k_next = {ask ? c.k + after * bytes : nullptr, keys * bytes};
      if (by.use)
        by.scores(c.k + j * bytes, keys, size, v_next, s);
      else
        scores<Row, G>(q + h * size, c.k + j * bytes, keys, size, v_next, s);
      for (int g = 0; g < G; ++g)
        softmax(s + g * kBlock, keys, Row::scaled ? c.k_scale + j : nullptr,
                Row::scaled ? c.v_scale + j : nullptr, state + h + g, a + g * size, size);
      if (Row::scaled)
        for (int g = 0; g < G; ++g)
          fit(s + g * kBlock, keys, state + h + g, a + g * size, size);
      if (by.use && by.values(s, c.v + j * bytes, keys, size, k_next, a)) continue;
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

typedef void Attend(const Cache& c, const Query& y, int64_t batch, int64_t head, int heads);

// Every query head, by the code for one head or that for several.
inline void attend_each(const Cache& c, const Query& y, Attend* one, Attend* several) {
  parallel(c.batch * c.kv_heads, c.threads, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i)
      for (int64_t g = 0; g < c.group; g += kHeads) {
        const int heads = static_cast<int>(c.group - g < kHeads ? c.group - g : kHeads);
        const int64_t head = i % c.kv_heads * c.group + g;
        (heads == 1 ? one : several)(c, y, i / c.kv_heads, head, heads);
      }
  });
}

template <class Row> void attend_all(const Cache& c, const Query& y) {
  attend_each(c, y, attend<Row, 1>, attend<Row, 4>);
}

inline void attend_each_apart(const Cache& c, const Query& y) {
  attend_each(c, y, attend_apart<1>, attend_apart<4>);
}

void attention(const Cache* cache, int32_t io, const void* q, int64_t q_batch, int64_t q_head,
               int64_t n, void* out) {
  const bool apart = cache->format != cache->v_format || cache->k_shared || cache->v_shared;
  auto run = apart                    ? attend_each_apart
             : cache->format == kFp32 ? attend_all<Fp32Row>
             : cache->format == kBf16 ? attend_all<Bf16Row>
             : cache->format == kInt8 ? attend_all<Int8Row>
             : cache->format == kInt4 ? attend_all<Int4Row>
             : cache->format == kE4m3 ? attend_all<E4m3Row>
                                      : attend_all<E5m2Row>;
  run(*cache, {io, q, q_batch, q_head, n, out});
}

}  // namespace
