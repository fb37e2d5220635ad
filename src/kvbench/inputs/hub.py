"""Models of the hub: what a revision holds, looked up when a run is planned, and its files.

A name becomes a folder as `kvbench.models.hf_files` reads them: config.json, the index of shards
and the commit are there from then on; a job fetches the tokenizer, and one each file of weights.
HF_ENDPOINT, HF_HUB_OFFLINE, HF_HOME and HF_TOKEN are huggingface_hub's. No torch here.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kvbench.files import replacing, write_text
from kvbench.files.foreign import FormatError, printable
from kvbench.models import hf_files

NAME = re.compile(r"(?P<repo>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>\w[\w./-]*))?")
MODELS = Path("resources/models")
UNKNOWN = "is no model of the hub, or a private one: correct the name, or set HF_TOKEN"
TIMEOUT_S = 10  # for an answer of the hub
WANTED = re.compile(r"[\w.-]+\.(safetensors|bin)|tokenizer\.json|vocab\.json|merges\.txt")
WITHOUT = "or name a directory, or config:PATH/config.json"


class HubError(FormatError):
    """A model that the hub does not give, and what to do, in one line."""


def split(name: str) -> tuple[str, str | None]:
    """The repository and the revision of `org/name` or `org/name@revision`."""
    repo, _, revision = name.partition("@")
    return repo, revision or None


def folder(name: str) -> Path:
    """The folder of a model of the hub, looked up there if that was not done before.

    It holds config.json, the index of shards where there is one, and `hf_files.HUB`, which names
    repository, commit and all files. Raises HubError in seconds where there is no answer and
    huggingface_hub's own cache lacks the model.
    """
    found = MODELS / re.sub(r"[^\w.@-]+", "--", name)
    if not (found / hf_files.HUB).is_file():
        _look_up(name, found)
    return found


def _look_up(name: str, to: Path) -> None:
    repo, revision = split(name)
    with _answering(name):
        commit, names = _revision(repo, revision)
        if hf_files.CONFIG not in names:
            raise HubError(f"{name} holds no {hf_files.CONFIG}; name another model, {WITHOUT}")
        small = {hf_files.CONFIG, hf_files.INDEX}
        if hf_files.TOKENIZER not in names:
            small |= set(hf_files.GPT2_TOKENIZER)
        for file in small & names:
            fetch(repo, commit, file, to / file)
    wanted = sorted(file for file in names if WANTED.fullmatch(file))
    about = {"repository": repo, "revision": revision, "commit": commit, "files": wanted}
    write_text(to / hf_files.HUB, json.dumps(about, indent=1) + "\n")


def _revision(repo: str, revision: str | None) -> tuple[str, set[str]]:
    """A revision's commit and files: by the hub, or where it is out of reach by the local cache."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        info = HfApi().model_info(repo, revision=revision, timeout=TIMEOUT_S)
        return str(info.sha), {file.rfilename for file in info.siblings or []}
    except Exception as error:
        if not _out_of_reach(error):
            raise
        try:
            local = Path(snapshot_download(repo, revision=revision, local_files_only=True))
        except LocalEntryNotFoundError:
            raise error from None
        return local.name, {path.name for path in local.iterdir()}


def _out_of_reach(error: Exception) -> bool:
    """Whether the hub itself gave no answer: no connection, offline mode, a server's fault."""
    status = _status(error)
    return status is None or status >= 500 or status == 429


def _status(error: Exception) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


@contextmanager
def _answering(name: str) -> Iterator[None]:
    """What goes wrong while the hub is asked for a model is said in one line, as HubError."""
    repo, revision = split(name)
    try:
        from huggingface_hub import errors
    except ImportError:
        raise HubError(f"{name} is no directory, and huggingface_hub is not installed") from None
    try:
        yield
    except HubError:
        raise
    except errors.GatedRepoError:
        why = "is gated: accept its terms there and set HF_TOKEN"
    except errors.RemoteEntryNotFoundError as error:
        file = str(getattr(getattr(error, "response", None), "url", "")).rpartition("/")[2]
        why = f"lacks {file or 'a file'}"
    except errors.RevisionNotFoundError:
        why = f"has no revision {revision!r}"
    except (errors.RepositoryNotFoundError, errors.HFValidationError):
        why = UNKNOWN
    except Exception as error:
        lines = str(error).splitlines() or [""]
        said = printable(lines[0][:150]) or type(error).__name__
        if _status(error) in (401, 404):
            why = UNKNOWN
        elif not _out_of_reach(error):
            why = f"is refused by the hub ({said})"
        else:
            raise HubError(
                f"{name} is no directory, and the hub cannot be reached for a model of this name "
                f"({said}): go online once, {WITHOUT}"
            ) from None
    else:
        return
    raise HubError(f"{repo} {why}, {WITHOUT}")


def fetch(repo: str, commit: str, file: str, to: str | Path) -> None:
    """One file of a repository at a commit, by way of huggingface_hub's cache.

    Weights are a hard link into that cache where both are on one file system. Raises HubError.
    """
    from huggingface_hub import hf_hub_download

    with _answering(f"{repo}@{commit}"):
        cached = os.path.realpath(hf_hub_download(repo, file, revision=commit))
    with replacing(to) as temporary:
        if file.endswith(".safetensors") and os.stat(cached).st_dev == os.stat(temporary).st_dev:
            temporary.unlink()
            os.link(cached, temporary)
        else:
            shutil.copyfile(cached, temporary)
