"""kvbench: what each KV-cache optimisation of a GPT really costs and gains.

snakemake --cores 1 all                                              the default study
snakemake --cores 1 results/default/figures/latency_gpt2.png         one figure
snakemake --cores 1 all --configfile config/quick.yaml               another study
snakemake --list-rules                                               what else there is
"""

import os
from pathlib import Path

from snakemake.utils import min_version

min_version("9.27")

# The folder of this file, also behind a link and where another workflow takes this one as a module.
ROOT = Path(os.path.realpath(workflow.included_stack[-1].get_path_or_uri(secret_free=True))).parent


report: str(ROOT / "report/workflow.rst")


include: str(ROOT / "rules/common.smk")
include: str(ROOT / "rules/cells.smk")
include: str(ROOT / "rules/functions.smk")
include: str(ROOT / "rules/run.smk")
include: str(ROOT / "rules/inputs.smk")
include: str(ROOT / "rules/weights.smk")
include: str(ROOT / "rules/sharing.smk")
include: str(ROOT / "rules/kernels.smk")
include: str(ROOT / "rules/measure.smk")
include: str(ROOT / "rules/roofline.smk")
include: str(ROOT / "rules/analysis.smk")
include: str(ROOT / "rules/report.smk")
include: str(ROOT / "rules/page.smk")
include: str(ROOT / "rules/compare.smk")


rule all:
    """Every result, table and figure of the study, and its page."""
    default_target: True
    input:
        rules.figures.input,
        rules.tables.input,
        rules.page.input,
        config["log_file"],


check_asked()
