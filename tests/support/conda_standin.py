"""Stands in for the `conda` command where no channel is in reach: what Snakemake asks, no more.

`conda env create` solves and links with py-rattler, from the channel in the stand-in's own folder
whatever the file names; the new environment's own pip then installs the file's `pip:` section.
"""

import argparse
import asyncio
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = "CONDA_STANDIN"  # tells the command where it was laid

# Sourced, with an environment's folder.
ACTIVATE = """
export CONDA_PREFIX=$(realpath -s "$1")
export PATH="$CONDA_PREFIX/bin:$PATH"
"""


def lay(folder):
    """`conda` and `activate` in `folder/bin`, for PATH, over a channel in `folder/channel`."""
    (folder / "bin").mkdir(parents=True)
    run = f"{ROOT}={shlex.quote(str(folder))} exec {shlex.join([sys.executable, __file__])}"
    (folder / "bin/conda").write_text(f'#!/bin/sh\n{run} "$@"\n')
    (folder / "bin/conda").chmod(0o755)
    (folder / "bin/activate").write_text(ACTIVATE)
    return folder / "bin"


def create(root, file, prefix):
    """The environment that `file` describes, at `prefix`."""
    import yaml

    listed = yaml.safe_load(file.read_text())["dependencies"]
    asyncio.run(link(root, [line for line in listed if isinstance(line, str)], prefix))
    pins = [pin for section in listed if isinstance(section, dict) for pin in section["pip"]]
    if pins:
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
            requirements.write("\n".join(pins))
            requirements.flush()
            pip = [prefix / "bin/python", "-m", "pip", "install", "--no-input"]
            subprocess.run([*pip, "--requirement", requirements.name], check=True)


async def link(root, specs, prefix):
    """The packages of the channel that answer `specs`, linked into `prefix`."""
    import rattler

    here = rattler.Subdir.current()
    channel = rattler.Channel((root / "channel").as_uri())
    found = await rattler.solve(
        [channel],
        specs,
        platforms=[here, "noarch"],
        virtual_packages=rattler.VirtualPackage.detect(),
    )
    await rattler.install(found, prefix, cache_dir=root / "packages", show_progress=False)


def main(words):
    """Answer one command, or refuse one that Snakemake does not use."""
    root = Path(os.environ[ROOT])
    match words:
        case ["--version"]:
            print("conda 24.7.1")
        case ["info", "--json"]:
            platform = f"{sys.platform}-{'64' if os.uname().machine == 'x86_64' else 'aarch64'}"
            print(json.dumps({"conda_prefix": str(root), "platform": platform}))
        case ["config", "--get", "channel_priority", "--json"]:
            print(json.dumps({"get": {"channel_priority": "strict"}}))
        case ["clean", "-y", "--tarballs"]:
            pass  # what was downloaded stays for the next environment
        case ["env", "create", *rest]:
            asked = argparse.ArgumentParser()
            for flag in ("--quiet", "--no-default-packages"):
                asked.add_argument(flag, action="store_true")
            for option in ("--file", "--prefix"):
                asked.add_argument(option, type=Path, required=True)
            options = asked.parse_args(rest)
            create(root, options.file, options.prefix.absolute())
        case _:
            sys.exit(f"conda's stand-in does not know: {shlex.join(words)}")


if __name__ == "__main__":
    main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(0)  # py-rattler's threads now and then abort an interpreter that ends as usual
