"""Score a text with one version: the plain forward, and through its cache."""

from kvbench.job.devices import one_device
from kvbench.job.log import logged, out_of_memory_is_a_result
from kvbench.records.provenance import stamp
from kvbench.records.store import write_record

with logged(snakemake.log[0], snakemake.input.code), one_device(snakemake.config, timed=False):
    from kvbench.bench.quality import perplexity  # torch, which sees that device alone

    cell, given = snakemake.params.cell, snakemake.input
    inputs = given.weights, given.tokens, given.reference
    record = out_of_memory_is_a_result(perplexity.run, cell, *inputs)
    write_record(snakemake.output[0], stamp(record, cell, snakemake.input))
