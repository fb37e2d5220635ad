"""The study's JSON lines: one record per cell, the form to load into pandas."""


rule collect_records:
    """Collect every cell of the study into JSON lines."""
    input:
        code=code("collect_records.py"),
        cells=every_cell(),
    output:
        config["log_file"],
    log:
        "<logs>/collect.log",
    conda:
        "../envs/figures.yaml"
    script:
        "../scripts/collect_records.py"
