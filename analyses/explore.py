"""Open one model in the browser: choose vectors, layers and strengths and compare answers.

The page shows an unsteered and a steered answer side by side while they are generated. Each token
is coloured by its projection on the direction, and a figure shows the strength of steering at each
step. Further views show a clickable map of layers and strengths, a clickable map of heads, the
propagation of the injection, the logit lens of the vector, and cosines. Answers can be copied as
Python, and figures and vectors saved. The page loads nothing from the internet, and the server
answers only its own page. Stop the server with Ctrl+C.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import interp_steer as ist
from interp_steer.errors import OptionError


@dataclass(frozen=True)
class Config:
    """The model, the data of its vectors, and the address of the page."""

    model: str = "burattino-instruct"
    """Model to steer: a bundled model, a Hugging Face name, or a folder."""
    vectors: tuple[Path, ...] = ()
    """Saved vectors (.safetensors) to open at the start. The page can open more."""
    data: str | None = None
    """File of IFEval's requests, on which vectors are fitted; see layer_sweep. By default the
    requests of the bundled world."""
    n_fit: int = 64
    """Pairs of prompts that each vector is fitted on."""
    n_select: int = 24
    """Pairs of prompts on which strengths are calibrated and sweeps are run."""
    seed: int = 0
    """Seed of the choice of pairs."""
    port: int = 8050
    """Port of the server; 0 takes a free port."""
    host: str = "127.0.0.1"
    """Address that the server listens at. WARNING: at any address but a loopback address, everybody
    who can reach this machine can use the model without a password."""
    hosts: tuple[str, ...] = ()
    """Host names that the page may be opened under, in addition to localhost and IP addresses.
    Requests with any other Host header are refused (protection against DNS rebinding)."""
    longest_prompt: int = 4000
    """Maximum number of characters of a prompt."""
    longest_answer: int = 256
    """Maximum number of new tokens of an answer."""


def serve(config: Config) -> None:
    """Load the model, then serve the page until Ctrl+C.

    Raises:
        OptionError: if Dash is missing or the port is taken.
    """
    try:
        from analyses.explorer.form import Limits
        from analyses.explorer.server import make_application, make_listener
        from analyses.explorer.workspace import FitOptions, Workspace
    except ModuleNotFoundError as error:
        if error.name not in ("dash", "flask", "werkzeug"):
            raise
        raise OptionError(
            f"the explorer needs {error.name}; install it: pip install 'interp_steer[explore]'"
        ) from error
    fit_options = FitOptions(
        model=config.model,
        seed=config.seed,
        n_fit=config.n_fit,
        n_select=config.n_select,
        data=config.data,
    )
    workspace = Workspace(ist.load(config.model), fit_options)
    for path in config.vectors:
        workspace.add_saved_vector(path.name, ist.SteeringVector.load(path))
    limits = Limits(letters=config.longest_prompt, new_tokens=config.longest_answer)
    app = make_application(workspace, limits, {config.host, *config.hosts})
    try:
        server = make_listener(app, config.host, config.port)
    except OSError as error:
        raise OptionError(
            f"cannot listen at {config.host}:{config.port} ({error.strerror or error}); give "
            "another --port, or 0 for a free port"
        ) from error
    if not config.host.startswith("127.") and config.host not in ("localhost", "::1"):
        print(
            f"WARNING: everybody who can reach {config.host}:{server.port} can use this model "
            "without a password. Omit --host to serve this machine only.",
            file=sys.stderr,
        )
    address = f"[{config.host}]" if ":" in config.host else config.host
    print(f"The explorer is at http://{address}:{server.port}/ (stop with Ctrl+C)", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print("The explorer has stopped.")
    finally:
        server.server_close()
