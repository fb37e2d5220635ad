"""Weights fitted to a layer map, so that sharing K/V costs less than copying it does.

in    resources/weights/{preset}/{base}.safetensors, resources/tokens/{text}.train.{tokenizer}.npz
out   resources/weights/nano/{base}.{shared,uptrained}-{map}.safetensors
      resources/weights/{preset}/{base}.{calibrated,copied}-{map}.safetensors
      resources/weights/{preset}/{base}.layers.json
"""

NANO = Path(weight_paths.weights_file({**config, "weights": "auto"}, "nano")).stem
LAYER_MAP = r"own|pairs|triples|ends|\d+(-\d+)*"


rule train_shared:
    """Train nano with shared K/V, from scratch or on from its own weights."""
    input:
        code=code("train_nano.py", "kvbench.models.gpt2", "kvbench.caches.none"),
        train="resources/tokens/mini-wiki.train.gpt2-8k.npz",
        valid="resources/tokens/mini-wiki.valid.gpt2-8k.npz",
        init=going_on_from,
    output:
        f"resources/weights/nano/{NANO}.{{variant}}-{{map}}.safetensors",
    log:
        f"logs/train_shared/{NANO}.{{variant}}-{{map}}.log",
    wildcard_constraints:
        variant="shared|uptrained",
        map=LAYER_MAP,
    conda:
        "../envs/inputs.yaml"
    threads: 1
    params:
        job=training_job,
    script:
        "../scripts/train_nano.py"


rule calibrate_sharing:
    """Fit a model's projections to a layer map in closed form, or copy its owners' queries."""
    input:
        code=model_code("fit_sharing.py", "kvbench.caches.none"),
        init=own_weights,
        train=tokens("train"),
    output:
        "resources/weights/{preset}/{base}.{variant}-{map}.safetensors",
    log:
        "logs/calibrate_sharing/{preset}.{base}.{variant}-{map}.log",
    wildcard_constraints:
        base="[^/]+",
        variant="calibrated|copied",
        map=LAYER_MAP,
    conda:
        environment("measure")
    threads: 1
    params:
        job=sharing_job,
    script:
        "../scripts/fit_sharing.py"


rule choose_layers:
    """Find the layer map that shares K/V between the pairs of layers with the least calibration loss."""
    input:
        code=model_code("fit_sharing.py", "kvbench.caches.none"),
        init=own_weights,
        train=tokens("train"),
    output:
        "resources/weights/{preset}/{base}.layers.json",
    log:
        "logs/choose_layers/{preset}.{base}.log",
    wildcard_constraints:
        base="[^/]+",
    conda:
        environment("measure")
    threads: 1
    params:
        job=sharing_job,
    script:
        "../scripts/fit_sharing.py"


rule layers:
    """For every scored preset, the layer map of least calibration loss, to be put into `layer_maps`."""
    input:
        [
            f"resources/weights/{preset}/{weight_paths.weights_base(config, preset)}.layers.json"
            for preset in quality_presets(config)
        ],
