"""This code against another commit's: by turns, in folders of their own, judged in pairs."""

import random
import re
import subprocess

import made
import pytest

from kvbench.analysis import regression
from kvbench.cli import against
from kvbench.records.store import write_record

STUDY = "versions: [v1, v2]\nT_values: [8, 16]\ndevice: cpu\n"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of two commits, and the working folder beside it."""
    folder, work = tmp_path / "project", tmp_path / "work"
    (folder / "src").mkdir(parents=True)
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setattr(against, "PROJECT", folder)
    for name in ("NAME", "EMAIL"):
        monkeypatch.setenv(f"GIT_AUTHOR_{name}", "a")
        monkeypatch.setenv(f"GIT_COMMITTER_{name}", "a")
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    for text in ("one", "two"):
        (folder / "src/code.py").write_text(text)
        for words in (["add", "."], ["commit", "--quiet", "--message", text]):
            subprocess.run(["git", "-C", str(folder), *words], check=True)
    (work / "mine.yaml").write_text(STUDY)
    (work / "resources/weights").mkdir(parents=True)
    (work / "resources/weights/x.safetensors").write_text("numbers")
    return folder


class Measures:
    """Stands in for Snakemake: writes cells whose times are `slower` times as long where asked."""

    def __init__(self, project, slower=1.0, which=r"."):
        self.project, self.slower, self.which, self.order = project, slower, which, []
        self.seen = {}

    def __call__(self, project, where, cores, files):
        self.seen[where.name] = (project / "src/code.py").read_text()
        assert (where / "resources/weights/x.safetensors").read_text() == "numbers"
        if "/samples/" in files[0]:
            (number,) = {re.search(r"/r(\d+)\.json", path)[1] for path in files}
            self.order.append((int(number), where.name))
            return
        for path in files:
            version, T = re.search(r"/(v\d)/B1/T(\d+)\.json", path).groups()
            config = made.config(replicates=5, T_values=[8, 16])
            draw = random.Random(f"{where.name} {path}")
            cell = made.latency(config, version, 1, int(T), draw)
            late = where.name == against.NOW and re.search(self.which, path)
            for process in cell["processes"]:
                for run in process["runs"]:
                    run["time_total_ms"] *= self.slower if late else 1
            write_record(where / path, cell)


def ask(monkeypatch, measures, *words):
    monkeypatch.setattr(against, "_snakemake", measures)
    return against.main([*(words or ["HEAD~1"]), "--configfile", "mine.yaml"])


def test_the_same_code_closes_no_gate_and_leaves_nothing_but_the_answer(
    project, tmp_path, monkeypatch, capsys
):
    measures = Measures(project)
    assert ask(monkeypatch, measures) == 0
    assert "# This code against" in capsys.readouterr().out
    assert measures.seen == {"now": "two", "before": "one"}
    turns = [side for _, side in measures.order]
    assert turns == ["now", "before", "before", "now", "now", "before", "before", "now"] + turns[8:]
    assert [number for number, _ in measures.order] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    (made_in,) = (tmp_path / "work/results/mine/against").iterdir()
    assert not (made_in / "code").exists() and (made_in / "compare.csv").exists()
    listed = subprocess.run(
        ["git", "-C", str(project), "worktree", "list"], capture_output=True, text=True
    )
    assert len(listed.stdout.splitlines()) == 1


@pytest.mark.parametrize("which, rows", [(r".", 4), (r"v2/B1/T16", 1)])
def test_slower_code_is_named_whether_one_cell_or_all_are_slower(
    project, monkeypatch, capsys, which, rows
):
    assert ask(monkeypatch, Measures(project, 1.4, which)) == 1
    said = capsys.readouterr().err.strip()
    assert said.count("slower") == rows and "\n" not in said


@pytest.mark.parametrize(
    "words, said",
    [
        (["no-such-commit"], "git rev-parse: no such commit"),
        (["HEAD", "--rounds", "2"], "2 rounds tell nothing apart; allowed: from 3"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(project, monkeypatch, capsys, words, said):
    assert ask(monkeypatch, None, *words) == 2
    line = capsys.readouterr().err.strip()
    assert said in line and "\n" not in line


def test_a_study_that_another_code_refuses_is_reported_and_its_folder_removed(project, monkeypatch):
    def refuse(folder, *_):
        raise against.AgainstError(f"the code of {folder} does not measure this study")

    assert ask(monkeypatch, refuse) == 2
    assert not list(against.Path("results").rglob("code"))


def test_by_turns_what_slows_every_cell_is_found():
    config = made.config(replicates=6)

    def study(seed, slower=1.0):
        for version in ("v1", "v2"):
            cell = made.latency(config, version, 1, 16, random.Random(f"{seed} {version}"))
            for process in cell["processes"]:
                for run in process["runs"]:
                    run["time_total_ms"] *= slower
            yield str(seed), cell

    record = regression.against(study(1, slower=1.3), study(2), 0.05, alternated=True)
    assert record["shift"] is None and all(row["regression"] for row in record["rows"])
    same = regression.against(study(1), study(2), 0.05, alternated=True)
    assert not any(row["regression"] for row in same["rows"])
