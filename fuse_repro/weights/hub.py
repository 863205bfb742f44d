"""The files of a repository of the Hugging Face hub, in the hub's own cache; and one line for what can go wrong."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from fuse_repro.errors import UsageError, first_line
from fuse_repro.progress import bar
from fuse_repro.weights.hub_files import misnamed
from fuse_repro.weights.hub_resume import fetch_large
from fuse_repro.weights.references import SUFFIXES
from fuse_repro.weights.wheels import OFFLINE_HINT

LOGIN = "`hf auth login`, or HF_TOKEN"
PATTERNS = [f"*{suffix}" for suffix in SUFFIXES]


def fetch(repo_id: str, revision: str | None, unfinished: Path) -> list[Path]:
    """The files that models are loaded from, intact; downloaded, or found in the hub's own cache.

    Args:
        repo_id: the repository.
        revision: a branch, tag or commit; None for the main branch.
        unfinished: a folder for what an interrupted download has so far.

    Raises:
        UsageError: they cannot be had.
    """
    with _explained(repo_id, revision), _without_bars():
        fetch_large(repo_id, revision, PATTERNS, unfinished)
        files = _snapshot(repo_id, revision)
        if misnamed(files):  # the hub's own cache is damaged
            files = _snapshot(repo_id, revision, force_download=True)
    if damaged := misnamed(files):
        raise UsageError(
            f"{damaged.name} of {repo_id} is damaged in {damaged.parent}, and another download did not mend it: "
            "check the disk and the network, or give a whole copy with source=path and path=FOLDER"
        )
    return files


def _snapshot(repo_id: str, revision: str | None, *, force_download: bool = False) -> list[Path]:
    from huggingface_hub import snapshot_download

    with bar(f"downloading {repo_id}"):
        folder = snapshot_download(
            repo_id, revision=revision, allow_patterns=PATTERNS, force_download=force_download
        )
    return sorted(file for file in Path(folder).iterdir() if file.is_file())


@contextlib.contextmanager
def _explained(repo_id: str, revision: str | None) -> Iterator[None]:
    """Turn whatever the hub's client raises into one line. Raises UsageError."""
    try:
        yield
    except UsageError:
        raise
    except Exception as err:
        said = _reason(repo_id, revision, err) or (
            f"could not download {repo_id} from the hub ({first_line(err)}): {OFFLINE_HINT}"
        )
        raise UsageError(said) from err


def _reason(repo_id: str, revision: str | None, err: BaseException) -> str | None:
    """What is wrong and what mends it, from an error or one that it comes from; None for one that nobody foresaw."""
    from huggingface_hub import constants, errors

    for cause in _causes(err):
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if isinstance(cause, errors.GatedRepoError):
            return (
                f"{repo_id} is gated on the hub ({status}): accept its terms at {constants.ENDPOINT}/{repo_id}, then "
                f"log in ({LOGIN})"
            )
        if isinstance(cause, errors.RepositoryNotFoundError):
            return (
                f"the hub shows no repository {repo_id} ({status}): check hub.repo_id; if it is a private one, log in "
                f"({LOGIN})"
            )
        if isinstance(cause, errors.RevisionNotFoundError):
            return (
                f"{repo_id} has no revision {revision!r} on the hub ({status}): set hub.revision to a branch, a tag or "
                "a commit that it has"
            )
        if isinstance(cause, errors.OfflineModeIsEnabled):
            return (
                f"could not download {repo_id} from the hub (HF_HUB_OFFLINE is set, and the hub's cache does not hold "
                f"all of it): unset HF_HUB_OFFLINE and {OFFLINE_HINT}"
            )
        if status in (401, 403):
            return f"the hub refuses {repo_id} to you ({status}): log in again ({LOGIN}), or unset a token that is old"
        if status == 429:
            wait = cause.response.headers.get("Retry-After")  # type: ignore[attr-defined]
            when = f" in {wait} s" if wait and wait.isdigit() else " in some minutes"
            return (
                f"the hub takes no more requests of yours for now ({status}): start again{when}, what has come of "
                f"{repo_id} is kept; if you log in ({LOGIN}), it takes more"
            )
    return None


def _causes(err: BaseException | None) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    while err is not None and err not in seen:
        seen.append(err)
        yield err
        err = err.__cause__ or err.__context__


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    """No bars of the hub's client: ours stand for them."""
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    shown = not are_progress_bars_disabled()
    if shown:
        disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            enable_progress_bars()
