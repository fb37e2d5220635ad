// One instruction set's kernels. Compiled once for each, KVBENCH_TABLE naming the result.
#include "attention.h"
#include "linear.h"
#include "quantise.h"

extern "C" {
extern const Kernels KVBENCH_TABLE;
const Kernels KVBENCH_TABLE = {attention, quantise, pack, linear, read_sum};
}
