"""Time one fresh process of another runner generating T tokens."""

from kvbench.devices import one_device
from kvbench.job import logged, out_of_memory_is_a_result
from kvbench.provenance import stamp
from kvbench.store import write_record

with logged(snakemake.log[0]), one_device(snakemake.config):
    from kvbench.bench import peers  # torch, which sees that device alone

    cell, weights = snakemake.params.cell, snakemake.input.weights
    record = out_of_memory_is_a_result(peers.run, cell, weights)
    record |= {"replicate": int(snakemake.wildcards.replicate)}
    record |= {"place_in_line": snakemake.resources.place}
    write_record(snakemake.output[0], stamp(record, cell, snakemake.input))
