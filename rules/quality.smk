"""Quality: how well a version still predicts text, reading K/V through its own cache.

in    resources/weights/{preset}/*.safetensors, resources/tokens/*.npz
out   results/{study}/perplexity/{preset}/{version}.json
"""


rule measure_perplexity:
    """Score a text with one version: the plain forward, and through its cache."""
    input:
        code=measured_code("measure_perplexity.py", "kvbench.caches.none", "kvbench.caches.dense"),
        weights=weights,
        reference=own_weights,
        tokens=tokens,
    output:
        "<results>/perplexity/{preset}/{version}.json",
    log:
        "<logs>/perplexity/{preset}/{version}.log",
    conda:
        environment("measure")
    threads: 1  # nothing is timed: as many at once as there are cores
    resources:
        **CLAIM,
    params:
        cell=cell("perplexity"),
    script:
        "../scripts/measure_perplexity.py"
