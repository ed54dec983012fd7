"""A real HTTP server on this machine that speaks the OpenAI chat format, and fails when told to."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Trouble:
    """What is answered in place of a reply."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    after: float = 0.0
    """Seconds of silence before it."""
    hang_up: bool = False
    """Close the connection without a word."""


@dataclass
class ChatServer:
    """The server's address, what it was asked, and how it will fail before it answers."""

    url: str
    requests: list[dict[str, Any]] = field(default_factory=list)
    """Path, headers and body of every request."""
    troubles: list[Trouble | None] = field(default_factory=list)
    """Used up one by one; None for a request that is answered well."""
    contents: list[Any] = field(default_factory=list)
    """Contents of the next messages, used up one by one, before those that a judge would write."""

    def content(self, prompt: str) -> Any:
        """Three questions about a request; of a text, yes, whether it says wet, and no verdict."""
        if self.contents:
            return self.contents.pop(0)
        text = re.search(r"<text>\n(.*)\n</text>", prompt, re.DOTALL)
        if text is None:
            return "1. Is it about the sea?\n2. Is it true?\n3. Is it kind?"
        return f"1. Yes\n2. {'yes' if 'wet' in text[1] else 'no'}\n3. It cannot be said."


@contextmanager
def served() -> Iterator[ChatServer]:
    """Serve while the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                asked = {"path": self.path, "headers": dict(self.headers), "body": body}
                chat.requests.append(asked)
                trouble = chat.troubles.pop(0) if chat.troubles else None
            if trouble is None:
                with lock:
                    content = chat.content(body["messages"][0]["content"])
                message = {"choices": [{"message": {"role": "assistant", "content": content}}]}
                trouble = Trouble(body=json.dumps(message).encode())
            time.sleep(trouble.after)
            if trouble.hang_up:
                self.close_connection = True
                return
            self.send_response(trouble.status)
            for name, value in {"Content-Length": len(trouble.body), **trouble.headers}.items():
                self.send_header(name, str(value))
            self.end_headers()
            try:
                self.wfile.write(trouble.body)
            except OSError:  # the client has seen enough
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            """Say nothing on stderr."""

    lock = threading.Lock()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    chat = ChatServer(f"http://127.0.0.1:{server.server_address[1]}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield chat
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
