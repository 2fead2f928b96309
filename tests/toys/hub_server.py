"""A small Hub on this machine: the calls of an upload without Xet, as huggingface_hub 2 makes them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import _http

from tests.toys.card_rules import broken_rules

OWNER, TOKEN, READER = "rosa", "hf_aVerySecretTokenOfRosa", "hf_aTokenThatMayOnlyRead"
LARGE, LARGE_BYTES = (".safetensors", ".gguf", ".bin"), 10_000  # the Hub's limit is 10 MB, too much for toys


@dataclass
class Hub:
    """What the server has and was asked. `sent` are the hashes of large files in the order they arrived.

    `cut_at`: the connection breaks off in that upload of a large file (1 is the first), and so does every
    call after it, until `mend`. `refuse` answers every call with a status and words.
    """

    address: str = ""
    repos: dict[str, dict[str, Any]] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    sent_small: list[str] = field(default_factory=list)
    cut_at: int = 0
    is_cut: bool = False
    refuse: tuple[int, str] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def mend(self) -> None:
        """Let the connection work again; forget what was asked so far."""
        self.cut_at, self.is_cut = 0, False
        self.calls.clear()
        self.sent.clear()
        self.sent_small.clear()

    def files(self, repo: str) -> dict[str, bytes]:
        """What was committed to a repository, by path."""
        return self.repos[repo]["files"]


class Refusal(Exception):
    """An answer that isn't 200."""

    def __init__(self, status: int, words: str, **body: Any) -> None:
        self.status, self.words, self.body = status, words, {"error": words} | body


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: what was asked stands in `hub.calls`."""

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def _answer(self, method: str) -> None:
        path = urlsplit(self.path).path
        with self.hub.lock:
            self.hub.calls.append(f"{method} {path}")
            if self.hub.is_cut or (method == "PUT" and self._is_the_one_to_cut()):
                self.hub.is_cut = True
                self.close_connection = True
                self.connection.shutdown(2)
                return
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            try:
                status, body = 200, self._do(method, path, content)
            except Refusal as refusal:
                status, body = refusal.status, refusal.body
        text = json.dumps(body).encode()
        self.send_response(status)
        if status >= 400:
            self.send_header("X-Error-Message", str(body["error"]))
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(text)

    def _is_the_one_to_cut(self) -> bool:
        """Read a part of the upload that is to be cut, as a line that breaks in the middle does."""
        if len(self.hub.sent) + 1 != self.hub.cut_at:
            return False
        self.rfile.read(int(self.headers["Content-Length"]) // 2)
        return True

    def _do(self, method: str, path: str, content: bytes) -> Any:
        if self.hub.refuse:
            raise Refusal(*self.hub.refuse)
        if method == "PUT":
            return self._store(path.rpartition("/")[2], content)
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if given not in (TOKEN, READER):
            raise Refusal(401, f"Invalid credentials in Authorization header: nobody has the token {given}")
        routes = (
            (r"GET /api/whoami-v2", lambda _: {"name": OWNER, "type": "user", "orgs": []}),
            (r"POST /api/repos/create", self._create),
            (r"POST /api/validate-yaml", lambda body: self._validate(body["content"]) or {}),
            (r"GET /api/models/([^/]+/[^/]+)(?:/revision/main)?", self._info),
            (r"POST /api/models/([^/]+/[^/]+)/preupload/main", self._preupload),
            (r"POST /([^/]+/[^/]+)\.git/info/lfs/objects/batch", self._batch),
            (r"POST /([^/]+/[^/]+)/verify", self._verify),
            (r"POST /api/models/([^/]+/[^/]+)/commit/main", self._commit),
        )
        for pattern, do in routes:
            if match := re.fullmatch(pattern, f"{method} {path}"):
                if method == "POST" and given == READER:
                    raise Refusal(403, "You don't have the rights to write")
                body = content if path.endswith("/commit/main") else json.loads(content or b"null")
                if match.groups() and match[1] not in self.hub.repos:
                    raise Refusal(404, "Repository not found")
                return do(*match.groups(), body)
        raise Refusal(404, f"no such call: {method} {path}")

    def _create(self, body: dict[str, Any]) -> Any:
        owner, repo = body["organization"], f"{body['organization']}/{body['name']}"
        if owner != OWNER:
            raise Refusal(403, f"You don't have the rights to create a model under the namespace {owner!r}")
        if len(body["name"]) > 96:
            raise Refusal(400, "name too long")
        if repo in self.hub.repos:
            raise Refusal(409, "You already created this model repo", url=f"{self.hub.address}/{repo}")
        private = body.get("private", body.get("visibility") == "private")
        self.hub.repos[repo] = {"private": private, "files": {}, "commits": []}
        return {"url": f"{self.hub.address}/{repo}"}

    def _info(self, repo: str, _: Any) -> Any:
        known = self.hub.repos[repo]
        return {"id": repo, "private": known["private"], "sha": "0" * 40, "siblings": [], "tags": []}

    def _validate(self, text: str) -> None:
        if problems := broken_rules(text):
            raise Refusal(400, "invalid metadata", errors=[{"message": problem} for problem in problems])

    def _preupload(self, repo: str, body: dict[str, Any]) -> Any:
        return {"files": [self._mode(repo, file["path"], file["size"]) for file in body["files"]]}

    def _mode(self, repo: str, path: str, size: int) -> dict[str, Any]:
        is_large, there = path.endswith(LARGE) or size > LARGE_BYTES, self.hub.files(repo).get(path)
        is_large = is_large and path != "README.md"
        known = (
            {}
            if there is None
            else {"oid": hashlib.sha256(there).hexdigest() if is_large else git_hash(there)}
        )
        return {"path": path, "uploadMode": "lfs" if is_large else "regular", "shouldIgnore": False} | known

    def _batch(self, repo: str, body: dict[str, Any]) -> Any:
        assert "basic" in body["transfers"]
        objects = []
        for entry in body["objects"]:
            upload = {"href": f"{self.hub.address}/storage/{entry['oid']}"}
            verify = {"href": f"{self.hub.address}/{repo}/verify"}
            actions = {"actions": {"upload": upload, "verify": verify}}
            objects.append(entry | ({} if entry["oid"] in self.hub.stored else actions))
        return {"transfer": "basic", "objects": objects}

    def _store(self, oid: str, content: bytes) -> Any:
        if hashlib.sha256(content).hexdigest() != oid:
            raise Refusal(400, "content and hash differ")
        self.hub.sent.append(oid)
        self.hub.stored[oid] = content
        return {}

    def _verify(self, repo: str, body: dict[str, Any]) -> Any:
        if len(self.hub.stored.get(body["oid"], b"")) != body["size"]:
            raise Refusal(404, "not stored")
        return {}

    def _commit(self, repo: str, content: bytes) -> Any:
        header, *operations = map(json.loads, content.splitlines())
        changed = {}
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "lfsFile":
                if value["oid"] not in self.hub.stored:
                    raise Refusal(400, f"{value['path']} was not uploaded")
                changed[value["path"]] = self.hub.stored[value["oid"]]
            else:
                changed[value["path"]] = base64.b64decode(value["content"])
                self.hub.sent_small.append(value["path"])
        if "README.md" in changed:
            self._validate(changed["README.md"].decode())
        self.hub.files(repo).update(changed)
        self.hub.repos[repo]["commits"].append(header["value"]["summary"])
        address = f"{self.hub.address}/{repo}/commit/{'0' * 40}"
        return {"success": True, "commitUrl": address, "commitOid": "0" * 40}


@contextmanager
def serve_hub() -> Iterator[Hub]:
    """Serve a Hub on 127.0.0.1, and have huggingface_hub speak with it, not waiting between attempts."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OwnHandler", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(constants, "ENDPOINT", hub.address)
            patch.setattr(constants, "HF_HUB_OFFLINE", False)
            patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
            patch.setattr(_http, "time", SimpleNamespace(**vars(time) | {"sleep": lambda _: None}))
            patch.setenv("HF_TOKEN", TOKEN)
            yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
