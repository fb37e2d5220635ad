"""Comparisons of other runners of the same weights, and of other ways to run the same step.

in    results/{study}/cells/{latency,peers,executions}_{preset}.jsonl
out   results/{study}/tables/{peers,executions}_{preset}.md and .csv
"""


rule compare_peers:
    """Compare each runner with v1, process by process, and its tokens with v1's."""
    input:
        code=code("analyse.py", "kvbench.analysis.runners"),
        cells=gathered("latency", "peers"),
    output:
        md="<results>/tables/peers_{preset}.md",
        csv="<results>/tables/peers_{preset}.csv",
    log:
        "<logs>/peers/{preset}.log",
    conda:
        "../envs/figures.yaml"
    params:
        analysis={"module": "kvbench.analysis.runners", "kind": "peers"},
    script:
        "../scripts/analyse.py"


rule compare_executions:
    """Compare each execution and kernel with eager torch."""
    input:
        code=code("analyse.py", "kvbench.analysis.runners"),
        cells=gathered("executions"),
    output:
        md="<results>/tables/executions_{preset}.md",
        csv="<results>/tables/executions_{preset}.csv",
    log:
        "<logs>/executions/{preset}.log",
    conda:
        "../envs/figures.yaml"
    params:
        analysis={"module": "kvbench.analysis.runners", "kind": "executions"},
    script:
        "../scripts/analyse.py"


rule peers:
    """v0-v4 and other runners of the same weights: figure and table."""
    input:
        targets.of_every_preset(config, "figures", "tables", name="peers"),


rule executions:
    """The decode step under each execution and kernel that this device offers: figure and table."""
    input:
        targets.of_every_preset(config, "figures", "tables", name="executions"),
