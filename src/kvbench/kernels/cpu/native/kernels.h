// What the library offers: a table of kernels for each instruction set it was compiled for. What
// stays the same between calls comes in a struct, filled once: passing many arguments from Python
// costs more than the smaller kernels do. native.py mirrors this file.
#pragma once
#include <stdint.h>

enum Format : int32_t { kFp32 = 0, kBf16 = 1, kInt8 = 2, kInt4 = 3, kE4m3 = 4, kE5m2 = 5 };

extern "C" {

// K and V (batch, kv_heads, capacity, size), contiguous; scales (batch, kv_heads, capacity) for
// codes, else null. `group` query heads share a K/V head; `scale` is the softmax's. `format` is of K.
// Where every k_shared, or v_shared, channels share a scale, there are size / shared of them a row, in
// fp16 where half is set; 0: one in fp32.
struct Cache {
  int32_t format, threads;
  int64_t batch, kv_heads, group, size, capacity;
  const char *k, *v;
  const float *k_scale, *v_scale;
  float scale;
  int32_t v_format;
  int32_t k_shared, k_half, v_shared, v_half;
};

// Rows (batch, heads, capacity, size), contiguous: floats as they are, int8 or fp8 codes, or two int4 a
// byte, the even column low. Codes have one fp32 scale a row, or as Cache says; floats none. `blocks`: rounded as
// llama.cpp's q8_0 and q4_0 are.
struct Rows {
  int32_t format;
  int64_t batch, heads, capacity, size;
  void* rows;
  float* scale;
  int32_t shared, half, blocks;
};

// w (N, K), K even, in panels of P outputs, P the kernels' own: (N/P, K, P), in bf16
// (N/P, K/2, P, 2), the last panel filled with zeros.
struct Weights {
  int32_t format, threads;
  int64_t outputs, inputs;
  const void *panels, *bias;  // bias (N) or null
  int32_t gelu;
};

// One query row per sequence: q (B, Hq, D), unit stride in D, over the first n positions; out
// (B, Hq, D) contiguous. io: the format of q and out, fp32 or bf16.
typedef void Attention(const Cache* cache, int32_t io, const void* q, int64_t q_batch,
                       int64_t q_head, int64_t n, void* out);

// Attention of many queries, the newest of some keys, each to the keys up to its own. q and out (batch,
// heads, queries, size) in `format`, fp32 or bf16, k and v (batch, kv_heads, keys, size) in kv_format,
// each with its strides of batch, head and row, unit stride in the last; heads / kv_heads query heads
// share K/V.
struct Prompt {
  int32_t format, kv_format, threads;
  float scale;
  int64_t batch, heads, kv_heads, queries, keys, size;
  const void *q, *k, *v;
  void* out;
  int64_t q_at[3], k_at[3], v_at[3], out_at[3];
};
// Returns 0, or 1 without memory for K and V of a head in fp32.
typedef int32_t AttendPrompt(const Prompt* prompt);

// Rows x (B, H, T, D), unit stride in D, fp32 or bf16, to positions at ... at + T - 1.
typedef void Append(const Rows* to, int32_t io, int64_t rows, const void* x, int64_t x_batch,
                    int64_t x_head, int64_t x_row, int64_t at);

// w (N, K) row-major to w.panels, which may be w itself where N is a multiple of P. Returns 0, or 1
// without memory for a panel.
typedef int32_t Pack(const Weights* weights, const void* w);

// out (rows, N) = x (rows, K) w^T + bias, then GELU (tanh form) if asked; all in the weights'
// format. Returns 0, or 1 without memory for a widened copy of x.
typedef int32_t Linear(const Weights* weights, int64_t rows, const void* x, void* out);

// Sum of count floats, added up again and again: reads memory, or a cache, as fast as one thread can.
// It reads in 1, 8 or 16 streams: a cache answers one fastest, memory several.
typedef float ReadSum(const float* x, int64_t count, int64_t times, int32_t streams);

// LayerNorm, or RMSNorm where `mean` is 0. weight and bias as the model's numbers are, bias or null.
struct Norm {
  const void *weight, *bias;
  float eps;
  int32_t mean;
};

// One block. A layer that reads another's rows has no k and v of its own, and its qkv gives q alone;
// `cache` is whose it reads. Rows are a ring of the first `first` and the newest `newest` tokens, or
// all where newest is 0. Without `gate`, `up` ends in its GELU; with it, up is times SiLU of gate.
// Each head of q and of k is normed where the norm has a weight, and turned where `turns` is set.
struct Layer {
  Norm norm_1, norm_2, q_norm, k_norm;
  const Weights *qkv, *proj, *up, *down, *gate;
  const Rows *k, *v;
  const Cache* cache;
  int64_t first, newest;
  int32_t turns;
};

// A whole decode step. The embedding is `embedding` (vocabulary, width), or the head's own panels
// where that is null. Learned positions (context, width), or, where they are null, `pairs` channel
// pairs of each head of q and k turn by `speed` radians a position. Buffers hold `batch` rows of x
// and y (width), heads (q, k and v), mixed (q), up and gate (the feed-forward); wide one of floats.
struct Step {
  int32_t format;
  int64_t batch, width, size, q_heads, kv_heads, layers, pairs;
  const Layer* layer;
  const void *embedding, *positions;
  const float* speed;
  Norm norm;
  const Weights* head;
  void *x, *y, *heads, *mixed, *up, *gate;
  float *wide, *turn;  // turn: cosines, then sines, of the pairs
};

// Logits (batch, vocabulary) of one token a sequence at `position`, whose K and V it appends. Returns 0,
// 1 without memory, or 2 for a token that the vocabulary does not have.
typedef int32_t RunStep(const Step* step, const int64_t* tokens, int64_t position, void* logits);

struct Kernels {
  Attention* attention;
  Append* append;
  Pack* pack;
  Linear* linear;
  ReadSum* read_sum;
  RunStep* step;
  AttendPrompt* prompt;
  int32_t panel;  // P: outputs in a panel
};
}
