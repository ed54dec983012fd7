"""The server of the page: who may ask it, and what it refuses before anything is read."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Collection
from pathlib import Path
from urllib.parse import urlsplit

import flask
from dash import Dash
from werkzeug.serving import BaseWSGIServer, make_server

from analyses.explorer.callbacks import Explorer, complain, register
from analyses.explorer.form import Limits
from analyses.explorer.jobs import JobQueue
from analyses.explorer.layout import page
from analyses.explorer.workspace import Workspace

TITLE = "interp_steer explorer"


def application(
    shelf: Workspace, limits: Limits | None = None, hosts: Collection[str] = ()
) -> Dash:
    """The page with all that it does.

    Args:
        shelf: the model and its vectors.
        limits: what a tab may ask for.
        hosts: names that the page may be asked for by, besides ``localhost`` and addresses.
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
        on_error=complain,
        suppress_callback_exceptions=True,
    )
    app.index_string = app.index_string.replace("<html>", '<html lang="en">')
    explorer = Explorer(shelf, JobQueue(), limits)
    app.server.config["EXPLORER"] = explorer
    app.layout = lambda: page(shelf, limits)
    register(app, explorer)
    _guard(app, {"localhost", *hosts}, limits)

    @app.server.post("/gone/<tab>")
    def gone(tab: str) -> flask.Response:
        explorer.line.leave(tab)
        return flask.Response(status=204)

    return app


def allowed(host: str, names: Collection[str]) -> bool:
    """Whether a request that names a host is meant for this page.

    A page of a stranger can have the name of its own server resolve to 127.0.0.1, and would then
    read and steer this one as if it were its own (DNS rebinding). The browser still sends the
    stranger's name as the host. An address cannot be made to point elsewhere, so that any is taken.

    Args:
        host: of the request, with or without a port.
        names: that are taken besides addresses.
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


def _guard(app: Dash, names: Collection[str], limits: Limits) -> None:
    server: flask.Flask = app.server
    # A file travels as base64 within JSON.
    server.config["MAX_CONTENT_LENGTH"] = 2 * limits.file

    @server.before_request
    def only_ours() -> flask.Response | None:
        request = flask.request
        if not allowed(request.host, names):
            return _refuse(
                f"The explorer does not answer to the name {request.host[:100]!r}. Open it by its "
                "address, or name the host: --hosts NAME"
            )
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            return _refuse("The explorer does not answer to pages of other sites.")
        return None

    @server.after_request
    def nothing_from_elsewhere(response: flask.Response) -> flask.Response:
        scripts = " ".join(["'self'", *app.csp_hashes()])
        response.headers["Content-Security-Policy"] = (
            f"default-src 'self'; script-src {scripts}; style-src 'self' 'unsafe-inline'; "
            "img-src 'self' data: blob:; font-src 'self' data:; frame-ancestors 'none'"
        )
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response


def _refuse(why: str) -> flask.Response:
    return flask.Response(why + "\n", status=403, mimetype="text/plain")


def listen(app: Dash, host: str, port: int) -> BaseWSGIServer:
    """A server that answers several tabs at once; port 0 takes a free one.

    Raises:
        OSError: when the port is taken.
    """
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each look is no news
    return make_server(host, port, app.server, threaded=True)
