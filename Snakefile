"""kvbench: what each KV-cache optimisation of a GPT really costs and gains.

snakemake --cores 1 all                                              the default study
snakemake --cores 1 results/default/figures/latency_gpt2.png         one figure
snakemake --cores 1 all --configfile config/quick.yaml               another study
snakemake --list-rules                                               what else there is
"""

from snakemake.utils import min_version

min_version("9.27")


report: "report/workflow.rst"


# A study is one config file: defaults come from the schema, never from another study's file.
if not workflow.overwrite_configfiles:

    configfile: "config/config.yaml"


include: "rules/common.smk"
include: "rules/functions.smk"
include: "rules/inputs.smk"
include: "rules/weights.smk"
include: "rules/sharing.smk"
include: "rules/kernels.smk"
include: "rules/measure.smk"
include: "rules/roofline.smk"
include: "rules/analysis.smk"
include: "rules/runners.smk"
include: "rules/report.smk"
include: "rules/compare.smk"


rule all:
    """Every result, table and figure of the study."""
    default_target: True
    input:
        rules.figures.input,
        rules.tables.input,
        config["log_file"],
