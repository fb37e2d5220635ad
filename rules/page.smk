"""The page of a study, one file that needs no network.

in    results/{study}/cells/*.jsonl, results/{study}/verdicts/*.json, results/{study}/roofline/roofs.json
out   results/{study}/report.html
"""

# What the page's script reads besides its code.
PAGE_PARTS = sorted(
    path
    for path in (ROOT / "src/kvbench/report/page").iterdir()
    if path.suffix in (".html", ".css", ".js")
)


rule write_page:
    """Write the study's page: answers, a table of its caches, and plots, in one file."""
    input:
        code=code("page.py", "kvbench.report.page.html"),
        parts=[own(part) for part in PAGE_PARTS],
        records=targets.page_records(config),
    output:
        report(
            targets.PAGE,
            caption="../report/page.rst",
            category="0 Answers",
            labels={"model": config["study"], "shows": "answers", "as": "page"},
        ),
    log:
        "<logs>/page.log",
    localrule: True
    conda:
        "../envs/figures.yaml"
    params:
        study=config["study"],
    script:
        "../scripts/page.py"


rule page:
    """The study's page, results/{study}/report.html."""
    input:
        targets.PAGE,
