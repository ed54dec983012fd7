"""Play with one model in the browser: vectors, layers, strengths, schedules, side by side.

The page shows an unsteered and a steered answer as they are written, each token coloured by its
projection on the direction, and how strongly each step was steered. Beneath are maps of layers and
strengths and of heads that can be clicked, the propagation of the present injection, the logit lens
of the vector, and cosines. What it shows can be copied as Python and saved. Nothing is fetched from
elsewhere, and nothing but the page itself is answered to. Stop it with Ctrl+C.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import interp_steer as ist
from interp_steer.errors import OptionError


@dataclass(frozen=True)
class Config:
    """Which model, and who may open the page."""

    model: str = "burattino-instruct"
    """A bundled model, a Hugging Face name, or a folder."""
    vectors: tuple[Path, ...] = ()
    """Saved vectors to begin with (.safetensors); others are opened from the page."""
    data: str | None = None
    """IFEval's requests, from which vectors are fitted; see layer_sweep. Those of the bundled world
    when not given."""
    n_fit: int = 64
    """Pairs that each vector is fitted on."""
    n_select: int = 24
    """Pairs that strengths and sweeps are measured on."""
    seed: int = 0
    """Of the pairs."""
    port: int = 8050
    """Where the page is; 0 for any that is free."""
    host: str = "127.0.0.1"
    """The address to listen at. WARNING: with any other than a loopback address whoever reaches
    this machine can use the model, and no password is asked for."""
    hosts: tuple[str, ...] = ()
    """Names that the page may be opened by, besides localhost and addresses. Others are refused,
    lest a stranger's page whose name is made to point here read along."""
    longest_prompt: int = 4000
    """Letters of a prompt."""
    longest_answer: int = 256
    """Tokens of an answer."""


def serve(config: Config) -> None:
    """Load the model, then answer the page until Ctrl+C.

    Raises:
        OptionError: when Dash is missing or the port is taken.
    """
    try:
        from analyses.explorer.form import Limits
        from analyses.explorer.server import application, listen
        from analyses.explorer.workspace import Making, Workspace
    except ModuleNotFoundError as error:
        if error.name not in ("dash", "flask", "werkzeug"):
            raise
        raise OptionError(
            f"the explorer needs {error.name}; install it: pip install 'interp_steer[explore]'"
        ) from error
    making = Making(
        model=config.model,
        seed=config.seed,
        n_fit=config.n_fit,
        n_select=config.n_select,
        data=config.data,
    )
    shelf = Workspace(ist.load(config.model), making)
    for path in config.vectors:
        shelf.take(path.name, ist.SteeringVector.load(path))
    limits = Limits(letters=config.longest_prompt, new_tokens=config.longest_answer)
    app = application(shelf, limits, {config.host, *config.hosts})
    try:
        server = listen(app, config.host, config.port)
    except OSError as error:
        raise OptionError(
            f"{config.host}:{config.port} cannot be listened at ({error.strerror or error}); give "
            "another --port, or 0 for any that is free"
        ) from error
    if not config.host.startswith("127.") and config.host not in ("localhost", "::1"):
        print(
            f"WARNING: whoever reaches {config.host}:{server.port} can use this model; no password "
            "is asked for. Without --host the page is for this machine alone.",
            file=sys.stderr,
        )
    shown = f"[{config.host}]" if ":" in config.host else config.host
    print(f"The explorer is at http://{shown}:{server.port}/ (Ctrl+C ends it)", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print("The explorer has ended.")
    finally:
        server.server_close()
