"""Time one fresh process decoding at one depth."""

from kvbench.job.devices import one_device
from kvbench.job.log import logged, out_of_memory_is_a_result
from kvbench.job.timed import numbered, write_timed
from kvbench.records.provenance import stamp

with logged(snakemake.log[0], snakemake.input.code), one_device(snakemake.config):
    from kvbench.bench import decode  # torch, which sees that device alone

    cell, inputs = snakemake.params.cell, snakemake.input
    weights, kernels = inputs.get("weights") or None, inputs.get("kernels") or None
    record = out_of_memory_is_a_result(decode.run, cell, weights, kernels)
    record = numbered(record, snakemake.wildcards, snakemake.resources.place)
    write_timed(snakemake.output[0], stamp(record, cell, inputs), snakemake.wildcards)
