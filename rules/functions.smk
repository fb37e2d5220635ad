"""What rules ask of a job's wildcards: inputs and params of what is made and drawn."""


def training_job(wildcards):
    """How nano is trained with a layer map."""
    return weight_paths.training_job(config, wildcards.variant, wildcards.map)


def sharing_job(wildcards):
    """The shape, and the layer map that its weights are fitted to."""
    job = {"shape": SHAPES[wildcards.preset], "seed": config["seed"]}
    asked = {key: wildcards[key] for key in ("variant", "map") if key in wildcards.keys()}
    return job | asked


def going_on_from(wildcards):
    """Nano's own weights, where training goes on from them."""
    return weight_paths.weights_file(config, "nano") if wildcards.variant == "uptrained" else []


def gguf(wildcards):
    """The GGUF file that a preset is converted from."""
    return f"resources/raw/{GGUF[wildcards.preset]}"


def hub_file(wildcards):
    """What fetches a file of a model of the hub: its repository and commit besides."""
    about = hf_files.from_hub(f"resources/models/{wildcards.model}")
    place = {"repo": about["repository"], "commit": about["commit"], "file": wildcards.file}
    return {"module": "kvbench.inputs.hub", **place}


def ranks(wildcards):
    """The file of a tokenizer: GPT-2's merges, or what its model's directory or GGUF file holds."""
    if wildcards.tokenizer in config["models"]:
        return config["models"][wildcards.tokenizer]["tokenizer"]
    if wildcards.tokenizer in GGUF:
        return f"resources/tokenizers/{wildcards.tokenizer}.tiktoken"
    return "resources/raw/gpt2.tiktoken"


def saved_run(wildcards):
    """The output of a saved export's program, where its run.json lies beside it."""
    name = "{preset}_{version}_{phase}_B{batch}_P{P}.run.json".format(**wildcards)
    path = Path(config["roofline"]["csv_dir"]) / name
    return str(path) if path.exists() else []


def baseline(wildcards):
    """The results.jsonl that this study is compared with."""
    if config["compare"]["baseline"] is None:
        raise WorkflowError("config key 'compare.baseline' is null; give a results.jsonl")
    return config["compare"]["baseline"]


def made_controls(wildcards):
    """The record of the preset's controls, once the target `controls` has made it."""
    path = f"results/{config['study']}/controls/{wildcards.preset}.json"
    return [path] if Path(path).exists() else []


def figure_code():
    """The drawing script and its family's module."""
    listings = {name: code("figure.py", f"kvbench.report.figures.{name}") for name in FIGURES}
    return one_of(listings, lambda wildcards: wildcards.figure)


def figure_inputs(wildcards):
    """What a figure draws."""
    return targets.figure_inputs(config, wildcards.figure, wildcards.preset)


def joined_cells(wildcards):
    """What is put side by side in bytes, time and quality."""
    return targets.joined_cells(config, wildcards.preset)


def own_cells(wildcards):
    """Every cell of one benchmark and preset."""
    return targets.cell_paths(config, wildcards.benchmark)


def table_inputs(wildcards):
    """The cells a table lists; shares of a roof need the roofs, and words on quality the gates."""
    further = {"roofline": [ROOFS], "perplexity": [targets.GATES]}
    return gathered(TABLES[wildcards.table]) + further.get(wildcards.table, [])


def table_settings(wildcards):
    """The one param of a table of cells."""
    columns = BENCHMARKS[TABLES[wildcards.table]].columns
    return {"module": "kvbench.report.tables", "kind": wildcards.table, "columns": columns}


def chapter(wildcards):
    """The report's chapter of a figure or table."""
    return targets.chapter(wildcards.get("figure") or wildcards.get("table"))


def reported(line, table):
    """The CSV of an analysis, in its chapter of Snakemake's report where it has one."""
    csv = f"<results>/tables/{table}_{{preset}}.csv"
    if "chapter" not in line:
        return csv
    labels = {"model": "{preset}", "shows": table, "as": "table"}
    text = f"../report/{line.get('text', table)}.rst"
    return report(csv, caption=text, category=line["chapter"], labels=labels)
