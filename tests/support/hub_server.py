"""A real HTTP server on this machine that keeps repositories as the Hugging Face Hub does.

It speaks what huggingface_hub asks when a model repository is made, committed to and read; files
come in the commit itself or, where it is told so, by Git LFS.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

TOKEN = "hf_writes"
"""The one token that may write, and see what is private."""


@dataclass
class Repo:
    """Branches and commits of a repository; a commit is all files of it."""

    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    gated: bool = False

    def files(self, revision: str) -> dict[str, bytes] | None:
        """Of a branch or a commit."""
        return self.commits.get(self.branches.get(revision, revision))

    def commit(self, branch: str, files: dict[str, bytes]) -> str:
        """Put files on a branch; returns the commit."""
        before = self.files(branch) or {}
        named = repr((len(self.commits), sorted({**before, **files}.items())))
        made = hashlib.sha1(named.encode()).hexdigest()
        self.commits[made] = {**before, **files}
        self.branches[branch] = made
        return made


@dataclass
class Hub:
    """The server's address, what it holds, and how it fails."""

    url: str
    repos: dict[str, Repo] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    """Of Git LFS, by sha256."""
    lfs: bool = False
    """Whether safetensors files are to come by Git LFS."""
    asked: list[str] = field(default_factory=list)
    """Method and path of every request."""
    trouble: tuple[int, bytes] | None = None
    """Status and body with which everything is answered instead."""


Answer = tuple[int, dict[str, str], bytes]


@contextmanager
def served() -> Iterator[Hub]:
    """Serve while the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path, query = unquote(urlsplit(self.path).path), urlsplit(self.path).query
            with lock:
                hub.asked.append(f"{self.command} {path}")
                may = TOKEN in (
                    query,
                    self.headers.get("Authorization", "").removeprefix("Bearer "),
                )
                status, headers, content = _answered(hub, self.command, path, body, may)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_HEAD = do_POST = do_PUT = answer

        def log_message(self, format: str, *args: Any) -> None:
            pass

    lock = threading.Lock()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub = Hub(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _answered(hub: Hub, method: str, path: str, body: bytes, may: bool) -> Answer:
    if hub.trouble is not None:
        return hub.trouble[0], {}, hub.trouble[1]
    if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/(.+?)/([^/]+)", path):
        return _resolved(hub, found[1], found[2], found[3], may)
    if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
        return _about(hub, found[1], found[2] or "main", may)
    if path == "/api/validate-yaml":
        return _checked(json.loads(body)["content"])
    if not may:
        return _refused(401, "", "Invalid username or password.")
    if path == "/api/repos/create":
        return _created(hub, json.loads(body))
    if found := re.fullmatch(r"/lfs/(\w+)", path):
        hub.stored[found[1]] = body
        return 200, {}, b""
    if found := re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
        return _batch(hub, json.loads(body))
    if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit|branch)/(.+)", path):
        if found[1] not in hub.repos:
            return _refused(404, "RepoNotFound", "Repository not found")
        repo = hub.repos[found[1]]
        if found[2] == "branch":
            known = found[3] in repo.branches
            repo.branches.setdefault(found[3], repo.branches["main"])
            return _json({}, 409 if known else 200)
        if (files := repo.files(found[3])) is None:
            return _refused(404, "RevisionNotFound", "Invalid rev id")
        if found[2] == "preupload":
            return _modes(hub, files, json.loads(body)["files"])
        return _committed(hub, repo, found[1], found[3], body)
    return _refused(404, "", f"{method} {path} is not spoken here")


def _created(hub: Hub, asked: dict[str, Any]) -> Answer:
    repo_id = f"{asked.get('organization') or 'you'}/{asked['name']}"
    url = {"url": f"{hub.url}/{repo_id}"}
    if repo_id.startswith("others/"):
        return _refused(403, "", "You don't have the rights to create a model under others")
    if repo_id in hub.repos:
        return _json(url, 409)
    private = asked.get("visibility") == "private" or asked.get("private") is True
    repo = hub.repos[repo_id] = Repo(private)
    repo.commit("main", {".gitattributes": b""})
    return _json(url)


def _checked(page: str) -> Answer:
    """The YAML of a page is parsed and must have a name of a library and tags."""
    found = re.match(r"---\n(.*?)\n---\n", page, re.DOTALL)
    said = yaml.safe_load(found[1]) if found else None
    if not isinstance(said, dict) or not isinstance(said.get("library_name"), str):
        return _json({"errors": [{"message": "no metadata"}], "warnings": []}, 400)
    return _json({"errors": [], "warnings": []})


def _modes(hub: Hub, files: dict[str, bytes], asked: list[dict[str, Any]]) -> Answer:
    def mode(path: str) -> str:
        return "lfs" if hub.lfs and path.endswith(".safetensors") else "regular"

    def oid(path: str) -> str | None:
        if (content := files.get(path)) is None:
            return None
        if mode(path) == "lfs":
            return hashlib.sha256(content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    said = [
        {"path": p, "uploadMode": mode(p), "shouldIgnore": False, "oid": oid(p)}
        for p in (each["path"] for each in asked)
    ]
    return _json({"files": said})


def _batch(hub: Hub, asked: dict[str, Any]) -> Answer:
    def upload(oid: str) -> dict[str, Any]:
        return {"upload": {"href": f"{hub.url}/lfs/{oid}?{TOKEN}", "header": {}}}

    objects = [{**each, "actions": upload(each["oid"])} for each in asked["objects"]]
    return _json({"transfer": "basic", "objects": objects})


def _committed(hub: Hub, repo: Repo, repo_id: str, branch: str, body: bytes) -> Answer:
    files = {}
    for line in map(json.loads, body.splitlines()):
        if line["key"] == "file":
            files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        elif line["key"] == "lfsFile":
            files[line["value"]["path"]] = hub.stored[line["value"]["oid"]]
    made = repo.commit(branch, files)
    return _json({"commitOid": made, "commitUrl": f"{hub.url}/{repo_id}/commit/{made}"})


def _seen(hub: Hub, repo_id: str, may: bool) -> Repo | Answer:
    repo = hub.repos.get(repo_id)
    if repo is None or (repo.private and not may):
        return _refused(404 if may else 401, "RepoNotFound", "Repository not found")
    if repo.gated:
        return _refused(403, "GatedRepo", "Access to this model is restricted")
    return repo


def _about(hub: Hub, repo_id: str, revision: str, may: bool) -> Answer:
    repo = _seen(hub, repo_id, may)
    if isinstance(repo, tuple):
        return repo
    if repo.files(revision) is None:
        return _refused(404, "RevisionNotFound", "Invalid rev id")
    return _json({"id": repo_id, "sha": repo.branches.get(revision, revision), "siblings": []})


def _resolved(hub: Hub, repo_id: str, revision: str, path: str, may: bool) -> Answer:
    repo = _seen(hub, repo_id, may)
    if isinstance(repo, tuple):
        return repo
    if (files := repo.files(revision)) is None:
        return _refused(404, "RevisionNotFound", "Invalid rev id")
    commit = {"X-Repo-Commit": repo.branches.get(revision, revision)}
    if path not in files:
        status, headers, content = _refused(404, "EntryNotFound", "Entry not found")
        return status, headers | commit, content
    return 200, {"ETag": f'"{hashlib.sha256(files[path]).hexdigest()}"', **commit}, files[path]


def _refused(status: int, code: str, message: str) -> Answer:
    headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
    return status, headers, json.dumps({"error": message}).encode()


def _json(said: Any, status: int = 200) -> Answer:
    return status, {"Content-Type": "application/json"}, json.dumps(said).encode()
