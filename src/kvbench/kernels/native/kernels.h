// What the library offers: one table of kernels for each instruction set it was compiled for.
// The Python binding (native.py) mirrors this file.
#pragma once
#include <stdint.h>

enum Format : int32_t { kFp32 = 0, kBf16 = 1, kInt8 = 2, kInt4 = 3 };

extern "C" {

// Decode attention, one query row per sequence: q (B, Hq, D), caches (B, Hkv, S, D) contiguous of
// which the first n rows count, scales (B, Hkv, S) for integer caches, out (B, Hq, D) contiguous.
// q has unit stride in D; q and out are fp32 or bf16.
typedef void Attention(int32_t cache, int64_t batch, int64_t kv_heads, int64_t group, int64_t size,
                       int64_t capacity, const void* k, const float* k_scale, const void* v,
                       const float* v_scale, float scale, int32_t threads, int32_t io,
                       const void* q, int64_t q_batch, int64_t q_head, int64_t n, void* out);

// Rows x (B, H, T, D), unit stride in D, to integer codes at positions at .. at + T - 1.
typedef void Quantise(int32_t cache, int32_t io, int64_t batch, int64_t heads, int64_t rows,
                      int64_t size, const void* x, int64_t x_batch, int64_t x_head, int64_t x_row,
                      void* codes, float* scale, int64_t capacity, int64_t at);

// w (N, K) row-major, K even, to panels of P outputs, P the kernels' own: (N/P, K, P), in bf16
// (N/P, K/2, P, 2), the last panel filled with zeros. Panels for N rounded up to 32 hold it.
typedef void Pack(int32_t format, int64_t outputs, int64_t inputs, const void* w, void* panels);

// out (M, N) = x (M, K) w^T + bias (or null), then GELU (tanh form) if asked.
// Returns 0, or 1 without memory for a widened copy of x.
typedef int32_t Linear(int32_t format, int64_t outputs, int64_t inputs, const void* panels,
                       const void* bias, int32_t gelu, int32_t threads, int64_t rows, const void* x,
                       void* out);

// Sum of count floats: reads memory as fast as one thread can.
typedef float ReadSum(const float* x, int64_t count);

struct Kernels {
  Attention* attention;
  Quantise* quantise;
  Pack* pack;
  Linear* linear;
  ReadSum* read_sum;
};
}
