// Attention of many queries, the newest of some keys, each to the keys up to its own. It is bound by
// products: queries lie side by side in a panel, as outputs do in linear.h, so that a softmax goes down the
// lanes and its weights are, where they lie, the panel that values meet.
#pragma once
#include "attention.h"
#include "tile.h"

namespace {

constexpr int64_t kKeys = 8 * kRows;  // keys at a time, so that their weights stay in L1

// Scores s (keys, kPanel) become weights: 0 where lane l, a query that sees the keys 0 ... sees + l of
// these, does not see one. What acc (size, kPanel) holds of earlier keys fades to the new maximum.
inline void weigh(float* s, int64_t keys, int64_t sees, F (&top)[V], F (&total)[V], float* acc,
                  int64_t size) {
  for (int v = 0; v < V; ++v) {
    I lane;  // the newest of these keys that each lane sees
    for (int i = 0; i < W; ++i) lane[i] = static_cast<int32_t>(sees < kKeys ? sees + v * W + i : kKeys);
    F most = top[v];
    for (int64_t j = 0; j < keys; ++j) {
      const F x = load<F>(s + j * kPanel + v * W);
      const F seen = lane >= static_cast<int32_t>(j) ? x : F{} - __builtin_inff();
      most = seen > most ? seen : most;
    }
    F sums = {};
    for (int64_t j = 0; j < keys; ++j) {
      float* at = s + j * kPanel + v * W;
      const F p = vexp(load<F>(at) - most), weight = lane >= static_cast<int32_t>(j) ? p : F{};
      sums += weight;
      store(at, weight);
    }
    const F fade = vexp(top[v] - most);
    for (int64_t i = 0; i < size; ++i)
      store(acc + i * kPanel + v * W, load<F>(acc + i * kPanel + v * W) * fade);
    top[v] = most;
    total[v] = total[v] * fade + sums;
  }
}

// Up to kPanel queries of one head from `first` on. k in tiles of kRows keys, v (keys, size).
inline void attend_panel(const Prompt& p, int64_t batch, int64_t head, int64_t first, const float* k,
                         const float* v, float* work) {
  const int64_t size = p.size, left = p.queries - first, count = left < kPanel ? left : kPanel;
  float *q = work, *acc = q + size * kPanel, *rows = acc + size * kPanel, *s = rows + size * kPanel;
  memset(work, 0, static_cast<size_t>(3 * size * kPanel) * sizeof(float));
  const int64_t from = batch * p.q_at[0] + head * p.q_at[1];
  const int64_t to = batch * p.out_at[0] + head * p.out_at[1];
  for (int64_t r = 0; r < count; ++r)
    for (int64_t i = 0; i < size; ++i)
      rows[r * size + i] = read(p.q, from + (first + r) * p.q_at[2] + i, p.format) * p.scale;
  transpose(rows, size, kPanel, size, q, kPanel);
  // Rows lie far apart: where results go, and the next panel's queries, are asked for meanwhile.
  const int64_t width = p.format == kBf16 ? 2 : 4;  // bytes of a number
  for (int64_t r = 0; r < left && r < 2 * kPanel; ++r) {
    const char* out = static_cast<const char*>(p.out) + (to + (first + r) * p.out_at[2]) * width;
    const char* next = static_cast<const char*>(p.q) + (from + (first + r) * p.q_at[2]) * width;
    for (int64_t i = 0; i < size * width; i += 64)
      if (r < kPanel)
        __builtin_prefetch(out + i, 1);
      else
        __builtin_prefetch(next + i);
  }
  F top[V], total[V] = {};
  for (int i = 0; i < V; ++i) top[i] = F{} - __builtin_inff();
  const int64_t sees = p.keys - p.queries + first, end = sees + count;  // of the first query; of all
  for (int64_t j = 0; j < end; j += kKeys) {
    const int64_t keys = end - j < kKeys ? end - j : kKeys;
    memset(s, 0, static_cast<size_t>(kKeys * kPanel) * sizeof(float));
    for (int64_t i = 0; i < keys; i += kRows)
      add<Fp32Panel, kRows, 1>(reinterpret_cast<const char*>(q), 0, size, k + (j + i) * size, kRows, 0, 0,
                               s + i * kPanel);
    weigh(s, keys, sees - j, top, total, acc, size);
    for (int64_t c = 0; c < size; c += kRows)
      add_rows<Fp32Panel>(size - c < kRows ? size - c : kRows, 1, reinterpret_cast<const char*>(s), 0,
                          keys, v + j * size + c, size, 0, 0, acc + c * kPanel);
  }
  for (int64_t i = 0; i < size; ++i)
    for (int j = 0; j < V; ++j) {
      float* at = acc + i * kPanel + j * W;
      store(at, load<F>(at) / total[j]);
    }
  transpose(acc, kPanel, size, kPanel, rows, size);
  for (int64_t r = 0; r < count; ++r)
    for (int64_t i = 0; i < size; ++i)
      write(p.out, to + (first + r) * p.out_at[2] + i, p.format, rows[r * size + i]);
}

// Every query of one head.
inline bool attend_prompt(const Prompt& p, int64_t batch, int64_t head) {
  const int64_t size = p.size, tiles = (p.keys + kRows - 1) / kRows, padded = tiles * kRows;
  const int64_t kv = head / (p.heads / p.kv_heads);
  float* k = scratch<float, 2>(2 * padded * size + 3 * size * kPanel + kKeys * kPanel);
  if (!k) return false;
  float *v = k + padded * size, *work = v + padded * size;
  float* rows = work;  // of one tile, which work has not begun to use
  for (int64_t j = 0; j < padded; j += kRows) {
    for (int64_t r = 0; r < kRows; ++r)
      for (int64_t i = 0; i < size; ++i) {
        const int64_t key = j + r < p.keys ? j + r : p.keys - 1;  // the last one again, which none sees
        rows[r * size + i] =
            read(p.k, batch * p.k_at[0] + kv * p.k_at[1] + key * p.k_at[2] + i, p.kv_format);
        v[(j + r) * size + i] =
            read(p.v, batch * p.v_at[0] + kv * p.v_at[1] + key * p.v_at[2] + i, p.kv_format);
      }
    transpose(rows, size, kRows, size, k + j * size, kRows);
  }
  for (int64_t first = 0; first < p.queries; first += kPanel)
    attend_panel(p, batch, head, first, k, v, work);
  return true;
}

int32_t prompt(const Prompt* p) {
  bool done = true;
  parallel(p->batch * p->heads, p->threads, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i)
      if (!attend_prompt(*p, i / p->heads, i % p->heads))
        __atomic_store_n(&done, false, __ATOMIC_RELAXED);
  });
  return !done;
}

}  // namespace
