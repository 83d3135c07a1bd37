"""As much of the Hugging Face Hub's HTTP interface as fetching and publishing a model needs."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_of_the_test"


class Hub:
    """The repositories, and what was asked.

    Attributes:
        files: of each repository by name: contents by path.
        private: names of repositories that only TOKEN opens.
        asked: method and path of each request.
        address: of the server.
    """

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.private: set[str] = set()
        self.asked: list[tuple[str, str]] = []
        self.address = ""


@contextmanager
def running() -> Iterator[Hub]:
    hub = Hub()

    class Handler(_Handler):
        own = hub

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.address = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    own: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, values: Any, status: int = 200) -> None:
        self._answer(status, json.dumps(values).encode(), Content_Type="application/json")

    @property
    def _is_known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.own.asked.append((self.command, self.path))
        parts = self.path.split("?")[0].strip("/").split("/")
        if len(parts) > 4 and parts[2] == "resolve":
            self._resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        elif parts[:2] == ["api", "models"] and "/".join(parts[2:4]) in self.own.files:
            self._json({"id": "/".join(parts[2:4]), "sha": COMMIT, "siblings": []})
        else:
            self._json({"error": "not here"}, 404)

    def _resolve(self, name: str, revision: str, path: str) -> None:
        files = self.own.files.get(name)
        if files is None or (name in self.own.private and not self._is_known):
            self._answer(401, X_Error_Code="RepoNotFound", X_Error_Message="no such repository")
        elif revision not in ("main", COMMIT):
            self._answer(404, X_Error_Code="RevisionNotFound", X_Error_Message="no such revision")
        elif path not in files:
            self._answer(404, X_Error_Code="EntryNotFound", X_Error_Message="no such file")
        else:
            digest = hashlib.sha256(files[path]).hexdigest()
            self._answer(
                200,
                files[path],
                ETag=f'"{digest}"',
                X_Repo_Commit=COMMIT,
                Content_Length=str(len(files[path])),
            )

    def do_POST(self) -> None:
        self.own.asked.append((self.command, self.path))
        body = self._body()
        if not self._is_known:
            self._json({"error": "Invalid username or password."}, 401)
            return
        parts = self.path.strip("/").split("/")
        if parts == ["api", "repos", "create"]:
            values = json.loads(body)
            name = f"{values.get('organization') or 'user'}/{values['name']}"
            if values.get("private") or values.get("visibility") == "private":
                self.own.private.add(name)
            if name in self.own.files:
                self._json({"error": "there already"}, 409)
                return
            self.own.files[name] = {}
            self._json({"url": f"{self.own.address}/{name}", "name": name})
            return
        if parts == ["api", "validate-yaml"]:
            self._json({"errors": [], "warnings": []})
            return
        name, what = "/".join(parts[2:4]), parts[4]
        if what == "preupload":
            files = json.loads(body)["files"]
            modes = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                for f in files
            ]
            self._json({"files": modes})
        elif what == "commit":
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    value = entry["value"]
                    self.own.files[name][value["path"]] = base64.b64decode(value["content"])
            url = f"{self.own.address}/{name}/commit/{COMMIT}"
            self._json({"success": True, "commitOid": COMMIT, "commitUrl": url})
        else:
            self._json({"error": "not here"}, 404)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)
