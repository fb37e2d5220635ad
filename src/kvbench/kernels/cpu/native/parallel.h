// Splits a range over threads. One thread calls no threading runtime at all.
#pragma once
#include <stdint.h>
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

}  // namespace
