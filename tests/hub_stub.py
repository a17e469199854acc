"""The few addresses of the Hugging Face Hub that loading a data set asks for, served
from a folder.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any


@contextmanager
def hub(repository: Path, revision: str) -> Iterator[str]:
    """Serve `repository` as the data set `me/colours` at `revision`, and yield the
    address.
    """
    handler = type("Handler", (_Handler,), {"repository": repository, "revision": revision})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    repository: Path
    revision: str

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if not path.removeprefix("/api").startswith("/datasets/me/colours"):
            self._send(b"{}", 404, {"X-Error-Code": "RepoNotFound"})
        elif f"/resolve/{self.revision}/" in path:
            self._send_file(self.repository / path.partition(f"/resolve/{self.revision}/")[2])
        elif f"/tree/{self.revision}" in path:
            self._send_json(self._listing(path.partition(f"/tree/{self.revision}")[2].strip("/")))
        elif path.endswith(f"/revision/{self.revision}"):
            names = [
                {"rfilename": path.relative_to(self.repository).as_posix()}
                for path in self.repository.rglob("*.*")
            ]
            self._send_json(
                {
                    "id": "me/colours",
                    "sha": self.revision,
                    "private": False,
                    "tags": [],
                    "siblings": names,
                }
            )
        else:
            self._send(b"{}", 404, {"X-Error-Code": "RevisionNotFound"})

    do_HEAD = do_GET

    def _listing(self, folder: str) -> list[dict[str, object]]:
        items = []
        for path in sorted((self.repository / folder).iterdir()):
            kind, size = ("file", path.stat().st_size) if path.is_file() else ("directory", 0)
            name = path.relative_to(self.repository).as_posix()
            items.append(
                {
                    "type": kind,
                    "path": name,
                    "size": size,
                    "oid": hashlib.sha1(name.encode()).hexdigest(),
                }
            )
        return items

    def _send_file(self, path: Path) -> None:
        headers = {"X-Repo-Commit": self.revision}
        if not path.is_file():
            self._send(b"", 404, {**headers, "X-Error-Code": "EntryNotFound"})
            return
        content = path.read_bytes()
        self._send(content, 200, {**headers, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'})

    def _send_json(self, value: object) -> None:
        self._send(json.dumps(value).encode(), 200, {"Content-Type": "application/json"})

    def _send(self, body: bytes, code: int, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, text in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Write no line for a request."""
