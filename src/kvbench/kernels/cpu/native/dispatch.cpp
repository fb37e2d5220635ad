// Picks the kernels that this processor can run.
#include <string.h>

#include "kernels.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

extern "C" {
extern const Kernels kvbench_portable, kvbench_avx2, kvbench_avx512, kvbench_avx512_vnni,
    kvbench_avx512_bf16;
}

namespace {

struct Entry {
  const char* isa;
  const Kernels* kernels;
  bool runs;
};

const Entry* table() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  [[maybe_unused]] const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  [[maybe_unused]] const bool avx512 =
      avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#endif
  static const Entry entries[] = {
#if defined(KVBENCH_AVX512_BF16)
      {"avx512_bf16", &kvbench_avx512_bf16,
       avx512 && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bf16")},
#endif
#if defined(KVBENCH_AVX512_VNNI)
      {"avx512_vnni", &kvbench_avx512_vnni, avx512 && __builtin_cpu_supports("avx512vnni")},
#endif
#if defined(KVBENCH_AVX512)
      {"avx512", &kvbench_avx512, avx512},
#endif
#if defined(KVBENCH_AVX2)
      {"avx2", &kvbench_avx2, avx2},
#endif
      {"portable", &kvbench_portable, true},
      {nullptr, nullptr, false}};
  return entries;
}

}  // namespace

// The best instruction set of this processor that the library holds.
EXPORT const char* kvbench_isa() {
  const Entry* e = table();
  while (!e->runs) ++e;
  return e->isa;
}

// The kernels of the named instruction set; null if the library or the processor lacks it.
EXPORT const Kernels* kvbench_kernels(const char* isa) {
  for (const Entry* e = table(); e->isa; ++e)
    if (e->runs && strcmp(e->isa, isa) == 0) return e->kernels;
  return nullptr;
}

EXPORT int kvbench_openmp() {
#if defined(_OPENMP)
  return 1;
#else
  return 0;
#endif
}

// Digest of the sources this library was compiled from.
EXPORT const char* kvbench_source() { return KVBENCH_SOURCE; }
