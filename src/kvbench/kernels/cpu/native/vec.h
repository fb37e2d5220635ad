// One vector of W floats, written with the compilers' own vector types, so that the same kernels
// become AVX-512, AVX2, SSE2 or NEON code by compiler flags alone. Only the second half of this
// file names an instruction set: for loads and sums that vector types do not express well.
#pragma once
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr int W = 16;
#elif defined(__AVX2__)
constexpr int W = 8;
#else
constexpr int W = 4;
#endif

typedef float F __attribute__((vector_size(4 * W)));
typedef int32_t I __attribute__((vector_size(4 * W)));
typedef float F4 __attribute__((vector_size(16)));
typedef int32_t I4 __attribute__((vector_size(16)));

template <class V> inline V load(const void* p) {
  V v;
  memcpy(&v, p, sizeof v);
  return v;
}

template <class V> inline void store(void* p, V v) { memcpy(p, &v, sizeof v); }

template <class To, class From> inline To bits(From v) {
  static_assert(sizeof(To) == sizeof(From), "same size");
  return load<To>(&v);
}

inline I to_int(F x) { return __builtin_convertvector(x, I); }
inline F to_float(I x) { return __builtin_convertvector(x, F); }

// Nearest integer, ties to even, for |x| < 2^22: at 1.5 * 2^23 a float has no fraction bits.
inline F nearest(F x) {
  const float shift = 12582912.0f;
  return (x + shift) - shift;
}

// exp, relative error below 3e-7; x is held within +-87, so nothing overflows. NaN stays NaN.
// x = n ln2 + r, |r| <= ln2 / 2, ln2 in two parts of which n times the first is exact.
inline F vexp(F x) {
  x = x < -87.0f ? F{} - 87.0f : x;
  x = x > 87.0f ? F{} + 87.0f : x;
  F n = nearest(x * 1.44269504f);
  F r = x - n * 0.693359375f + n * 2.12194440e-4f;
  F p = F{} + 1.9841270e-4f;  // 1/7!, 1/6!, ...: Taylor to degree 7
  p = p * r + 1.3888889e-3f;
  p = p * r + 8.3333333e-3f;
  p = p * r + 4.1666667e-2f;
  p = p * r + 1.6666667e-1f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  return p * bits<F>((to_int(n) + 127) << 23);
}

inline float widen(uint16_t b) { return bits<float>(static_cast<uint32_t>(b) << 16); }

