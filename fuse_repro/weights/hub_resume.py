"""Large files of the hub, fetched piece by piece, so that the next start goes on where the last one ended.

The hub's own client resumes within one start; a file that a start was ended in begins anew. A finished file is put
where that client looks for it, in its own cache. Whoever calls this compares it with its digest: where a file system
honours no locks, two processes may have written to it.
"""

import re
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from fuse_repro.progress import BYTES, bar

LEAST = 1 << 20  # bytes of a file that is worth it
MOST = 50_000_000_000  # bytes of a file that the hub hands out over HTTP
DIGEST = re.compile(r"[0-9a-f]{64}|[0-9a-f]{40}")


def fetch_large(repo_id: str, revision: str | None, patterns: Sequence[str], unfinished: Path) -> None:
    """Bring the large files of a repository into the hub's own cache, those that are not there.

    Where the hub cannot be asked, nothing is done: its own client has the words for it.

    Args:
        repo_id: the repository.
        revision: a branch, tag or commit; None for the main branch.
        patterns: of the names of the files.
        unfinished: a folder for what has come of a file so far, under the file's digest.

    Raises:
        Exception: whatever the hub's client raises over a download.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import DryRunError

    try:
        plan = snapshot_download(repo_id, revision=revision, allow_patterns=list(patterns), dry_run=True)
    except DryRunError:
        return
    large = [file for file in plan if file.will_download and LEAST <= (file.file_size or 0) < MOST]
    if not large:
        return
    total = sum(file.file_size or 0 for file in large)
    with bar(f"downloading {repo_id}", total, BYTES) as advance:
        for file in large:
            _fetch(repo_id, file, unfinished, advance)


def _fetch(repo_id: str, file: Any, unfinished: Path, advance: Callable[[float], None]) -> None:
    """Fetch one file of the plan and hand it over to the hub's cache."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    url = hf_hub_url(repo_id, file.filename, revision=file.commit_hash)
    digest = get_hf_file_metadata(url).etag or ""
    if not DIGEST.fullmatch(digest):  # it names a file
        return
    here, blob = unfinished / digest, _blobs(file) / digest
    unfinished.mkdir(exist_ok=True)
    with here.open("ab") as sink:
        if sink.tell() > file.file_size:
            sink.truncate(0)
        have = sink.seek(0, 2)
        advance(have)
        http_get(  # at the hub itself, since the address that it sends one on to expires
            url,
            sink,
            resume_size=have,
            headers=build_hf_headers(),
            expected_size=file.file_size,
            displayed_filename=file.filename,
            tqdm_class=partial(_Bar, advance),  # type: ignore[arg-type]
        )
    blob.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(here, blob)


def _blobs(file: Any) -> Path:
    """Where the hub's cache keeps contents: beside `snapshots/COMMIT/NAME`, which the plan has."""
    folder = Path(file.local_path)
    for _ in Path(file.filename).parts:
        folder = folder.parent
    return folder.parents[1] / "blobs"


class _Bar:
    """What the hub's client takes for its own bar: hands the bytes on to ours."""

    def __init__(self, advance: Callable[[float], None], **_: object) -> None:
        self._advance = advance

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to close."""

    def update(self, count: float = 1) -> None:
        """So many bytes more."""
        self._advance(count)
