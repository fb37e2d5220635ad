"""What Snakemake loads at every start: its modules, and the list of plugins that are installed."""

import nbformat as nbformat
from snakemake.cli import get_argument_parser

get_argument_parser()
