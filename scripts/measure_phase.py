"""Break one generation's time down by phase."""

from kvbench.job.devices import one_device
from kvbench.job.log import logged, out_of_memory_is_a_result
from kvbench.records.provenance import stamp
from kvbench.records.store import write_record

with logged(snakemake.log[0], snakemake.input.code), one_device(snakemake.config):
    from kvbench.bench import phase  # torch, which sees that device alone

    cell, inputs = snakemake.params.cell, snakemake.input
    kernels = inputs.get("kernels") or None
    record = out_of_memory_is_a_result(phase.run, cell, inputs.weights, kernels)
    write_record(snakemake.output[0], stamp(record, cell, inputs))
