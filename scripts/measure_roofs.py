"""Measure this machine's roofs: bandwidths, and the rate of a large product."""

from kvbench.job.devices import one_device
from kvbench.job.log import logged
from kvbench.records.store import write_record

with logged(snakemake.log[0], snakemake.input.code), one_device(snakemake.config):
    from kvbench.bench import roofs  # torch, which sees that device alone

    library = snakemake.input.get("library") or None
    write_record(snakemake.output[0], roofs.run(snakemake.params.settings, library))
