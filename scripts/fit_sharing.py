"""Fit a model's projections to a layer map; or find the map of least calibration loss."""

from kvbench.files.placeholder import passed_on
from kvbench.inputs import share_kv
from kvbench.inputs.tokens import load_tokens
from kvbench.job.log import logged
from kvbench.job.measure import one_path
from kvbench.models.weights import save
from kvbench.records.store import write_record

with logged(snakemake.log[0], snakemake.input.code):
    job, inputs, output = snakemake.params.job, snakemake.input, snakemake.output[0]
    if "map" in job:
        with passed_on(output):
            model, record = share_kv.fit(job, one_path(inputs.init), load_tokens(inputs.train))
            print(record)
            save(output, dict(model.named_parameters()), **record)
    else:
        record = share_kv.choose(job, one_path(inputs.init), load_tokens(inputs.train))
        print(record)
        write_record(output, record)
