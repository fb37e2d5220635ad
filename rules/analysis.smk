"""Analysis: which version is faster, over which depth and batch, and what this machine could tell.

in    results/{study}/cells/{benchmark}_{preset}.jsonl, results/{study}/roofline/roofs.json
out   results/{study}/verdicts/{preset}.json, results/{study}/controls/{preset}.json
      results/{study}/tables/{verdicts,controls,depth,batch,attribution}_{preset}.md and .csv
"""


rule verdicts:
    """Compare versions pair by pair: interval, verdict, and share of what the bytes allow."""
    input:
        code=code("analyse.py", "kvbench.analysis.verdicts"),
        cells=targets.timed_cells(config),
        controls=made_controls,
    output:
        record="<results>/verdicts/{preset}.json",
        md="<results>/tables/verdicts_{preset}.md",
        csv=report(
            "<results>/tables/verdicts_{preset}.csv",
            caption="../report/verdicts.rst",
            category="1 Speed",
            labels={"model": "{preset}", "shows": "verdicts", "as": "table"},
        ),
    log:
        "<logs>/verdicts/{preset}.log",
    localrule: True
    conda:
        "../envs/figures.yaml"
    params:
        analysis={
            "module": "kvbench.analysis.verdicts",
            "margin": config["margin"],
            "by_width": config["stopping"]["half_width"] is not None,
        },
    script:
        "../scripts/analyse.py"


rule depth:
    """Fit the time per token over depth, with the floor that the bytes set."""
    input:
        code=code("analyse.py", "kvbench.analysis.scaling"),
        cells=targets.timed_cells(config),
        roofs=targets.own_roofs(config),
    output:
        md="<results>/tables/depth_{preset}.md",
        csv=report(
            "<results>/tables/depth_{preset}.csv",
            caption="../report/depth.rst",
            category="1 Speed",
            labels={"model": "{preset}", "shows": "depth", "as": "table"},
        ),
    log:
        "<logs>/depth/{preset}.log",
    localrule: True
    conda:
        "../envs/figures.yaml"
    params:
        analysis={"module": "kvbench.analysis.scaling", "axis": "depth"},
    script:
        "../scripts/analyse.py"


rule batch:
    """Fit the time per token over batch, with the floor that the bytes set."""
    input:
        code=code("analyse.py", "kvbench.analysis.scaling"),
        cells=gathered("decode"),
        roofs=targets.own_roofs(config),
    output:
        md="<results>/tables/batch_{preset}.md",
        csv=report(
            "<results>/tables/batch_{preset}.csv",
            caption="../report/depth.rst",
            category="2 Depth and batch",
            labels={"model": "{preset}", "shows": "batch", "as": "table"},
        ),
    log:
        "<logs>/batch/{preset}.log",
    localrule: True
    conda:
        "../envs/figures.yaml"
    params:
        analysis={"module": "kvbench.analysis.scaling", "axis": "batch_size"},
    script:
        "../scripts/analyse.py"


rule attribution:
    """Split the time per token into what bytes, FLOP and dispatch take, and the rest."""
    input:
        code=code("analyse.py", "kvbench.analysis.attribution"),
        cells=gathered("decode"),
        dispatch=gathered("dispatch"),
        roofs=ROOFS,
    output:
        md="<results>/tables/attribution_{preset}.md",
        csv=report(
            "<results>/tables/attribution_{preset}.csv",
            caption="../report/attribution.rst",
            category="2 Depth and batch",
            labels={"model": "{preset}", "shows": "attribution", "as": "table"},
        ),
    log:
        "<logs>/attribution/{preset}.log",
    localrule: True
    conda:
        "../envs/figures.yaml"
    params:
        analysis={"module": "kvbench.analysis.attribution"},
    script:
        "../scripts/analyse.py"


rule judge_controls:
    """Compare v1 with its controls, and work out the smallest detectable difference."""
    input:
        code=code("analyse.py", "kvbench.analysis.verdicts"),
        cells=targets.cell_paths(config, "controls"),
    output:
        record="<results>/controls/{preset}.json",
        md="<results>/tables/controls_{preset}.md",
        csv=report(
            "<results>/tables/controls_{preset}.csv",
            caption="../report/controls.rst",
            category="1 Speed",
            labels={"model": "{preset}", "shows": "controls", "as": "table"},
        ),
    log:
        "<logs>/controls/{preset}.log",
    localrule: True
    conda:
        "../envs/figures.yaml"
    params:
        analysis={
            "module": "kvbench.analysis.verdicts",
            "function": "controls_table",
            "margin": config["margin"],
        },
    script:
        "../scripts/analyse.py"


rule controls:
    """v1 against itself and against a known delay: what this machine can tell apart."""
    input:
        targets.of_every_preset(config, "tables", name="controls"),
