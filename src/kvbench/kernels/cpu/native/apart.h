// Decode attention over K and V in formats of their own, or with scales of groups of channels: the loop
// of attend.h, with what is done to rows looked up once. A call a block costs nothing beside reading it.
#pragma once
#include "attention.h"
#include "bytes.h"

namespace {

constexpr int kPiece = 32;  // rows with scales of groups that are widened at a time: they stay in L1

// How many channels share a scale, and whether it is in fp16; 0 channels: a row has one, in fp32.
struct Shared {
  int channels;
  bool half;

  const char* scale(const float* all, int64_t row, int size) const {
    return reinterpret_cast<const char*>(all) + row * (size / channels) * (half ? 2 : 4);
  }
};

// What is done to rows of a format, for G heads at a time.
template <int G> struct Reader {
  bool scaled;
  int64_t (*bytes)(int64_t size);
  void (*lay)(const Query& y, int64_t at, float scale, int size, float* q);
  void (*scores)(const float* q, const char* k, int keys, int size, Next next, float* s);
  void (*values)(const float* p, const char* v, int keys, int size, float* acc);
  void (*give)(const Query& y, int64_t at, const float* acc, float total, float unit, int size);
  void (*widen)(const char* rows, const void* scale, Shared by, int keys, int size, float* out);
};

// A query in the order of a format's vectors, and in their unit unless they are widened with it.
template <class Row, bool unit>
void lay(const Query& y, int64_t at, float scale, int size, float* q) {
  for (int i = 0; i < size; ++i)
    q[i] = read(y.q, at + Row::column(i / W, i % W), y.io) * scale * (unit ? Row::unit(i / W) : 1.0f);
}

// Some rows as fp32, in the order of their vectors, by the scales of their groups of channels.
template <class Row>
void widen(const char* rows, const void* scale, Shared by, int keys, int size, float* out) {
  float wide[kPiece * kMaxSize / 16];
  const int groups = keys * (size / by.channels), vectors = by.channels / W;
  const float* scales = static_cast<const float*>(scale);
  if (by.half) {
    for (int g = 0; g < groups; ++g) wide[g] = widen_half(static_cast<const uint16_t*>(scale)[g]);
    scales = wide;
  }
  for (int g = 0; g < groups; ++g, rows += Row::bytes(by.channels))
    for (int i = 0; i < vectors; i += Row::shared)
      for (int u = 0; u < Row::shared; ++u, out += W)
        store(out, Row::at(rows + Row::bytes(i * W), u) * (scales[g] * Row::unit(u)));
}

template <class Row, int G>
void all_values(const float* p, const char* v, int keys, int size, float* acc) {
  constexpr int N = G > 1 ? 2 : W == 16 ? 4 : 8;
  int i = 0;
  for (; i + N <= size / W; i += N) values<Row, G, N>(p, v, keys, size, i, {nullptr, 0}, acc);
  for (; i < size / W; i += Row::shared)
    values<Row, G, Row::shared>(p, v, keys, size, i, {nullptr, 0}, acc);
}

template <class Row, bool units>
void give(const Query& y, int64_t at, const float* acc, float total, float unit, int size) {
  for (int i = 0; i < size; ++i)
    write(y.out, at + Row::column(i / W, i % W), y.io,
          acc[i] / total * ((units ? Row::unit(i / W) : 1.0f) / unit));
}

template <class Row, int G> Reader<G> reader(bool shared) {
  if (shared)
    return {false, Row::bytes, lay<Row, false>, scores<Fp32Row, G>, all_values<Fp32Row, G>,
            give<Row, false>, widen<Row>};
  return {Row::scaled, Row::bytes, lay<Row, true>, scores<Row, G>, all_values<Row, G>,
          give<Row, true>, nullptr};
}

template <int G> Reader<G> reader_of(int32_t format, Shared by) {
  const bool shared = by.channels > 0;
  return format == kFp32   ? reader<Fp32Row, G>(shared)
         : format == kBf16 ? reader<Bf16Row, G>(shared)
         : format == kInt8 ? reader<Int8Row, G>(shared)
         : format == kInt4 ? reader<Int4Row, G>(shared)
         : format == kE4m3 ? reader<E4m3Row, G>(shared)
                           : reader<E5m2Row, G>(shared);
}

// Calls `read(rows, first, count)` with rows as they are, or some at a time in fp32.
template <int G, class Read>
inline void in_pieces(const Reader<G>& of, Shared by, const char* rows, const float* scale,
                      int64_t row, int keys, int size, Read read) {
  if (!of.widen) return read(rows + row * of.bytes(size), 0, keys);
  alignas(64) float wide[kPiece * kMaxSize];
  for (int at = 0; at < keys; at += kPiece) {
    const int count = keys - at < kPiece ? keys - at : kPiece;
    of.widen(rows + (row + at) * of.bytes(size), by.scale(scale, row + at, size), by, count, size, wide);
    read(reinterpret_cast<const char*>(wide), at, count);
  }
}

// Up to kHeads query heads from `head` on, G at a time, over the K/V head they share.
template <int G>
void attend_apart(const Cache& c, const Query& y, int64_t batch, int64_t head, int heads) {
  alignas(64) float q[kHeads * kMaxSize], acc[kHeads * kMaxSize], s[G * kBlock];
  Softmax state[kHeads];
  const Shared k_by = {c.k_shared, c.k_half != 0}, v_by = {c.v_shared, c.v_half != 0};
  const Reader<G> of_k = reader_of<G>(c.format, k_by), of_v = reader_of<G>(c.v_format, v_by);
  const int size = static_cast<int>(c.size), padded = (heads + G - 1) / G * G;
  for (int h = 0; h < padded; ++h) {
    state[h] = {-__builtin_inff(), 0.0f};
    memset(acc + h * size, 0, static_cast<size_t>(size) * sizeof(float));
    of_k.lay(y, batch * y.batch + (head + (h < heads ? h : 0)) * y.head, c.scale, size, q + h * size);
  }
  const int64_t first = (batch * c.kv_heads + head / c.group) * c.capacity, end = first + y.n;
  const bool int8 = c.format == kInt8 && !k_by.channels;
  const Bytes<Int8Row, G> by(c, int8 ? y.n : 0, q);
  for (int64_t j = first; j < end; j += kBlock) {
    const int keys = static_cast<int>(end - j < kBlock ? end - j : kBlock);
    for (int h = 0; h < padded; h += G) {
      float* a = acc + h * size;
      in_pieces(of_k, k_by, c.k, c.k_scale, j, keys, size, [&](const char* k, int at, int count) {
        if (by.use)
          by.scores(k, count, size, {nullptr, 0}, s);
        else
          of_k.scores(q + h * size, k, count, size, {nullptr, 0}, s + at);
      });
      for (int g = 0; g < G; ++g) {
        softmax(s + g * kBlock, keys, of_k.scaled ? c.k_scale + j : nullptr,
                of_v.scaled ? c.v_scale + j : nullptr, state + h + g, a + g * size, size);
        if (of_v.scaled) fit(s + g * kBlock, keys, state + h + g, a + g * size, size);
      }
      in_pieces(of_v, v_by, c.v, c.v_scale, j, keys, size, [&](const char* v, int at, int count) {
        of_v.values(s + at, v, count, size, a);
      });
    }
  }
  for (int h = 0; h < heads; ++h)
    of_v.give(y, (batch * c.kv_heads * c.group + head + h) * size, acc + h * size, state[h].total,
              state[h].unit, size);
}

}  // namespace
