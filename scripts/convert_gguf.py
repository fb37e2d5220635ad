"""Convert a model's GGUF file once: weights to safetensors, its tokenizer to a ranks file."""

from kvbench.files import write_text
from kvbench.files.foreign import reading
from kvbench.files.placeholder import passed_on
from kvbench.inputs import gguf as gguf_model
from kvbench.inputs.wheel import verify
from kvbench.job.log import logged
from kvbench.models.weights import save

with logged(snakemake.log[0], snakemake.input.code), passed_on(*snakemake.output):
    path = verify(snakemake.input.gguf, snakemake.params.entries)
    reader = gguf_model.open_gguf(path)
    with reading(path, "GGUF file of this model"):
        tensors = gguf_model.tensors(reader, snakemake.params.shape)
        ranks = gguf_model.ranks(reader)
    origin = {"preset": snakemake.wildcards.preset, "file": path.name}
    save(snakemake.output.weights, tensors, source="gguf", **origin)
    write_text(snakemake.output.ranks, ranks)
