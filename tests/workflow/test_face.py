"""What the project shows of itself is true: README's output, its files, the documentation site."""

import re
import shutil
import subprocess
import sys

import pytest
import yaml
from project import ROOT, environment

from kvbench.plan.config import load_schema

README = (ROOT / "README.md").read_text()


def shown(command):
    """What README prints below a command, up to the end of its block."""
    block = next(
        b for b in re.findall(r"^```console\n(.*?)^```", README, re.M | re.S) if command in b
    )
    return block.split(command, 1)[1].partition("\n")[2]


def test_the_first_screen_shows_what_the_command_prints(tmp_path):
    command = "kvbench show published/cpu-intel-xeon-avx512"
    done = subprocess.run(
        [sys.executable, "-m", *command.split()],
        cwd=ROOT,
        env=environment(tmp_path) | {"PYTHONPATH": "src"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown(command) == done.stdout
    assert README.index(command) < 1500  # characters: a sentence, a picture, two commands


def test_the_files_by_which_others_know_a_project_are_whole():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors", "version"} <= citation.keys()
    assert f'version = "{citation["version"]}"' in (ROOT / "pyproject.toml").read_text()
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repo["repo"] for repo in hooks] == ["local"]
    for hook in hooks[0]["hooks"]:
        program = hook["entry"].split()[0].rpartition("/")[2]
        assert program in (ROOT / "Makefile").read_text()
    hosted = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())
    steps = [step.get("run", "") for job in hosted["jobs"].values() for step in job["steps"]]
    made = [step.split()[1] for step in steps if step.startswith("make ")]
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
    assert made and set(made) <= set(targets)
    catalog = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())
    assert catalog["usage"]["software-stack-deployment"]["conda"] is True


def test_the_configuration_s_page_names_keys_that_there_are():
    keys = load_schema()["properties"]
    rows = re.findall(r"^\| (`.*?`) \|", (ROOT / "config/README.md").read_text(), re.M)
    named = [name.partition(".")[0] for row in rows for name in re.findall(r"`([^`]+)`", row)]
    assert named and set(named) <= keys.keys()


def test_the_site_is_built_and_no_link_of_it_is_dead(tmp_path):
    """As `make docs` does, by its own recipe."""
    pytest.importorskip("zensical")
    recipe = (ROOT / "Makefile").read_text().split("\ndocs: $(DEV)\n")[1].split("\n\n")[0]
    for part in ("docs", "published"):
        shutil.copytree(ROOT / part, tmp_path / part)
    shutil.copy(ROOT / "zensical.toml", tmp_path)
    script = recipe.replace("$(abspath $(BIN))/zensical", f"{sys.executable} -m zensical")
    done = subprocess.run(
        ["bash", "-ec", script.replace("\t", "")], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    site = tmp_path / "build/site/site"
    pages = [path.stem for path in (ROOT / "docs").glob("*.md") if path.stem != "index"]
    assert all((site / page / "index.html").is_file() for page in pages)
    named = (ROOT / "zensical.toml").read_text()
    assert all(f'"{page}.md"' in named for page in pages)
    for path in (site / "index.html", site / "api/index.html"):  # asks no other host for a font
        loaded = re.findall(r'(?:src|href)="(https?://[^"]+)"', path.read_text())
        assert all(link.startswith("https://zensical.org") for link in loaded), loaded
