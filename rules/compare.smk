"""The regression gate: this study against an earlier or published one.

in    the config's compare.baseline; results/{study}/{latency,decode,vram}/...
out   results/{study}/compare/verdicts.json and passed, results/{study}/tables/compare.md and .csv
"""


rule judge_against:
    """Compare each cell with the same cell of the baseline."""
    input:
        code=code("judge_against.py"),
        cells=targets.compared_cells(config),
        baseline=baseline,
    output:
        record="<results>/compare/verdicts.json",
        md="<results>/tables/compare.md",
        csv="<results>/tables/compare.csv",
    log:
        "<logs>/compare/judge.log",
    conda:
        "../envs/figures.yaml"
    params:
        settings={key: config["compare"][key] for key in ("margin", "allow")},
    script:
        "../scripts/judge_against.py"


rule pass_gate:
    """Fail where something got slower or larger than it was."""
    input:
        code=code("pass_gate.py"),
        record="<results>/compare/verdicts.json",
    output:
        "<results>/compare/passed",
    log:
        "<logs>/compare/gate.log",
    conda:
        "../envs/figures.yaml"
    script:
        "../scripts/pass_gate.py"


rule compare:
    """This study against the config's compare.baseline: fails where something got worse."""
    input:
        "<results>/compare/passed",
