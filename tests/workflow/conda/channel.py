"""A conda channel in a folder: python and pip, made from the interpreter that runs this.

Its python is what the standard library's `venv` lays down: the binary and a site-packages of its
own, over the machine's standard library. So it shows what is installed and found where, and says
nothing of conda-forge's builds.
"""

import hashlib
import json
import platform
import shutil
import sys
import sysconfig
import tarfile
import tempfile
import venv
from importlib import metadata
from pathlib import Path

PACKAGES = Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)


async def make(folder):
    """The channel, indexed, in a new `folder`."""
    from rattler import Subdir  # here, since pytest reads this file where py-rattler is not, too
    from rattler.index import index_fs

    here = str(Subdir.current())
    for subdir in (here, "noarch"):
        (folder / subdir).mkdir(parents=True)
    pack(folder / here, lay_python, "python", platform.python_version())
    pack(folder / here, lay_pip, "pip", metadata.version("pip"), needs=["python"])
    await index_fs(folder)


def lay_python(root):
    """An environment without packages, less what only shells want."""
    venv.EnvBuilder(symlinks=False).create(root)
    for script in [*root.glob("bin/[aA]ctivate*"), *root.glob("lib64")]:
        script.unlink()
    (root / PACKAGES / "README.txt").write_text("A folder that has no file is not in a package.\n")


def lay_pip(root):
    """The pip of the interpreter that runs this; `python -m pip` needs no more than its modules."""
    for file in metadata.files("pip"):
        if ".." not in file.parts and file.suffix != ".pyc":
            (root / PACKAGES / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file.locate(), root / PACKAGES / file)


def pack(subdir, lay, name, version, needs=()):
    """One package, in the older of conda's two formats: a tar of its files and what `info` says."""
    with tempfile.TemporaryDirectory() as folder:
        root, info = Path(folder, "root"), Path(folder, "info")
        root.mkdir(), info.mkdir()
        lay(root)
        files = sorted(p for p in root.rglob("*") if p.is_symlink() or p.is_file())
        about = {"name": name, "version": version, "build": "0", "build_number": 0}
        about |= {"subdir": subdir.name, "depends": list(needs), "license": "as the host's"}
        if name == "python":
            about["python_site_packages_path"] = PACKAGES.as_posix()
        listed = [
            {
                "_path": path.relative_to(root).as_posix(),
                "path_type": "softlink" if path.is_symlink() else "hardlink",
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "size_in_bytes": path.stat().st_size,
            }
            for path in files
        ]
        (info / "index.json").write_text(json.dumps(about))
        (info / "paths.json").write_text(json.dumps({"paths_version": 1, "paths": listed}))
        with tarfile.open(subdir / f"{name}-{version}-0.tar.bz2", "w:bz2") as tar:
            tar.add(info, "info")
            for path in files:
                tar.add(path, path.relative_to(root).as_posix())
