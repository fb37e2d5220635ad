"""Time one fresh process generating T tokens."""

from kvbench.bench import latency
from kvbench.job import logged, out_of_memory_is_a_result
from kvbench.store import write_record

with logged(snakemake.log[0]):
    record = out_of_memory_is_a_result(latency.run, snakemake.params.cell, snakemake.input.weights)
    write_record(snakemake.output[0], record | {"replicate": int(snakemake.wildcards.replicate)})
