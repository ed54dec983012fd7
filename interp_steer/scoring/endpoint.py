"""Get replies to prompts from an address that serves the OpenAI chat format.

The standard library's HTTP is enough. A temporary failure (too many requests, a server error, a
broken connection) is retried after a growing wait, or after the wait that the server asks for.
Every other failure is an error that names the address, the answer of the server, and a fix. The key
comes from the environment and is used in the request only.
"""

from __future__ import annotations

import http.client
import json
import math
import os
import ssl
import time
import urllib.error
import urllib.request
from datetime import datetime, timezone
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import SplitResult, urlsplit

from interp_steer.errors import ScoringError

LARGEST_REPLY = 1 << 20
"""The greatest size of a reply in bytes; a chat completion of a few words has thousands."""

LONGEST_WAIT = 120.0
"""The longest wait in seconds; a longer wait that a server asks for is an error."""

TEMPORARY = frozenset((408, 409, 425, 429, *range(500, 600)))
"""The statuses of HTTP after which the same request may succeed."""

_OWN_MACHINE = ("localhost", "127.0.0.1", "::1")


class _TemporaryFailure(Exception):
    """A request that failed and may succeed when it is repeated."""

    def __init__(self, what: str, wait: float = 0.0) -> None:
        super().__init__(what)
        self.wait = wait


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A handler that refuses redirects, which would send the key to another address."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Endpoint:
    """A model behind an address that takes ``POST <url>/chat/completions``.

    Args:
        url: the base address, such as ``https://api.openai.com/v1`` or ``http://localhost:8000/v1``.
        model: the model's name on the server.
        key_variable: the environment variable that holds the key; None for a server without keys.
        timeout: seconds to wait for a connection, and for a complete reply.
        retries: the number of retries after temporary failures.
        backoff: seconds before the first retry; each later retry waits twice as long.

    Raises:
        ScoringError: for an invalid address, a password in the address, a key that is not in the
            environment, or a key that would travel in clear text.

    Example::

        judge = Endpoint("https://api.openai.com/v1", "gpt-4o")
        judge.reply("Is the sea wet? Answer yes or no.")  # 'Yes.'
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key_variable: str | None = "OPENAI_API_KEY",
        timeout: float = 120.0,
        retries: int = 5,
        backoff: float = 1.0,
    ) -> None:
        parts = _parse_address(url)
        if parts is None or not model:
            raise ScoringError(
                f"{url!r} with model {model!r} is not an endpoint; give an address such as "
                "https://api.openai.com/v1 and the model's name there"
            )
        if "@" in parts.netloc:
            raise ScoringError(
                f"the address of {parts.hostname} holds a password, which would be stored with "
                "the results; put the key into an environment variable instead"
            )
        self.url = url.rstrip("/")
        self.model = model
        self.timeout = timeout
        self.retries = retries
        self.backoff = backoff
        self._key = "" if key_variable is None else _read_key(key_variable, self.url)
        if self._key and parts.scheme == "http" and parts.hostname not in _OWN_MACHINE:
            raise ScoringError(
                f"the key in {key_variable} would travel to {self.url} in clear text; give an "
                "https address, or no key variable where the server needs no key"
            )
        self._open = urllib.request.build_opener(_NoRedirects).open

    def reply(self, prompt: str) -> str:
        """Return the model's reply at temperature 0; empty for a reply without text.

        Raises:
            ScoringError: when the address cannot be reached, refuses, or does not answer with a
                chat completion.
        """
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
        }
        reply = self._post(json.dumps(body).encode())
        try:
            content = json.loads(reply)["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError, RecursionError):
            raise ScoringError(
                f"{self.url} did not answer with a chat completion: "
                f"{self._brief(reply)}; give the base address of the chat format, which often "
                "ends in /v1"
            ) from None
        if isinstance(content, list):  # the format also allows a list of parts
            texts = (part.get("text") for part in content if isinstance(part, dict))
            content = "".join(text for text in texts if isinstance(text, str))
        return content if isinstance(content, str) else ""

    def _post(self, body: bytes) -> bytes:
        failed = 0
        while True:
            try:
                return self._once(body)
            except _TemporaryFailure as trouble:
                failed += 1
                if failed > self.retries:
                    raise ScoringError(
                        f"the judge {self.model!r} at {self.url} {trouble}, {failed} times in a "
                        "row; check the address and the network, or try later: earlier answers "
                        "are kept"
                    ) from trouble.__cause__
                backoff = min(self.backoff * 2 ** (failed - 1), LONGEST_WAIT)
                time.sleep(max(trouble.wait, backoff))

    def _once(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json", "User-Agent": "interp_steer"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(
            f"{self.url}/chat/completions", body, headers, method="POST"
        )
        try:
            with self._open(request, timeout=self.timeout) as response:
                return self._read(response)
        except urllib.error.HTTPError as error:
            text = self._error_text(error)
            if error.code in TEMPORARY:
                wait = self._wait(error.headers)
                raise _TemporaryFailure(f"answered {error.code} ({text})", wait) from error
            raise ScoringError(
                f"the judge {self.model!r} at {self.url} answered {error.code} ({text}); fix the "
                "address, the model's name or the key"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise ScoringError(
                    f"{self.url} cannot be trusted ({reason.verify_message}); give the address "
                    "that its certificate names"
                ) from error
            raise _TemporaryFailure(
                f"cannot be reached ({reason or type(error).__name__})"
            ) from error

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        """Read the whole body; refuse a body that is too large or too slow."""
        deadline = time.monotonic() + self.timeout
        expected = response.headers.get("Content-Length", "")
        parts, size = [], 0
        while chunk := response.read1(1 << 16):
            parts.append(chunk)
            size += len(chunk)
            if size > LARGEST_REPLY:
                raise ScoringError(
                    f"{self.url} answered with more than {LARGEST_REPLY} bytes, too many for "
                    "a judge's reply; check the address"
                )
            if time.monotonic() > deadline:
                raise TimeoutError(f"still sending after {self.timeout:g} seconds")
        if expected.isdigit() and size < int(expected):
            raise http.client.IncompleteRead(b"", int(expected) - size)
        return b"".join(parts)

    def _wait(self, headers: Message) -> float:
        """Return the seconds that the server asks to wait; 0 by default.

        Raises:
            ScoringError: for a wait that is too long.
        """
        asked = headers.get("Retry-After", "").strip()
        try:
            wait = float(asked)
        except ValueError:
            try:
                until = parsedate_to_datetime(asked)
            except (ValueError, TypeError):
                return 0.0
            if until.tzinfo is None:  # the zone "-0000", which is UTC too
                until = until.replace(tzinfo=timezone.utc)
            wait = (until - datetime.now(timezone.utc)).total_seconds()
        if math.isnan(wait):
            return 0.0
        if wait > LONGEST_WAIT:
            raise ScoringError(
                f"{self.url} asks to wait {wait:.0f} seconds; try later: earlier answers are kept"
            )
        return max(wait, 0.0)

    def _error_text(self, error: urllib.error.HTTPError) -> str:
        """Return the server's error message, or else the reason of the status."""
        try:
            body = error.read(1 << 14)
        except (OSError, http.client.HTTPException):
            body = b""
        try:
            return self._brief(str(json.loads(body)["error"]["message"]).encode())
        except (ValueError, LookupError, TypeError, RecursionError):
            return self._brief(body or str(error.reason).encode())

    def _brief(self, body: bytes) -> str:
        text = " ".join(body.decode("utf-8", "replace").split())
        if self._key:
            text = text.replace(self._key, "(the key)")
        return repr(text if len(text) <= 160 else f"{text[:157]}...")


def _parse_address(url: str) -> SplitResult | None:
    """Return the parts of a base address; None for an invalid address."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # an open bracket, or a port that is not a number
        return None
    return parts if known and not parts.query and not parts.fragment else None


def _read_key(variable: str, url: str) -> str:
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ScoringError(
            f"the environment variable {variable} holds no key for {url}; set it, or name the "
            "variable that does"
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ScoringError(
            f"the environment variable {variable} holds no key but a text with spaces or signs "
            "that no key has; set it to the key alone"
        )
    return key
