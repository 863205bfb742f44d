"""A server that lets a wandb run go on, or refuses its id, and is gone when `vanish` is called."""

import gzip
import json
import threading
from collections.abc import Container
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PROJECT = {"id": "p", "name": "fuse_repro", "entity": {"id": "e", "name": "somebody"}}


def answer(query: str, name: str, shown: int) -> dict[str, Any]:
    """The data that wandb needs to go on with the run `name`, of which `shown` records are known."""
    run = {"id": "r", "name": name, "config": "{}", "historyLineCount": shown, "project": PROJECT}
    if "upsertBucket" in query:
        return {"upsertBucket": {"bucket": run, "inserted": False}}
    if "RunResumeStatus" not in query:
        return {}
    known = {
        "summaryMetrics": json.dumps({"item/index": shown - 1}),
        "historyTail": json.dumps([json.dumps({"_step": shown - 1})]),
        "eventsTail": "[]",
        "logLineCount": 0,
        "eventsLineCount": 0,
        "wandbConfig": json.dumps({"t": 1}),
    }
    return {"model": PROJECT | {"bucket": run | known}}


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        asked = json.loads(body)
        name = (asked.get("variables") or {}).get("name", "")
        query, server = asked.get("query", ""), self.server
        if "upsertBucket" in query and name in server.deleted:  # type: ignore[attr-defined]
            message = f"run {name} was previously created and deleted; try a new run name"
            status, content = 400, {"errors": [{"message": message}]}
        else:
            status, content = 200, {"data": answer(query, name, server.shown)}  # type: ignore[attr-defined]
        reply = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class VanishingServer:
    """Answers on loopback until it vanishes; it has `shown` records of the run already, and refuses `deleted` ids."""

    def __init__(self, shown: int, deleted: Container[str] = ()) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.shown, self._server.deleted = shown, deleted  # type: ignore[attr-defined]
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def vanish(self) -> None:
        self._server.shutdown()
        self._server.server_close()
