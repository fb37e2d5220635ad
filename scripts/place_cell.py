"""Set counted FLOP and bytes of one phase beside the modelled ones."""

import json
from pathlib import Path

from kvbench.bench import roofline_counted
from kvbench.cell import Cell
from kvbench.job.log import logged
from kvbench.records.provenance import stamp
from kvbench.records.store import read_record, write_record

with logged(snakemake.log[0], snakemake.input.code):
    found, run = read_record(snakemake.input.counted), snakemake.input.get("run")
    found = {key: found[key] for key in found if key not in ("schema_version", "complete")}
    ran = json.loads(Path(run).read_text()) if run else None
    roofs, source = read_record(snakemake.input.roofs), snakemake.params.source
    cell = Cell.of(snakemake.params.cell)
    record = roofline_counted.run(cell, found, roofs, source, ran)
    write_record(snakemake.output[0], stamp(record, snakemake.params.cell, snakemake.input))
