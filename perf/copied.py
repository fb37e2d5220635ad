"""Copies of the project, in which nothing has been made. Standard library only."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("Snakefile", "config", "envs", "profiles", "report", "rules", "scripts", "src")


def copy(folder: Path) -> Path:
    """Put the project's sources into `folder`, which is returned."""
    for part in PARTS:
        put = shutil.copytree if (ROOT / part).is_dir() else shutil.copy2
        put(ROOT / part, folder / part)
    (folder / "resources").mkdir()
    shutil.copy2(ROOT / "resources/manifest.yaml", folder / "resources")
    return folder
