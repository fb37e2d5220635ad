"""The Dockerfile is of files and commands that exist; the environments that images are made of."""

import re
import subprocess

import conda_standin
import pytest
from project import ROOT, copy, snakemake

DOCKERFILE = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())


def instructions(word):
    """What stands after every such instruction."""
    return re.findall(rf"^{word} (.*)$", DOCKERFILE, re.MULTILINE)


def test_every_file_that_is_copied_is_there_and_in_git():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout
    for line in instructions("COPY"):
        *sources, _ = [word for word in line.split() if not word.startswith("--")]
        assert all(source == "." or source in tracked.split() for source in sources), line


def test_what_make_is_asked_for_the_makefile_makes():
    made = "\n".join(instructions("RUN") + instructions("CMD"))
    targets = re.findall(r'^(?:make |\[")([\w./]+)', made, re.MULTILINE)
    assert targets == [".venv/.ready", "all"]
    dry = ["make", "--dry-run", "--always-make", *targets]
    assert subprocess.run(dry, cwd=ROOT, capture_output=True).returncode == 0


def test_the_image_has_a_pinned_base_and_no_root():
    (base,) = instructions("FROM")
    assert re.fullmatch(r"debian:12\.\d+-slim", base), "Debian 12 has the Python of envs/"
    assert instructions("USER") == ["$UID"] and instructions("ARG")[0] == "UID=1000"
    after = DOCKERFILE.split("\nUSER ")[1]
    assert "apt-get" not in after and "USER" not in after


@pytest.mark.parametrize("device,build", [("cpu", "cpu"), ("cuda", "cuda")])
def test_snakemake_finds_the_environments_of_the_study_s_device(
    tmp_path, monkeypatch, device, build
):
    monkeypatch.setenv("PATH", str(conda_standin.lay(tmp_path / "conda")), prepend=":")
    (tmp_path / "project").mkdir()
    study = ("--configfile", "config/quick.yaml", "--config", f"device={device}")
    said = snakemake(copy(tmp_path / "project"), "--containerize", *study)
    assert set(re.findall(r"^COPY envs/(\S+)\.yaml", said, re.MULTILINE)) == {
        *("figures", "inputs"),
        *(f"{name}.{build}" for name in ("measure", "peers")),
    }
