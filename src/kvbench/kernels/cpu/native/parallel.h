// Splits a range over threads, of which each has memory of its own. One thread calls no threading
// runtime at all.
#pragma once
#include <stdint.h>
#include <stdlib.h>
#if defined(_OPENMP)
#include <omp.h>
#endif

namespace {

template <class Work> void parallel(int64_t count, int32_t threads, Work work) {
#if defined(_OPENMP)
  if (threads > 1 && count > 1) {
#pragma omp parallel num_threads(threads)
    {
      const int64_t t = omp_get_thread_num(), team = omp_get_num_threads();
      work(count * t / team, count * (t + 1) / team);
    }
    return;
  }
#endif
  (void)threads;
  work(int64_t{0}, count);
}

// Each calling thread keeps one buffer for each `Use`, as large as the largest that was asked for.
template <class T, int Use> T* scratch(int64_t count) {
  static thread_local T* buffer = nullptr;
  static thread_local int64_t held = 0;
  if (count > held) {
    free(buffer);
    buffer = static_cast<T*>(malloc(static_cast<size_t>(count) * sizeof(T)));
    held = buffer ? count : 0;
  }
  return buffer;
}

}  // namespace
