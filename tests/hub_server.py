"""A Hugging Face hub on loopback, which speaks what the real client asks: `with HubServer() as hub: hub.add(...)`.

Repositories with revisions, small files by their git hash, large ones behind a redirect as the real hub has them, byte
ranges; and what goes wrong there: connections that are cut, gated and missing repositories, too many requests.
"""

import hashlib
import json
import os
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = 100_000  # bytes from which on the hub keeps a file by its sha256, elsewhere


@dataclass(frozen=True)
class Asked:
    """A request.

    Attributes:
        method: GET or HEAD.
        path: without the host.
        range: the bytes that it asks for; "" for all of them.
        token: what it says of who asks; "" for a stranger.
    """

    method: str
    path: str
    range: str
    token: str


@dataclass(frozen=True)
class Refusal:
    """How the server answers a repository instead of handing it out."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)


GATED_STRANGER = Refusal(401, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted."})
GATED_USER = Refusal(403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Ask for access."})
MISSING = Refusal(401, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
MISSING_USER = Refusal(404, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
OLD_TOKEN = Refusal(401, {"X-Error-Message": "Invalid credentials in Authorization header"})
TOO_MANY = Refusal(429, {"Retry-After": "300"})
NO_REVISION = Refusal(404, {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id"})


class HubServer:
    """The server.

    Attributes:
        endpoint: its address, for HF_ENDPOINT.
        storage: the address of the other host that keeps large files.
        asked: all requests so far.
        refused: repository -> how it is refused.
        only_files_refused: whether a refused repository can be listed, as a gated one can.
        cut: file -> after how many of its bytes a connection is cut, once.
        then_refused: how everything is refused after a cut; None goes on as before.
    """

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.refused: dict[str, Refusal] = {}
        self.only_files_refused = False
        self.cut: dict[str, int] = {}
        self.then_refused: Refusal | None = None
        self._revisions: dict[str, dict[str, str]] = {}
        self._files: dict[tuple[str, str], dict[str, bytes]] = {}
        self._servers = [ThreadingHTTPServer(("127.0.0.1", 0), _Handler) for _ in range(2)]
        for server in self._servers:
            server.daemon_threads = True
            server.hub = self  # type: ignore[attr-defined]
        self.endpoint, self.storage = (f"http://127.0.0.1:{server.server_port}" for server in self._servers)

    def __enter__(self) -> "HubServer":
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def add(self, repo_id: str, files: Mapping[str, bytes], revision: str = "main") -> str:
        """A commit with these files, and no others, at a branch or of this very name; the commit."""
        content = json.dumps({name: hashlib.sha256(data).hexdigest() for name, data in files.items()})
        own = re.fullmatch(r"[0-9a-f]{40}", revision)
        commit = revision if own else hashlib.sha1(content.encode()).hexdigest()
        self._files[repo_id, commit] = dict(files)
        self._revisions.setdefault(repo_id, {}).update({revision: commit, commit: commit})
        return commit

    def environment(self, cache: Path) -> dict[str, str]:
        """What makes the real client ask this server, with the hub's cache in `cache`; xet is off."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        return kept | {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(cache),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    def ranges(self, name: str) -> list[str]:
        """The byte ranges in which a large file was handed out, in order."""
        return [
            asked.range
            for asked in self.asked
            if asked.method == "GET" and re.fullmatch(rf"/elsewhere/.*/{re.escape(name)}", asked.path)
        ]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> HubServer:
        return self.server.hub  # type: ignore[attr-defined]

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        said = (self.headers.get(name, "") for name in ("Range", "Authorization"))
        self.hub.asked.append(Asked(self.command, path, *said))
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            self._described(found[1], found[2] or "main")
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/(.+)", path):
            self._listed(found[1], found[2])
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._file(found[1], found[2], found[3])
        elif found := re.fullmatch(r"/elsewhere/([^/]+/[^/]+)/([^/]+)/(.+)", path):
            self._content(found[1], found[2], found[3])
        else:
            self._refuse(Refusal(404))

    def _described(self, repo_id: str, revision: str) -> None:
        if (commit := self._commit(repo_id, revision, listing=True)) is not None:
            names = [{"rfilename": name} for name in self.hub._files[repo_id, commit]]
            self._json({"id": repo_id, "sha": commit, "siblings": names, "private": False, "tags": []})

    def _listed(self, repo_id: str, revision: str) -> None:
        if (commit := self._commit(repo_id, revision, listing=True)) is None:
            return
        rows: list[dict[str, Any]] = []
        for name, data in self.hub._files[repo_id, commit].items():
            row: dict[str, Any] = {"type": "file", "path": name, "size": len(data), "oid": _git_hash(data)}
            if len(data) >= LARGE:
                row["lfs"] = {"oid": _sha256(data), "size": len(data), "pointerSize": 134}
            rows.append(row)
        self._json(rows)

    def _file(self, repo_id: str, revision: str, name: str) -> None:
        if (commit := self._commit(repo_id, revision, listing=False)) is None:
            return
        data = self.hub._files[repo_id, commit].get(name)
        if data is None:
            self._refuse(Refusal(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}))
            return
        if len(data) < LARGE:
            self._send(data, {"ETag": f'"{_git_hash(data)}"', "X-Repo-Commit": commit}, name)
            return
        headers = {
            "X-Repo-Commit": commit,
            "X-Linked-ETag": f'"{_sha256(data)}"',
            "X-Linked-Size": str(len(data)),
            "Location": f"{self.hub.storage}/elsewhere/{repo_id}/{commit}/{name}",
            "Content-Length": "0",
        }
        self._head(302, headers)

    def _content(self, repo_id: str, commit: str, name: str) -> None:
        data = self.hub._files[repo_id, commit][name]
        self._send(data, {"ETag": f'"{_sha256(data)}"'}, name)

    def _commit(self, repo_id: str, revision: str, *, listing: bool) -> str | None:
        refusal = self.hub.refused.get(repo_id)
        if refusal is not None and not (listing and self.hub.only_files_refused):
            self._refuse(refusal)
            return None
        known = self.hub._revisions.get(repo_id)
        if known is None or revision not in known:
            self._refuse(MISSING if known is None else NO_REVISION)
            return None
        return known[revision]

    def _send(self, data: bytes, headers: dict[str, str], name: str) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        begin = int(asked[1]) if asked else 0
        span = {"Content-Range": f"bytes {begin}-{len(data) - 1}/{len(data)}"} if asked else {}
        length = {"Content-Length": str(len(data) - begin), "Accept-Ranges": "bytes"}
        self._head(206 if asked else 200, headers | span | length)
        if self.command == "HEAD":
            return
        stop = self.hub.cut.pop(name, None)
        self.wfile.write(data[begin:stop])
        if stop is not None:
            self.close_connection = True
            if self.hub.then_refused is not None:
                self.hub.refused = dict.fromkeys(self.hub._revisions, self.hub.then_refused)

    def _json(self, value: object) -> None:
        data = json.dumps(value).encode()
        self._head(200, {"Content-Type": "application/json", "Content-Length": str(len(data))})
        if self.command == "GET":
            self.wfile.write(data)

    def _refuse(self, refusal: Refusal) -> None:
        self._head(refusal.status, {**refusal.headers, "Content-Length": "0"})

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
