// How rows of each format become floats, and how the next block of rows is asked for.
#pragma once
#include <unistd.h>

#include "kernels.h"
#include "vec.h"

namespace {

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

// fp8 codes, four or five bits of exponent; numbers of the first are a 256th of what they stand for.
struct E4m3Row : PlainRow {
  static constexpr bool scaled = true;
  static int64_t bytes(int64_t size) { return size; }
  static F at(const char* row, int i) { return load_e4m3(row + W * i); }
  static float unit(int) { return 256.0f; }
};

struct E5m2Row : PlainRow {
  static constexpr bool scaled = true;
  static int64_t bytes(int64_t size) { return size; }
  static F at(const char* row, int i) { return load_e5m2(row + W * i); }
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

}  // namespace
