"""Quality: what each cache still answers, whether it is within the study's margins, and at what price.

in    results/{study}/cells/{benchmark}_{preset}.jsonl
out   results/{study}/gates/{preset}.json, results/{study}/tradeoff/{preset}.json
      results/{study}/tables/{retrieval,gates,tradeoff}_{preset}.md and .csv
"""


rule judge_quality:
    """Say which versions keep the quality that the study asks for, by the whole of their intervals."""
    input:
        code=code("analyse.py", "kvbench.analysis.gate_table"),
        cells=targets.scored_cells(config),
    output:
        record="<results>/gates/{preset}.json",
        md="<results>/tables/gates_{preset}.md",
        csv=report(
            "<results>/tables/gates_{preset}.csv",
            caption="../report/gates.rst",
            category="5 Quality",
            labels={"model": "{preset}", "shows": "gates", "as": "table"},
        ),
    log:
        "<logs>/gates/{preset}.log",
    localrule: True
    conda:
        "../envs/figures.yaml"
    params:
        analysis={"module": "kvbench.analysis.gate_table", "margins": config["quality"]},
    script:
        "../scripts/analyse.py"


rule join_tradeoff:
    """Put bytes, time and quality of each version side by side, those first that no other beats."""
    input:
        code=code("analyse.py", "kvbench.analysis.tradeoff"),
        cells=joined_cells,
    output:
        record="<results>/tradeoff/{preset}.json",
        md="<results>/tables/tradeoff_{preset}.md",
        csv=report(
            "<results>/tables/tradeoff_{preset}.csv",
            caption="../report/tradeoff.rst",
            category="0 Answers",
            labels={"model": "{preset}", "shows": "tradeoff", "as": "table"},
        ),
    log:
        "<logs>/tradeoff/{preset}.log",
    localrule: True
    conda:
        "../envs/figures.yaml"
    params:
        analysis={"module": "kvbench.analysis.tradeoff"},
    script:
        "../scripts/analyse.py"


rule compare_retrieval:
    """Compare what each version still finds in its cache with what v1 finds, item by item."""
    input:
        code=code("analyse.py", "kvbench.analysis.retrieval"),
        cells=gathered("retrieval"),
    output:
        md="<results>/tables/retrieval_{preset}.md",
        csv=report(
            "<results>/tables/retrieval_{preset}.csv",
            caption="../report/retrieval.rst",
            category="5 Quality",
            labels={"model": "{preset}", "shows": "retrieval", "as": "table"},
        ),
    log:
        "<logs>/retrieval/{preset}.log",
    localrule: True
    conda:
        "../envs/figures.yaml"
    params:
        analysis={"module": "kvbench.analysis.retrieval"},
    script:
        "../scripts/analyse.py"
