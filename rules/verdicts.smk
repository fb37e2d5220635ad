"""Words for the numbers: which version is faster, and what this machine could tell apart.

in    results/{study}/latency/...
out   results/{study}/verdicts/{preset}.json
      results/{study}/tables/verdicts_{preset}.md and .csv
"""


rule verdicts:
    """Compare versions pair by pair: interval, word, and share of what the bytes allow."""
    input:
        code=code("verdicts.py"),
        cells=lambda wildcards: CELLS["latency"],
        controls=made_controls,
    output:
        record="results/{study}/verdicts/{preset}.json",
        md="results/{study}/tables/verdicts_{preset}.md",
        csv=report(
            "results/{study}/tables/verdicts_{preset}.csv",
            caption="../report/table.rst",
            category="latency",
            labels={"preset": "{preset}", "as": "verdicts"},
        ),
    log:
        "logs/{study}/verdicts/{preset}.log",
    conda:
        "../envs/figures.yaml"
    params:
        margin=config["margin"],
    script:
        "../scripts/verdicts.py"
