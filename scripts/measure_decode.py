"""Time one fresh process decoding at one depth."""

from kvbench.devices import one_device
from kvbench.job import logged, out_of_memory_is_a_result
from kvbench.provenance import stamp
from kvbench.timed import numbered, write_timed

with logged(snakemake.log[0], snakemake.input.code), one_device(snakemake.config):
    from kvbench.bench import decode  # torch, which sees that device alone

    cell, inputs = snakemake.params.cell, snakemake.input
    weights, kernels = inputs.get("weights") or None, inputs.get("kernels") or None
    record = out_of_memory_is_a_result(decode.run, cell, weights, kernels)
    record = numbered(record, snakemake.wildcards, snakemake.resources.place)
    write_timed(snakemake.output[0], stamp(record, cell, inputs), snakemake.wildcards)
