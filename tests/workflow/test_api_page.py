"""The library's page: every example runs as it stands."""

import re
import subprocess
import sys

import pytest
from project import ROOT, environment

EXAMPLES = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/api.md").read_text(), re.M | re.S)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_runs(example, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", example],
        cwd=ROOT,
        env=environment(tmp_path) | {"PYTHONPATH": "src"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and done.stdout.strip(), done.stderr
