"""A killed run's locks are cleared; a living one's are not."""

import subprocess
import sys

import pytest

from kvbench.plan.preflight import hold


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