// float to bfloat16, ties to even; NaN stays NaN.
inline uint16_t narrow(float x) {
  uint32_t u = bits<uint32_t>(x);
  if (x != x) return static_cast<uint16_t>((u >> 16) | 0x40);
  return static_cast<uint16_t>((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

// fp16 to float and back, ties to even.
inline float widen_half(uint16_t h) {
  const uint32_t rest = static_cast<uint32_t>(h & 0x7fff) << 13;
  const float x = bits<float>(rest) * 0x1p112f;
  const uint32_t whole = (h & 0x7c00) == 0x7c00 ? rest | 0x7f800000 : bits<uint32_t>(x);
  return bits<float>(whole | static_cast<uint32_t>(h & 0x8000) << 16);
}

inline uint16_t narrow_half(float x) {
  const uint32_t u = bits<uint32_t>(x), sign = (u >> 16) & 0x8000, a = u & 0x7fffffff;
  uint32_t h = (a + 0xfff + ((a >> 13) & 1)) >> 13;
  if (a > 0x7f800000)
    h = 0x7e00;
  else if (a >= 0x47800000)
    h = 0x7c00;
  else if (a >= 0x38800000)
    h -= 112 << 10;
  else  // below 2^-14 steps are all 2^-24
    h = static_cast<uint32_t>((bits<float>(a) * 0x1p24f + 12582912.0f) - 12582912.0f);
  return static_cast<uint16_t>(sign | h);
}

// Sums of the lanes that share their place in a group of four.
inline F4 fold(F v) {
  F4 s[W / 4];
  memcpy(s, &v, sizeof v);
  for (int i = 1; i < W / 4; ++i) s[0] += s[i];
  return s[0];
}

inline float sum(F v) {
  F4 s = fold(v);
  return (s[0] + s[2]) + (s[1] + s[3]);
}

inline float max(F v) {
  float m = v[0];
  for (int i = 1; i < W; ++i) m = v[i] > m ? v[i] : m;
  return m;
}

// load_bf16: W bfloat16 as floats. load_i8: W signed bytes as int32.
// sum4: the four sums over the lanes of a, b, c and d.
#if defined(__AVX512F__)

inline F load_bf16(const void* p) {
  return bits<F>(_mm512_slli_epi32(_mm512_cvtepu16_epi32(load<__m256i>(p)), 16));
}
inline I load_i8(const void* p) { return bits<I>(_mm512_cvtepi8_epi32(load<__m128i>(p))); }
inline F4 sum4(F a, F b, F c, F d) {
  F ab = _mm512_unpacklo_ps(a, b) + _mm512_unpackhi_ps(a, b);
  F cd = _mm512_unpacklo_ps(c, d) + _mm512_unpackhi_ps(c, d);
  __m512d p = bits<__m512d>(ab), q = bits<__m512d>(cd);
  return fold(bits<F>(_mm512_unpacklo_pd(p, q)) + bits<F>(_mm512_unpackhi_pd(p, q)));
}

#elif defined(__AVX2__)

inline F load_bf16(const void* p) {
  return bits<F>(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load<__m128i>(p)), 16));
}
inline I load_i8(const void* p) {
  return bits<I>(_mm256_cvtepi8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p))));
}
inline F4 sum4(F a, F b, F c, F d) {
  return fold(_mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d)));
}

#elif defined(__x86_64__)

inline F load_bf16(const void* p) {
  __m128i h = _mm_loadl_epi64(static_cast<const __m128i*>(p));
  return bits<F>(_mm_unpacklo_epi16(_mm_setzero_si128(), h));
}
inline I load_i8(const void* p) {
  __m128i b = _mm_cvtsi32_si128(load<int32_t>(p));
  b = _mm_unpacklo_epi8(b, b);
  return bits<I>(_mm_srai_epi32(_mm_unpacklo_epi16(b, b), 24));
}
inline F4 sum4(F a, F b, F c, F d) {
  _MM_TRANSPOSE4_PS(a, b, c, d);
  return (a + b) + (c + d);
}

#elif defined(__ARM_NEON)

inline F load_bf16(const void* p) { return bits<F>(vshll_n_u16(load<uint16x4_t>(p), 16)); }
inline I load_i8(const void* p) {
  return bits<I>(vmovl_s16(vget_low_s16(vmovl_s8(vcreate_s8(load<uint32_t>(p))))));
}
inline F4 sum4(F a, F b, F c, F d) { return vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d)); }

#else

inline F load_bf16(const void* p) {
  typedef uint16_t H __attribute__((vector_size(2 * W)));
  return bits<F>(__builtin_convertvector(load<H>(p), I) << 16);
}
inline I load_i8(const void* p) {
  typedef int8_t B __attribute__((vector_size(W)));
  return __builtin_convertvector(load<B>(p), I);
}
inline F4 sum4(F a, F b, F c, F d) { return F4{sum(a), sum(b), sum(c), sum(d)}; }

#endif

// W fp8 numbers as floats, of e4m3 a 256th: sign and magnitude move to where a float has them, and the
// product puts the exponent's bias right, of subnormal numbers too.
inline F load_fp8(const void* p, int shift, int32_t kept) {
  return bits<F>((load_i8(p) << shift) & kept) * 0x1p112f;
}
inline F load_e4m3(const void* p) { return load_fp8(p, 20, static_cast<int32_t>(0x87f00000)); }
inline F load_e5m2(const void* p) { return load_fp8(p, 21, static_cast<int32_t>(0x8fe00000)); }

}  // namespace
