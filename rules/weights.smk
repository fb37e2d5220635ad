"""Weights: seeded, converted, fetched or trained.

in    resources/raw/*.gguf, resources/tokens/mini-wiki.*.npz; the model hub only when asked for
      resources/models/{org}--{name}/hub.json, which planning writes
out   resources/weights/{preset}/{random-{seed},hub,trained-{steps}-{seed},gguf}.safetensors
      resources/tokenizers/{preset}.tiktoken
      resources/models/{org}--{name}/{*.safetensors,tokenizer.json}
"""

# Folders of models of the hub, within resources/models.
FROM_HUB = [
    Path(model["shape"]["weights"]).name
    for model in config["models"].values()
    if "revision" in model
]


rule make_random_weights:
    """Draw seeded random weights of one shape, as GPT-2 is initialised."""
    input:
        code=model_code("make_random_weights.py"),
    output:
        "resources/weights/{preset}/random-{seed}.safetensors",
    log:
        "logs/make_random_weights/{preset}.{seed}.log",
    wildcard_constraints:
        seed=r"\d+",
    conda:
        "../envs/inputs.yaml"
    params:
        shape=lookup("{preset}", within=SHAPES),
    script:
        "../scripts/make_random_weights.py"


rule convert_gguf:
    """Convert a model's GGUF file once: weights to safetensors, its tokenizer to a ranks file."""
    input:
        code=code("convert_gguf.py"),
        gguf=gguf,
    output:
        weights="resources/weights/{preset}/gguf.safetensors",
        ranks="resources/tokenizers/{preset}.tiktoken",
    log:
        "logs/convert_gguf/{preset}.log",
    wildcard_constraints:
        preset="|".join(GGUF),
    localrule: True
    conda:
        "../envs/inputs.yaml"
    params:
        shape=lookup("{preset}", within=SHAPES),
        entries={file: MANIFEST[file] for file in GGUF.values()},
    script:
        "../scripts/convert_gguf.py"


rule fetch_hub_weights:
    """Fetch a pretrained GPT-2 from the model hub and convert it once."""
    input:
        code=code("fetch_hub_weights.py"),
    output:
        "resources/weights/{preset}/hub.safetensors",
    log:
        "logs/fetch_hub_weights/{preset}.log",
    wildcard_constraints:
        preset="|".join(HUB_PRESETS),
    localrule: True
    conda:
        "../envs/inputs.yaml"
    script:
        "../scripts/fetch_hub_weights.py"


rule fetch_hub_file:
    """Fetch one file of a model of the hub, at the commit that was looked up when it was planned."""
    input:
        code=ancient(code("fetch.py", "kvbench.inputs.hub")),  # the commit says what comes out, whatever the code
    output:
        "resources/models/{model}/{file}",
    log:
        "logs/fetch_hub_file/{model}.{file}.log",
    wildcard_constraints:
        model="|".join(map(re.escape, FROM_HUB)) or "(?!)",
        file=r"[\w.-]+\.safetensors|tokenizer\.json",
    retries: 2
    localrule: True
    conda:
        "../envs/inputs.yaml"
    params:
        source=hub_file,
    script:
        "../scripts/fetch.py"


rule train_nano:
    """Train the nano model on mini-wiki: trained weights that need no model hub."""
    input:
        code=code("train_nano.py", "kvbench.models.gpt2", "kvbench.caches.none"),
        train="resources/tokens/mini-wiki.train.gpt2-8k.npz",
        valid="resources/tokens/mini-wiki.valid.gpt2-8k.npz",
    output:
        weight_paths.weights_file({**config, "weights": "auto"}, "nano"),
    log:
        "logs/train_nano/nano.log",
    conda:
        "../envs/inputs.yaml"
    threads: 1
    params:
        job={"shape": SHAPES["nano"], **config["nano"], "seed": config["seed"]},
    script:
        "../scripts/train_nano.py"
