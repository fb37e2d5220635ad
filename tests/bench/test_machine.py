"""The commit of a record: of this project's own repository, or none."""

import os
import subprocess

import pytest

from kvbench.bench.meters import machine


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository of one commit, which the project is taken to be; its short name."""
    marks = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_CONFIG_GLOBAL": os.devnull}
    marks |= {"GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}

    def git(folder, *arguments):
        command = ["git", "-C", str(folder), *arguments]
        env = {key: value for key, value in os.environ.items() if key != "GIT_DIR"} | marks
        return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout

    def made(name):
        folder = tmp_path / name
        folder.mkdir()
        git(folder, "init", "--quiet")
        git(folder, "commit", "--quiet", "--allow-empty", "--message", name)
        return folder, git(folder, "rev-parse", "--short=12", "HEAD").strip()

    monkeypatch.setattr(machine, "PROJECT", made("project")[0])
    return made


def test_the_commit_is_the_project_s_own_whatever_the_environment_names(repository, monkeypatch):
    own = machine.commit()
    other, commit = repository("other")
    assert own and len(own) == 12 and commit != own
    for key, value in (("GIT_DIR", other / ".git"), ("GIT_WORK_TREE", other)):
        monkeypatch.setenv(key, str(value))
    assert machine.commit() == own


def test_a_repository_around_the_project_is_not_taken_for_its_own(repository, monkeypatch):
    around, _ = repository("around")
    (around / "project").mkdir()
    monkeypatch.setattr(machine, "PROJECT", around / "project")
    assert machine.commit() is None


def test_without_git_there_is_no_commit(repository, monkeypatch):
    monkeypatch.setenv("PATH", os.devnull)
    assert machine.commit() is None
