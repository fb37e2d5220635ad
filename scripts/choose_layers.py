"""Find the layer map that shares K/V between the pairs of layers of least calibration loss."""

from kvbench.inputs.share_kv import choose
from kvbench.inputs.tokens import load_tokens
from kvbench.job.log import logged
from kvbench.job.measure import one_path
from kvbench.records.store import write_record

with logged(snakemake.log[0], snakemake.input.code):
    job, inputs = snakemake.params.job, snakemake.input
    record = choose(job, one_path(inputs.init), load_tokens(inputs.train))
    print(record)
    write_record(snakemake.output[0], record)
