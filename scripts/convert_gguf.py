"""Convert a model's GGUF file once: weights to safetensors, its tokenizer to a ranks file."""

from pathlib import Path

from kvbench.files import write_text
from kvbench.inputs import gguf as gguf_model
from kvbench.job.log import logged
from kvbench.models.weights import save
from kvbench.placeholder import passed_on

with logged(snakemake.log[0], snakemake.input.code), passed_on(*snakemake.output):
    reader = gguf_model.open_gguf(snakemake.input.gguf)
    tensors = gguf_model.tensors(reader, snakemake.params.shape)
    origin = {"preset": snakemake.wildcards.preset, "file": Path(snakemake.input.gguf).name}
    save(snakemake.output.weights, tensors, source="gguf", **origin)
    write_text(snakemake.output.ranks, gguf_model.ranks(reader))
