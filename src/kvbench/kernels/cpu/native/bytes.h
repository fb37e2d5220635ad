// Decode attention over int8 codes by products of bytes (AVX-512 VNNI), which widen nothing. A query and
// a block's weights of values become integers of three bytes, off by half a step at most; a step is
// 2^-22.9 of the query's largest number, 2^-24 of the block's largest weight. So a score is off by no
// more than 2^-23.9 (largest of q) (sum of a key's magnitudes), as sums in fp32 are.
#pragma once
#include <type_traits>

#include "attention.h"

#if defined(__AVX512VNNI__)

#define INLINE __attribute__((always_inline)) inline

namespace {

constexpr int kChunk = 64;        // codes in a vector
constexpr int64_t kFewKeys = 64;  // below which making bytes of the query costs more than it saves
// Numbers between these have steps that are floats; what has none is widened.
constexpr float kTiny = 0x1p-100f, kHuge = 0x1p100f;
// The most that three bytes hold, signed (127 of each) and not, less what a division may round up.
constexpr float kMostQ = 8355711.0f - 8, kMostP = 16777215.0f - 8;

// Four vectors under names: GCC keeps these in registers from one turn of a loop to the next, not arrays.
struct Four {
  __m512i a, b, c, d;
};

INLINE Four four(__m512i x) { return {x, x, x, x}; }

INLINE Four codes_of(const char* a, const char* b, const char* c, const char* d) {
  return {load<__m512i>(a), load<__m512i>(b), load<__m512i>(c), load<__m512i>(d)};
}

// sums += products of the bytes of x, unsigned, and y, four neighbours to a sum.
INLINE void add_products(Four& sums, const Four& x, __m512i y) {
  sums.a = _mm512_dpbusd_epi32(sums.a, x.a, y);
  sums.b = _mm512_dpbusd_epi32(sums.b, x.b, y);
  sums.c = _mm512_dpbusd_epi32(sums.c, x.c, y);
  sums.d = _mm512_dpbusd_epi32(sums.d, x.d, y);
}

INLINE void add_products(Four& sums, __m512i x, const Four& y) {
  sums.a = _mm512_dpbusd_epi32(sums.a, x, y.a);
  sums.b = _mm512_dpbusd_epi32(sums.b, x, y.b);
  sums.c = _mm512_dpbusd_epi32(sums.c, x, y.c);
  sums.d = _mm512_dpbusd_epi32(sums.d, x, y.d);
}

INLINE F joined(__m512i high, __m512i middle, __m512i low) {
  return _mm512_cvtepi32_ps(high) * 65536.0f +
         (_mm512_cvtepi32_ps(middle) * 256.0f + _mm512_cvtepi32_ps(low));
}

// A query as three signed bytes a number: q = unit (2^16 a + 2^8 b + c). `less` takes back what products
// with code + 128, an unsigned byte, add.
struct ByteQuery {
  alignas(64) int8_t bytes[3][kMaxSize];
  __m512i less[3];
  float unit;
};

// Whether q has steps.
inline bool to_bytes(const float* q, int size, ByteQuery* out) {
  float most = 0.0f, sum = 0.0f;
  for (int i = 0; i < size; i += W) {
    const F x = _mm512_abs_ps(load<F>(q + i));
    most = max(x) > most ? max(x) : most;
    sum += ::sum(x);  // no number where one of q's is none
  }
  if (!(most > kTiny && sum < kHuge)) return false;
  out->unit = most / kMostQ;
  for (int i = 0; i < size; i += W) {
    const __m512i all = _mm512_cvtps_epi32(load<F>(q + i) * (kMostQ / most));
    const __m512i low = _mm512_srai_epi32(_mm512_slli_epi32(all, 24), 24);
    const __m512i rest = _mm512_srai_epi32(_mm512_sub_epi32(all, low), 8);
    const __m512i middle = _mm512_srai_epi32(_mm512_slli_epi32(rest, 24), 24);
    const __m512i high = _mm512_srai_epi32(_mm512_sub_epi32(rest, middle), 8);
    store(out->bytes[0] + i, _mm512_cvtepi32_epi8(high));
    store(out->bytes[1] + i, _mm512_cvtepi32_epi8(middle));
    store(out->bytes[2] + i, _mm512_cvtepi32_epi8(low));
  }
  const __m512i offset = _mm512_set1_epi8(static_cast<char>(128));
  for (int p = 0; p < 3; ++p) {
    __m512i added = _mm512_setzero_si512();
    for (int i = 0; i < size; i += kChunk)
      added = _mm512_dpbusd_epi32(added, offset, load<__m512i>(out->bytes[p] + i));
    out->less[p] = _mm512_sub_epi32(_mm512_setzero_si512(), added);
  }
  return true;
}

// Scores of four keys.
INLINE F4 four_scores(const ByteQuery& q, const char* a, const char* b, const char* c,
                      const char* d, int size) {
  const __m512i flip = _mm512_set1_epi8(static_cast<char>(128));
  Four high = four(q.less[0]), middle = four(q.less[1]), low = four(q.less[2]);
  for (int i = 0; i < size; i += kChunk) {
    Four x = codes_of(a + i, b + i, c + i, d + i);
    x = {_mm512_xor_si512(x.a, flip), _mm512_xor_si512(x.b, flip), _mm512_xor_si512(x.c, flip),
         _mm512_xor_si512(x.d, flip)};
    add_products(high, x, load<__m512i>(q.bytes[0] + i));
    add_products(middle, x, load<__m512i>(q.bytes[1] + i));
    add_products(low, x, load<__m512i>(q.bytes[2] + i));
  }
  return sum4(joined(high.a, middle.a, low.a), joined(high.b, middle.b, low.b),
              joined(high.c, middle.c, low.c), joined(high.d, middle.d, low.d)) *
         q.unit;
}

// s[j] = q . k[j] of heads of `Size`, or of `size` where that is 0.
template <int Size>
__attribute__((noinline)) void byte_scores(const ByteQuery& q, const char* k, int keys, int size,
                                           Next next, float* s) {
  if (Size) size = Size;
  int j = 0;
  for (; j + 4 <= keys; j += 4, k += 4 * size) {
    prefetch<Int8Row>(k, 4 * size, {});
    next.fetch(j * size, (j + 4) * size);
    store(s + j, four_scores(q, k, k + size, k + 2 * size, k + 3 * size, size));
  }
  for (; j < keys; ++j, k += size) s[j] = four_scores(q, k, k, k, k, size)[0];
}

// Weights of values as three unsigned bytes each: p = unit (2^16 a + 2^8 b + c).
struct ByteWeights {
  alignas(64) uint8_t bytes[3][kBlock];
  float unit;
};

inline bool to_bytes(const float* p, int keys, ByteWeights* out) {
  const float most = largest(p, keys);
  if (!(most > kTiny && most < kHuge)) return false;
  out->unit = most / kMostP;
  for (int j = 0; j < keys; j += W) {
    const __m512i x = _mm512_cvtps_epi32(load<F>(p + j) * (kMostP / most));
    for (int i = 0; i < 3; ++i)
      store(out->bytes[i] + j, _mm512_cvtepi32_epi8(_mm512_srli_epi32(x, 16 - 8 * i)));
  }
  return true;
}

// acc += sum over j of p[j] v[j]; p is 0 past the last key. Four keys' codes of a column go side by side,
// as products take them: each of four vectors m holds the columns 16 L + 4 m + 0 ... 3 of quarters L.
template <int Size>
__attribute__((noinline)) void byte_values(const ByteWeights& p, const char* v, int keys, int size,
                                           Next next, float* acc) {
  if (Size) size = Size;
  for (int at = 0; at < size; at += kChunk) {
    Four high = {}, middle = {}, low = {};
    const char *x = v + at, *last = x + (keys - 1) * size;
    for (int j = 0; j < keys; j += 4, x += 4 * size) {
      if (at == 0) {
        prefetch<Int8Row>(x, 4 * size, {});
        next.fetch(j * size, (j + 4) * size);
      }
      const char *b = x + size, *c = b + size, *d = c + size;
      const Four row = codes_of(x, b < last ? b : last, c < last ? c : last, d < last ? d : last);
      const __m512i ab = _mm512_unpacklo_epi8(row.a, row.b), cd = _mm512_unpacklo_epi8(row.c, row.d);
      const __m512i AB = _mm512_unpackhi_epi8(row.a, row.b), CD = _mm512_unpackhi_epi8(row.c, row.d);
      const Four y = {_mm512_unpacklo_epi16(ab, cd), _mm512_unpackhi_epi16(ab, cd),
                      _mm512_unpacklo_epi16(AB, CD), _mm512_unpackhi_epi16(AB, CD)};
      add_products(high, _mm512_set1_epi32(load<int32_t>(p.bytes[0] + j)), y);
      add_products(middle, _mm512_set1_epi32(load<int32_t>(p.bytes[1] + j)), y);
      add_products(low, _mm512_set1_epi32(load<int32_t>(p.bytes[2] + j)), y);
    }
    const F sums[4] = {joined(high.a, middle.a, low.a), joined(high.b, middle.b, low.b),
                       joined(high.c, middle.c, low.c), joined(high.d, middle.d, low.d)};
    for (int i = 0; i < kChunk; ++i)
      acc[at + i] += sums[i / 4 % 4][i / 16 * 4 + i % 4] * p.unit;
  }
}

// Bytes for the next functions, where there are some for all of this.
struct ByBytes {
  ByteQuery query;
  ByteWeights weights;
  bool use;

