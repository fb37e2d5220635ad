"""Words for the numbers: which version is faster, and what this machine could tell apart.

in    results/{study}/{latency,decode,dispatch}/..., results/{study}/roofline/roofs.json
out   results/{study}/verdicts/{preset}.json
      results/{study}/samples/controls/{preset}/{control}/B{batch}/T{T}/r{replicate}.json
      results/{study}/controls/{preset}/{control}/B{batch}/T{T}.json, results/{study}/controls/{preset}.json
      results/{study}/tables/{verdicts,controls,depth,batch,attribution}_{preset}.md and .csv
"""


rule verdicts:
    """Compare versions pair by pair: interval, word, and share of what the bytes allow."""
    input:
        code=code("verdicts.py"),
        cells=timed_cells,
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
    conda:
        "../envs/figures.yaml"
    params:
        margin=config["margin"],
    script:
        "../scripts/verdicts.py"


rule depth:
    """Fit the time per token over depth, beside what the bytes take."""
    input:
        code=code("depth.py"),
        cells=timed_cells,
        roofs=own_roofs,
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
    conda:
        "../envs/figures.yaml"
    script:
        "../scripts/depth.py"


rule batch:
    """Fit the time per token over batch, beside what the bytes take."""
    input:
        code=code("batch.py"),
        cells=gathered("decode"),
        roofs=own_roofs,
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
    conda:
        "../envs/figures.yaml"
    script:
        "../scripts/batch.py"


rule attribution:
    """Split the time per token into what bytes, FLOP and dispatch take, and the rest."""
    input:
        code=code("attribution.py"),
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
    conda:
        "../envs/figures.yaml"
    script:
        "../scripts/attribution.py"


rule measure_control:
    """Time one fresh process of v1 or one of its controls."""
    input:
        code=measured_code("measure_latency.py", version="v1"),
        weights=weights,
        kernels=KERNELS,
    output:
        "<results>/samples/controls/{preset}/{control}/B{batch}/T{T}/r{replicate}.json",
    log:
        "<logs>/controls/{preset}/{control}/B{batch}/T{T}.r{replicate}.log",
    priority: turn
    conda:
        environment("measure")
    threads: measuring_threads
    resources:
        **CLAIM,
        place=place,
    params:
        cell=control_cell,
    script:
        "../scripts/measure_latency.py"


rule pool_control:
    """Pool a control's processes."""
    input:
        code=code("pool.py"),
        samples=collect(
            "<results>/samples/controls/{{preset}}/{{control}}/B{{batch}}/T{{T}}/r{replicate}.json",
            replicate=range(1, CONTROLS["replicates"] + 1),
        ),
    output:
        "<results>/controls/{preset}/{control}/B{batch}/T{T}.json",
    log:
        "<logs>/controls/{preset}/{control}/B{batch}/T{T}.log",
    conda:
        "../envs/figures.yaml"
    script:
        "../scripts/pool.py"


rule judge_controls:
    """Compare v1 with its controls, and say the smallest difference that could be seen."""
    input:
        code=code("controls.py"),
        cells=collect(
            "<results>/controls/{{preset}}/{control}/B{batch}/T{T}.json",
            control=CONTROLS["versions"],
            batch=CONTROLS["batch_size"],
            T=CONTROLS["T_values"],
        ),
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
    conda:
        "../envs/figures.yaml"
    params:
        margin=config["margin"],
    script:
        "../scripts/controls.py"


rule controls:
    """v1 against itself and against a known delay: what this machine can tell apart."""
    input:
        collect(
            "<results>/tables/controls_{preset}.{ext}",
            preset=config["pretrained"],
            ext=["md", "csv"],
        ),
