"""Models on the Hugging Face Hub: fetched as `hf://USER/NAME`, published by `charrnn push`.

The package huggingface_hub does the work: its cache, its token and its environment variables apply
(HF_TOKEN, HF_HUB_OFFLINE, HF_ENDPOINT, ...).  What comes from there is a stranger's file like any
other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from charrnn.errors import CharrnnError, CheckpointError, SamplingError, UsageError

SCHEME = "hf:"  # of an address; one of the slashes after it may have been lost, as in a path
MODEL_FILE = "model.safetensors"
ADDRESS = re.compile(r"(?i:hf):/{1,2}([\w.-]+/[\w.-]+)(?:@(\w[\w.-]*(?:/\w[\w.-]*)*))?")
FORM = "hf://USER/NAME, or with a revision hf://USER/NAME@REVISION"


def is_address(target: str) -> bool:
    """Whether this is the address of a model on the hub, and not a path."""
    return target.lower().startswith(SCHEME)


def name_in_cache(path: Path) -> str:
    """The name of a repository that a file of the cache belongs to; empty: of none."""
    folders = [each.name for each in path.parents]  # .../models--USER--NAME/snapshots/REVISION/
    if len(folders) < 3 or folders[1] != "snapshots" or not folders[2].startswith("models--"):
        return ""
    return folders[2].rpartition("--")[2]


def fetched(address: str) -> Path:
    """The model file at an address, from the cache if it is there and current.

    Raises:
        UsageError: the package huggingface_hub is missing, or it is no address.
        CheckpointError: there is no such model, or it cannot be fetched.
    """
    match = ADDRESS.fullmatch(address)
    if match is None:
        raise UsageError(f"{address}: no address of a model; write {FORM}")
    name, revision = match.groups()
    with _told(f"hf://{name}", CheckpointError) as hub:
        return Path(hub.hf_hub_download(name, MODEL_FILE, revision=revision))


def refuse_name(name: str) -> None:
    """Raise unless this is the name of a repository.

    Raises:
        UsageError: it is not.
    """
    if ADDRESS.fullmatch(f"{SCHEME}//{name}") is None or "@" in name:
        raise UsageError(f"{name}: no name of a repository; write USER/NAME")


def published(folder: Path, name: str, *, private: bool, message: str) -> str:
    """Upload a folder as the repository of a model, which is created if it is not there.

    Args:
        folder: its files replace those of the same name.
        name: USER/NAME.
        private: whether a new repository is private; one that is there stays as it is.
        message: of the commit.

    Returns:
        The address of the commit in a browser.

    Raises:
        UsageError: the package huggingface_hub is missing, or it is no such name.
        SamplingError: it cannot be uploaded.
    """
    refuse_name(name)
    with _told(f"hf://{name}", SamplingError) as hub:
        hub.create_repo(name, private=private, exist_ok=True)
        info = hub.upload_folder(folder_path=folder, repo_id=name, commit_message=message)
        return str(info.commit_url)


@contextmanager
def _told(address: str, kind: type[CharrnnError]) -> Iterator[ModuleType]:
    """The package huggingface_hub; its errors become those of this program.

    Raises:
        UsageError: it is missing.
        CharrnnError: of this kind: anything that it raises.
    """
    try:
        import huggingface_hub as hub
        from huggingface_hub import errors
        from huggingface_hub.utils import logging
    except ImportError:
        message = "needs the package huggingface_hub: pip install huggingface_hub"
        raise UsageError(f"{address}: {message}") from None
    # Of what it tries again, only the end is told.
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        yield hub
    except errors.GatedRepoError:
        reason = "is for those who were given access; ask on its page, then log in: hf auth login"
    except errors.RepositoryNotFoundError:
        reason = "no such repository, or it is private; log in with: hf auth login"
    except errors.RevisionNotFoundError:
        reason = "has no such revision"
    except errors.LocalEntryNotFoundError as error:
        reason = "is not in the cache, and cannot be fetched"
        if error.__cause__ is not None:
            reason += f": {_in_short(error.__cause__)}"
    except errors.EntryNotFoundError:
        reason = f"has no {MODEL_FILE}, so it is no model of this program"
    except Exception as error:  # of the network and the server there are many
        reason = _in_short(error)
        if getattr(getattr(error, "response", None), "status_code", None) == 401:
            reason = "the hub does not know you; log in with: hf auth login"
    else:
        return
    raise kind(f"{address}: {reason}") from None


def _in_short(error: BaseException) -> str:
    """What an error of others says, on one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__