  ByBytes(const Cache& c, int64_t n, const float* q) {
    use = c.group == 1 && c.size % kChunk == 0 && n >= kFewKeys &&
          to_bytes(q, static_cast<int>(c.size), &query);
  }
  void scores(const char* k, int keys, int size, Next next, float* s) const {
    (size == 64 ? byte_scores<64> : byte_scores<0>)(query, k, keys, size, next, s);
  }
  bool values(const float* p, const char* v, int keys, int size, Next next, float* acc) {
    if (!to_bytes(p, keys, &weights)) return false;
    (size == 64 ? byte_values<64> : byte_values<0>)(weights, v, keys, size, next, acc);
    return true;
  }
};

}  // namespace
#undef INLINE
#endif

namespace {

// In place of products of bytes, where there are none.
struct NoBytes {
  static constexpr bool use = false;
  NoBytes(const Cache&, int64_t, const float*) {}
  void scores(const char*, int, int, Next, float*) const {}
  bool values(const float*, const char*, int, int, Next, float*) { return false; }
};

// They read each head of a group anew, and widened int4 codes cost no more (docs/speed.md).
#if defined(__AVX512VNNI__)
template <class Row, int G>
using Bytes = std::conditional_t<std::is_same_v<Row, Int8Row> && G == 1, ByBytes, NoBytes>;
#else
template <class Row, int G> using Bytes = NoBytes;
#endif

}  // namespace
