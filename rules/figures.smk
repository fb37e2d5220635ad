"""Figures and tables, each from the cells it shows, gathered by benchmark and preset.

in    results/{study}/{latency,vram,phase,perplexity,roofline,decode,dispatch}/...
out   results/{study}/cells/{benchmark}_{preset}.jsonl
      results/{study}/figures/{figure}_{preset}.svg and .png
      results/{study}/tables/{table}_{preset}.md and .csv
"""

CELLS = {
    "latency": collect(
        "<results>/latency/{{preset}}/{version}/B{batch}/T{T}.json",
        version=config["versions"],
        batch=config["batch_size"],
        T=config["T_values"],
    ),
    "vram": collect(
        "<results>/vram/{{preset}}/{version}/B{batch}/T{T}.json",
        version=config["versions"],
        batch=config["batch_size"],
        T=config["T_values"],
    ),
    "phase": collect(
        "<results>/phase/{{preset}}/{version}/B{batch}/T{T}.json",
        version=config["versions"],
        batch=config["batch_size"],
        T=config["T_star"],
    ),
    "perplexity": collect(
        "<results>/perplexity/{{preset}}/{version}.json", version=config["versions"]
    ),
    "roofline": collect(
        "<results>/roofline/{{preset}}/{version}_{phase}/B{batch}/P{P}.json",
        version=config["versions"],
        phase=config["roofline"]["phases"],
        batch=config["roofline"]["batch_sizes"],
        P=config["roofline"]["P"],
    ),
    "decode": collect(
        "<results>/decode/{{preset}}/{version}/B{batch}/D{depth}.json",
        version=config["versions"],
        batch=config["batch_size"],
        depth=config["decode"]["depths"],
    ),
    "dispatch": collect(
        "<results>/dispatch/{{preset}}/{version}/B1/D{depth}.json",
        version=config["versions"],
        depth=config["decode"]["depths"],
    ),
    "capacity": collect("<results>/capacity/{{preset}}/{version}.json", version=config["versions"]),
    "peers": collect(
        "<results>/peers/{{preset}}/{peer}/B{batch}/T{T}.json",
        peer=config["peers"],
        batch=config["batch_size"],
        T=config["T_values"],
    ),
    "executions": collect(
        "<results>/executions/{{preset}}/{mode_version}/B{batch}/T{T}.json",
        mode_version=MODES["versions"],
        batch=config["batch_size"],
        T=MODES["T_values"],
    ),
}
TABLES = [*(benchmark for benchmark in CELLS if benchmark not in APART), *TABLE_OF]


rule gather:
    """Gather the cells of one benchmark and preset, as lines: what figures and tables read."""
    input:
        code=code("gather.py"),
        cells=own_cells,
    output:
        "<results>/cells/{benchmark}_{preset}.jsonl",
    log:
        "<logs>/gather/{benchmark}_{preset}.log",
    wildcard_constraints:
        benchmark="|".join(CELLS),
    conda:
        "../envs/figures.yaml"
    script:
        "../scripts/gather.py"


rule figure:
    """Draw one figure, as SVG and PNG, from the cells it shows."""
    input:
        code=figure_code(),
        cells=figure_cells,
    output:
        report(
            "<results>/figures/{figure}_{preset}.svg",
            caption="../report/figure.rst",
            category=chapter,
            labels={"model": "{preset}", "shows": "{figure}", "as": "figure"},
        ),
        "<results>/figures/{figure}_{preset}.png",
    log:
        "<logs>/figures/{figure}_{preset}.log",
    wildcard_constraints:
        figure="|".join(FIGURES),
    conda:
        "../envs/figures.yaml"
    script:
        "../scripts/figure.py"


rule table:
    """Write one table of cells, as Markdown and CSV."""
    input:
        code=code("table.py"),
        cells=table_cells,
    output:
        md="<results>/tables/{table}_{preset}.md",
        csv=report(
            "<results>/tables/{table}_{preset}.csv",
            caption="../report/table.rst",
            category=chapter,
            labels={"model": "{preset}", "shows": "{table}", "as": "table"},
        ),
    log:
        "<logs>/tables/{table}_{preset}.log",
    wildcard_constraints:
        table="|".join(TABLES),
    conda:
        "../envs/figures.yaml"
    script:
        "../scripts/table.py"


rule latency:
    """All latency and speed-up figures and tables."""
    input:
        shown("latency"),


rule vram:
    """All memory figures and tables."""
    input:
        shown("vram"),


rule phase:
    """All phase figures and tables."""
    input:
        shown("phase"),


rule perplexity:
    """All perplexity figures and tables."""
    input:
        shown("perplexity"),


rule roofline:
    """All roofline figures and tables."""
    input:
        shown("roofline"),


rule decode:
    """All figures and tables over batch and depth."""
    input:
        shown("decode"),


rule capacity:
    """The largest batch in a byte budget: a target of its own, not part of `all`."""
    input:
        collect(
            "<results>/tables/capacity_{preset}.{ext}",
            preset=config["pretrained"],
            ext=["md", "csv"],
        ),


rule figures:
    """Every figure of the study."""
    input:
        every_figure(),


rule tables:
    """Every table of the study."""
    input:
        every_table(),
