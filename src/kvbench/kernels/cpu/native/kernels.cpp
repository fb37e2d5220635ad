// One instruction set's kernels. Compiled once for each, KVBENCH_TABLE naming the result.
#include "append.h"
#include "attend.h"
#include "linear.h"
#include "prompt.h"
#include "step.h"

extern "C" {
extern const Kernels KVBENCH_TABLE;
const Kernels KVBENCH_TABLE = {attention, append, pack, linear, read_sum, step, prompt, kPanel};
}
