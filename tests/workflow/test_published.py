"""What is published can be drawn again by the commands that its pages name."""

import csv
import re
import shlex
import shutil

from project import ROOT, copy, snakemake

H200 = ROOT / "published/h200-9653dcf"


def test_the_exported_step_is_drawn_from_a_clone_by_the_command_of_its_page(tmp_path):
    folder = copy(tmp_path)
    shutil.copytree(H200, folder / "published/h200-9653dcf")
    (command,) = re.findall(
        r"^\$ snakemake --cores 1 (roofline .*)$", (H200 / "README.md").read_text(), re.M
    )
    snakemake(folder, *shlex.split(command))
    drawn = folder / "results/h200"
    for name in ("tables/roofline_gpt2.csv", "tables/roofline_gpt2.md"):
        assert (drawn / name).read_text() == (H200 / "roofline" / name.split("/")[1]).read_text()
    assert (drawn / "figures/roofline_gpt2.svg").stat().st_size > 10_000
    with open(drawn / "tables/roofline_gpt2.csv") as table:
        (row,) = csv.DictReader(table)
    assert (row["phase"], row["bound"], row["source"]) == ("decode", "latency", "csv")
