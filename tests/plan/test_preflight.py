"""A killed run's locks are cleared; a living one's are not."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from kvbench.plan.preflight import FolderError, check_room, hold


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks/0.output.lock").write_text("cell.json")
    return tmp_path


def test_a_stale_lock_is_cleared(folder):
    with hold(folder):
        assert not list((folder / "locks").iterdir())


def test_a_living_run_keeps_its_locks(folder):
    program = (
        "import sys, pathlib; from kvbench.plan.preflight import hold;"
        "file = hold(pathlib.Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": "src"},
    ) as other:
        assert other.stdout.readline() == b"held\n"
        (folder / "locks/1.output.lock").write_text("made after it began")
        with hold(folder):
            assert [path.name for path in (folder / "locks").iterdir()] == ["1.output.lock"]
        other.kill()
    with hold(folder):
        assert not list((folder / "locks").iterdir())


@pytest.mark.parametrize(
    "room, words",
    [
        ({"f_bavail": 1, "f_files": 9, "f_favail": 9}, "is on a full disk"),
        ({"f_bavail": 2**30, "f_files": 9, "f_favail": 0}, "is on a full disk"),
    ],
    ids=["no bytes", "no files"],
)
def test_a_full_disk_is_refused_before_snakemake_meets_it(tmp_path, monkeypatch, room, words):
    check_room(tmp_path / ".snakemake")
    monkeypatch.setattr("os.statvfs", lambda _: SimpleNamespace(f_frsize=4096, **room))
    with pytest.raises(FolderError, match=words):
        check_room(tmp_path / ".snakemake")


def test_a_place_where_no_folder_can_be_made_is_refused(tmp_path):
    (tmp_path / ".snakemake").write_text("a file")
    with pytest.raises(FolderError, match=r"\.snakemake cannot be made here"):
        check_room(tmp_path / ".snakemake")
