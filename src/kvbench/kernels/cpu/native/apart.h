// Decode attention over K and V in formats of their own: the loop of attend.h, with what is done to rows
// of each looked up once. A call a block of rows costs nothing beside reading it.
#pragma once
#include "attention.h"

namespace {

// What is done to rows of a format, for G heads at a time.
template <int G> struct Reader {
  bool scaled;
  int64_t (*bytes)(int64_t size);
  void (*lay)(const Query& y, int64_t at, float scale, int size, float* q);
  void (*scores)(const float* q, const char* k, int keys, int size, Next next, float* s);
  void (*values)(const float* p, const char* v, int keys, int size, float* acc);
  void (*give)(const Query& y, int64_t at, const float* acc, float total, float unit, int size);
};

// A query in the order, and in the unit, of a format's vectors.
template <class Row> void lay(const Query& y, int64_t at, float scale, int size, float* q) {
  for (int i = 0; i < size; ++i)
    q[i] = read(y.q, at + Row::column(i / W, i % W), y.io) * scale * Row::unit(i / W);
}

template <class Row, int G>
void all_values(const float* p, const char* v, int keys, int size, float* acc) {
  constexpr int N = G > 1 ? 2 : W == 16 ? 4 : 8;
  int i = 0;
  for (; i + N <= size / W; i += N) values<Row, G, N>(p, v, keys, size, i, {nullptr, 0}, acc);
  for (; i < size / W; i += Row::shared)
    values<Row, G, Row::shared>(p, v, keys, size, i, {nullptr, 0}, acc);
}

template <class Row>
void give(const Query& y, int64_t at, const float* acc, float total, float unit, int size) {
  for (int i = 0; i < size; ++i)
    write(y.out, at + Row::column(i / W, i % W), y.io, acc[i] / total * (Row::unit(i / W) / unit));
}

template <class Row, int G> Reader<G> reader() {
  return {Row::scaled, Row::bytes, lay<Row>, scores<Row, G>, all_values<Row, G>, give<Row>};
}

template <int G> Reader<G> reader_of(int32_t format) {
  return format == kFp32   ? reader<Fp32Row, G>()
         : format == kBf16 ? reader<Bf16Row, G>()
         : format == kInt8 ? reader<Int8Row, G>()
         : format == kInt4 ? reader<Int4Row, G>()
         : format == kE4m3 ? reader<E4m3Row, G>()
                           : reader<E5m2Row, G>();
}

// Up to kHeads query heads from `head` on, G at a time, over the K/V head they share.
template <int G>
void attend_apart(const Cache& c, const Query& y, int64_t batch, int64_t head, int heads) {
  alignas(64) float q[kHeads * kMaxSize], acc[kHeads * kMaxSize], s[G * kBlock];
  Softmax state[kHeads];
  const Reader<G> of_k = reader_of<G>(c.format), of_v = reader_of<G>(c.v_format);
  const int size = static_cast<int>(c.size), padded = (heads + G - 1) / G * G;
  for (int h = 0; h < padded; ++h) {
    state[h] = {-__builtin_inff(), 0.0f};
    memset(acc + h * size, 0, static_cast<size_t>(size) * sizeof(float));
    of_k.lay(y, batch * y.batch + (head + (h < heads ? h : 0)) * y.head, c.scale, size, q + h * size);
  }
  const int64_t first = (batch * c.kv_heads + head / c.group) * c.capacity, end = first + y.n;
  for (int64_t j = first; j < end; j += kBlock) {
    const int keys = static_cast<int>(end - j < kBlock ? end - j : kBlock);
    for (int h = 0; h < padded; h += G) {
      float* a = acc + h * size;
      of_k.scores(q + h * size, c.k + j * of_k.bytes(size), keys, size, {nullptr, 0}, s);
      for (int g = 0; g < G; ++g) {
        softmax(s + g * kBlock, keys, of_k.scaled ? c.k_scale + j : nullptr,
                of_v.scaled ? c.v_scale + j : nullptr, state + h + g, a + g * size, size);
        if (of_v.scaled) fit(s + g * kBlock, keys, state + h + g, a + g * size, size);
      }
      of_v.values(s, c.v + j * of_v.bytes(size), keys, size, a);
    }
  }
  for (int h = 0; h < heads; ++h)
    of_v.give(y, (batch * c.kv_heads * c.group + head + h) * size, acc + h * size, state[h].total,
              state[h].unit, size);
}

}  // namespace
