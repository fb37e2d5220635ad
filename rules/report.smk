"""Figures and tables, each from the cells it shows, gathered by benchmark and preset; the JSON lines.

in    results/{study}/{benchmark}/...
out   results/{study}/cells/{benchmark}_{preset}.jsonl, results/{study}/results.jsonl
      results/{study}/figures/{figure}_{preset}.svg and .png
      results/{study}/tables/{table}_{preset}.md and .csv
"""


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
        benchmark="|".join(BENCHMARKS),
    localrule: True
    conda:
        "../envs/figures.yaml"
    params:
        named=True,
    script:
        "../scripts/gather.py"


rule collect_records:
    """Collect every cell of the study into JSON lines, the form to load into pandas."""
    input:
        code=code("gather.py"),
        cells=targets.every_cell(config),
    output:
        config["log_file"],
    log:
        "<logs>/collect.log",
    localrule: True
    conda:
        "../envs/figures.yaml"
    params:
        named=False,
    script:
        "../scripts/gather.py"


rule figure:
    """Draw one figure, as SVG and PNG, from the cells it shows."""
    input:
        code=figure_code(),
        cells=figure_inputs,
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
    localrule: True
    conda:
        "../envs/figures.yaml"
    script:
        "../scripts/figure.py"


rule table:
    """Write one table of cells, as Markdown and CSV."""
    input:
        code=code("analyse.py", "kvbench.report.tables"),
        cells=table_inputs,
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
    localrule: True
    conda:
        "../envs/figures.yaml"
    params:
        analysis=table_settings,
    script:
        "../scripts/analyse.py"


for BENCHMARK, LINE in BENCHMARKS.items():
    if LINE.in_all:

        rule:
            """All figures and tables of one benchmark."""
            name:
                BENCHMARK
            input:
                targets.every_figure(config, BENCHMARK) + targets.every_table(config, BENCHMARK),


rule capacity:
    """The largest batch in a byte budget: a target of its own, not part of `all`."""
    input:
        targets.of_every_preset(config, "tables", name="capacity"),


rule figures:
    """Every figure of the study."""
    input:
        targets.every_figure(config),


rule tables:
    """Every table of the study."""
    input:
        targets.every_table(config),
