// Bytes of torch's CPU allocator as it hands them out and takes them back, on the thread that started
// the account: the hook that torch's own profiler listens to, without the events.
#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

struct Account : c10::MemoryReportingInfoBase {
  int64_t in_use = 0, peak = 0;

  void reportMemoryUsage(void*, int64_t bytes, size_t, size_t, c10::Device device) override {
    if (!device.is_cpu()) return;
    in_use += bytes;
    if (in_use > peak) peak = in_use;
  }

  bool memoryProfilingEnabled() const override { return true; }
};

std::shared_ptr<Account> account;

}  // namespace

// The torch whose headers these are: another's may look otherwise.
EXPORT const char* account_torch() { return KVBENCH_TORCH; }

EXPORT void account_start() {
  account = std::make_shared<Account>();
  c10::ThreadLocalDebugInfo::_push(c10::DebugInfoKind::PROFILER_STATE, account);
}

// The most that was in use since the start or the last split, above what was at the start.
EXPORT int64_t account_split() {
  const int64_t peak = account->peak;
  account->peak = account->in_use;
  return peak;
}

EXPORT void account_stop() {
  c10::ThreadLocalDebugInfo::_pop(c10::DebugInfoKind::PROFILER_STATE);
  account.reset();
}
