"""Time one fresh process generating T tokens."""

from kvbench.job.devices import one_device
from kvbench.job.log import logged, out_of_memory_is_a_result
from kvbench.job.timed import numbered, write_timed
from kvbench.records.provenance import stamp

with logged(snakemake.log[0], snakemake.input.code), one_device(snakemake.config):
    from kvbench.bench import latency  # torch, which sees that device alone

    cell, inputs = snakemake.params.cell, snakemake.input
    kernels = inputs.get("kernels") or None
    record = out_of_memory_is_a_result(latency.run, cell, inputs.weights, kernels)
    record = numbered(record, snakemake.wildcards, snakemake.resources.place)
    write_timed(snakemake.output[0], stamp(record, cell, inputs), snakemake.wildcards)
