"""Write the page of a study from its cells, verdicts and roofs."""

from kvbench.files import write_text
from kvbench.job.log import logged

with logged(snakemake.log[0], snakemake.input.code):
    try:
        from kvbench.report.page.html import render
        from kvbench.report.page.study import read_study
    except ModuleNotFoundError as missing:
        raise RuntimeError(
            f"{missing.name} is not installed: pip install '.[page]' has all that the page needs"
        ) from None
    study = read_study(snakemake.params.study, snakemake.input.records)
    write_text(snakemake.output[0], render(study))
