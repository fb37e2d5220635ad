"""Find the largest batch in a byte budget, and confirm it on both sides."""

from kvbench.job.devices import one_device
from kvbench.job.log import logged, out_of_memory_is_a_result
from kvbench.records.provenance import stamp
from kvbench.records.store import write_record

with logged(snakemake.log[0], snakemake.input.code), one_device(snakemake.config):
    from kvbench.bench import capacity  # torch, which sees that device alone

    cell, weights = snakemake.params.cell, snakemake.input.weights
    record = out_of_memory_is_a_result(capacity.run, cell, weights)
    write_record(snakemake.output[0], stamp(record, cell, snakemake.input))
