"""Serve the page, and refuse requests from other sites before they are read."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Collection
from pathlib import Path
from urllib.parse import urlsplit

import flask
from dash import Dash
from werkzeug.serving import BaseWSGIServer, make_server

from analyses.explorer.callbacks import Explorer, register_callbacks, show_error
from analyses.explorer.form import Limits
from analyses.explorer.jobs import JobQueue
from analyses.explorer.layout import build_page
from analyses.explorer.workspace import Workspace

TITLE = "interp_steer explorer"


def make_application(
    workspace: Workspace, limits: Limits | None = None, hosts: Collection[str] = ()
) -> Dash:
    """Return the app: the page with its callbacks.

    Args:
        workspace: the model and its vectors.
        limits: the limits of a request.
        hosts: host names that the page may be opened under, in addition to ``localhost`` and IP
            addresses.
    """
    limits = limits or Limits()
    app = Dash(
        __name__,
        title=TITLE,
        update_title="",
        assets_folder=str(Path(__file__).parent / "assets"),
        meta_tags=[{"name": "viewport", "content": "width=device-width, initial-scale=1"}],
        serve_locally=True,
        enable_mcp=False,
        on_error=show_error,
        suppress_callback_exceptions=True,
    )
    app.index_string = app.index_string.replace("<html>", '<html lang="en">')
    explorer = Explorer(workspace, JobQueue(), limits)
    app.server.config["EXPLORER"] = explorer
    app.layout = lambda: build_page(workspace, limits)
    register_callbacks(app, explorer)
    _guard_requests(app, {"localhost", *hosts}, limits)

    @app.server.post("/gone/<tab>")
    def leave(tab: str) -> flask.Response:
        explorer.queue.leave(tab)
        return flask.Response(status=204)

    return app


def is_allowed_host(host: str, names: Collection[str]) -> bool:
    """Return whether a request's Host header names this server.

    A foreign site can let its own host name resolve to 127.0.0.1; its page could then read and use
    this page (DNS rebinding). The browser still sends the foreign name in the Host header. An IP
    address cannot be redirected, so that every IP address is allowed.

    Args:
        host: the Host header, with or without a port.
        names: the host names that are allowed in addition to IP addresses.
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name in {known.lower() for known in names}:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _guard_requests(app: Dash, names: Collection[str], limits: Limits) -> None:
    server: flask.Flask = app.server
    # The browser sends a file as base64 within JSON.
    server.config["MAX_CONTENT_LENGTH"] = 2 * limits.file

    @server.before_request
    def refuse_foreign_requests() -> flask.Response | None:
        request = flask.request
        if not is_allowed_host(request.host, names):
            return _refuse(
                f"The host name {request.host[:100]!r} is not allowed. Open the explorer by its IP "
                "address, or allow the name with --hosts NAME."
            )
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            return _refuse("The explorer does not answer pages of other sites.")
        return None

    @server.after_request
    def forbid_foreign_content(response: flask.Response) -> flask.Response:
        scripts = " ".join(["'self'", *app.csp_hashes()])
        response.headers["Content-Security-Policy"] = (
            f"default-src 'self'; script-src {scripts}; style-src 'self' 'unsafe-inline'; "
            "img-src 'self' data: blob:; font-src 'self' data:; frame-ancestors 'none'"
        )
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response


def _refuse(reason: str) -> flask.Response:
    return flask.Response(reason + "\n", status=403, mimetype="text/plain")


def make_listener(app: Dash, host: str, port: int) -> BaseWSGIServer:
    """Return a server that handles several requests at once; port 0 takes a free port.

    Raises:
        OSError: if the port is taken.
    """
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # not one line for each poll
    return make_server(host, port, app.server, threaded=True)
