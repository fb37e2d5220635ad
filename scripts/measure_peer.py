"""Time one fresh process of another runner generating T tokens."""

from kvbench.job.devices import one_device
from kvbench.job.log import logged, out_of_memory_is_a_result
from kvbench.job.timed import numbered, write_timed
from kvbench.records.provenance import stamp

with logged(snakemake.log[0], snakemake.input.code), one_device(snakemake.config):
    from kvbench.bench import peers  # torch, which sees that device alone

    cell, weights = snakemake.params.cell, snakemake.input.weights
    record = out_of_memory_is_a_result(peers.run, cell, weights)
    record = numbered(record, snakemake.wildcards, snakemake.resources.place)
    write_timed(snakemake.output[0], stamp(record, cell, snakemake.input), snakemake.wildcards)
