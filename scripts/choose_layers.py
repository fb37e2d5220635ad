"""Find the layer map that shares K/V between the pairs of layers of least calibration loss."""

from kvbench.job import logged
from kvbench.sharing import choose
from kvbench.store import write_record
from kvbench.text import load_tokens

with logged(snakemake.log[0], snakemake.input.code):
    job, inputs = snakemake.params.job, snakemake.input
    record = choose(job, inputs.init, load_tokens(inputs.train))
    print(record)
    write_record(snakemake.output[0], record)
