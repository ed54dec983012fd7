"""lm-evaluation-harness' ``steer_path`` (``--model steered``), read and written.

A ``.pt`` of one entry for each hookpoint::

    {"layers.5": {"steering_vector": v, "steering_coefficient": c, "action": "add" | "clamp",
                  "bias": b | None, "head_index": None}}

A hookpoint is a module's name below ``model.base_model``: ``layers.k`` on Llama, Mistral, Gemma,
Qwen and Phi, ``h.k`` on GPT-2. It is written at its output, at every position: ``add`` adds
``c v``; ``clamp`` sets the projection on ``v / |v|`` of what exceeds ``b`` to ``c``.

Layers: ``layers.k`` is ``resid_post`` of layer ``k``, from 0. With ``model=`` other modules are
known too, those that are ``attn_out`` and ``mlp_out`` of the model.

There is one entry for each hookpoint, so several edits of one site are added up before they are
written; ``project`` is ``clamp`` to the target and ``ablate`` is ``clamp`` to 0. On reading, a
vector of ``add`` has the coefficients in it, so that ``shift(1.0)`` does what the file does; a
vector of ``clamp`` has the values as its targets, so that ``project()`` does. Refused are ``add``
with a bias, as lm-eval refuses it, and ``head_index``, an axis that no module's output has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp_steer.errors import InterchangeError, SiteError
from interp_steer.interchange.checked_files import real, torch_bytes, write_file
from interp_steer.interchange.conversion import (
    Incoming,
    added,
    check_plain,
    check_sizes,
    check_unprocessed,
    incoming,
    outgoing,
    refused,
)
from interp_steer.interchange.formats import Format
from interp_steer.interchange.steering_vectors import card_lost
from interp_steer.interventions.intervention import Edit, Intervention
from interp_steer.interventions.operations import Operation
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.sites import Site
from interp_steer.vectors.steering_vector import SteeringVector

_OUTPUTS = ("resid_post", "attn_out", "mlp_out")
_ENTRY = ("steering_vector", "steering_coefficient", "action", "bias", "head_index")


def read(
    content: Any, path: Path, *, model: HookedLM | None = None, name: str | None = None
) -> Incoming:
    """From hookpoints to a vector.

    Args:
        content: what the file holds.
        path: the file.
        model: the model that the vector belongs to; needed for other hookpoints than ``layers.k``
            and ``h.k``.
        name: what to call it.
    """
    if not isinstance(content, dict) or not content:
        raise InterchangeError(f"{path} should hold an entry for each hookpoint, and holds none")
    entries: dict[Site, Mapping[str, Any]] = {}
    for hookpoint, entry in content.items():
        site = _site(hookpoint, path, model)
        if site in entries:
            raise InterchangeError(f"{path} has two entries for {site}; make it again")
        entries[site] = _checked(hookpoint, entry, path)
    components = sorted({site.component for site in entries})
    actions = sorted({entry["action"] for entry in entries.values()})
    if len(components) > 1 or len(actions) > 1:
        both = " and ".join(components if len(components) > 1 else actions)
        raise InterchangeError(
            f"{path} has entries of {both}, and a vector has but one of them; split the file, and "
            "compose what is read with +"
        )
    directions: dict[int, Tensor] = {}
    targets: dict[int, float] = {}
    for site, entry in entries.items():
        where = f"steering_vector at {site} of {path}"
        direction = real(entry["steering_vector"], where)
        coefficient = _number(entry.get("steering_coefficient", 1.0), where)
        if entry["action"] == "add":
            direction = direction * coefficient
        else:
            targets[site.layer] = coefficient + _offset(entry, direction, where)
        directions[site.layer] = direction
    vector, lost = incoming(directions, path, tool="lm_eval", model=model, name=name)
    card = replace(vector.card, component=components[0])
    clamped = torch.tensor([targets[layer] for layer in vector.layers]) if targets else None
    return replace(vector, card=card, targets=clamped), lost


def _site(hookpoint: Any, path: Path, model: HookedLM | None) -> Site:
    if not isinstance(hookpoint, str) or not re.fullmatch(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+){0,8}",
                                                          hookpoint):  # fmt: skip
        raise InterchangeError(
            f"{path} has the hookpoint {str(hookpoint)[:80]!r}, which is no module's name; look "
            "what the file is"
        )
    if model is not None:
        found = {said: site for site, said in _hookpoints(model).items()}.get(hookpoint)
        if found is None:
            raise InterchangeError(
                f"{path} has the hookpoint {hookpoint!r}, which is no output at "
                f"{', '.join(_OUTPUTS)} of {model.describe()}; give the model it was made for"
            )
        return found
    match = re.fullmatch(r"(?:layers|h)\.([0-9]{1,4})", hookpoint)
    if match is None:
        raise InterchangeError(
            f"{path} has the hookpoint {hookpoint!r}; give model= to know which place that is"
        )
    return Site("resid_post", int(match[1]))


def _hookpoints(model: HookedLM) -> dict[Site, str]:
    """The name below ``base_model`` of each site that is a module's output."""
    names = {id(module): name for name, module in model.plain.base_model.named_modules()}
    found = {}
    for component in _OUTPUTS:
        for site in model.sites(component):
            try:
                module, side = model.module_of(site)
            except SiteError:  # an architecture that has no such place
                break
            if side == "output" and id(module) in names:
                found[site] = names[id(module)]
    return found


def _checked(hookpoint: str, entry: Any, path: Path) -> Mapping[str, Any]:
    if (
        not isinstance(entry, dict)
        or "steering_vector" not in entry
        or entry.get("action") not in ("add", "clamp")
    ):
        raise InterchangeError(
            f"{path} has an entry {hookpoint!r} without a steering_vector, or whose action is "
            "neither 'add' nor 'clamp'; look what the file is"
        )
    if (strange := sorted(map(str, set(entry) - {*_ENTRY, "description"}))) != []:
        raise InterchangeError(
            f"{path} has {', '.join(strange)[:80]} at {hookpoint!r}, which lm-eval does not know; "
            "look what the file is"
        )
    if entry.get("head_index") is not None:
        raise InterchangeError(
            f"{path} has a head_index at {hookpoint!r}: it counts an axis of heads that the output "
            "of no module has; fit a vector at component='z'"
        )
    if entry["action"] == "add" and entry.get("bias") is not None:
        raise InterchangeError(
            f"{path} adds with a bias at {hookpoint!r}, which lm-eval refuses as well; remove the "
            "bias, which only clamp has a use for"
        )
    return entry


def _offset(entry: Mapping[str, Any], direction: Tensor, where: str) -> float:
    """``<b, u>``: to clamp ``x - b`` to ``c`` and add ``b`` is to clamp ``x`` to that much more."""
    norm = float(direction.double().norm())
    if norm == 0:
        raise InterchangeError(f"{where} is zero, and has no direction to clamp; make it again")
    if entry.get("bias") is None:
        return 0.0
    bias = real(entry["bias"], f"the bias beside the {where}")
    if bias.shape != direction.shape:
        raise InterchangeError(
            f"the bias beside the {where} has {len(bias)} numbers, not {len(direction)}"
        )
    return float(bias.double() @ direction.double()) / norm


def _number(said: Any, where: str) -> float:
    plain = type(said) is Tensor and said.device.type == "cpu" and said.layout == torch.strided
    value = said.item() if plain and said.numel() == 1 else said
    if type(value) not in (int, float) or not abs(value) < 1e30:  # which nan is not either
        raise InterchangeError(f"the coefficient of the {where} is no finite number; give one")
    return float(value)


def write(
    what: SteeringVector | Intervention, path: Path, *, model: HookedLM | None = None
) -> tuple[str, ...]:
    """From a vector or an intervention to a ``steer_path``.

    Args:
        what: the vector, whose raw directions are added with coefficient 1; or an intervention,
            which may project and ablate.
        path: the file, ``.pt`` or ``.pth``.
        model: whose modules are named; without one they are called ``layers.k``, which is right for
            most architectures and wrong for GPT-2. Needed for ``attn_out`` and ``mlp_out``.
    """
    check_unprocessed(what, "lm-eval")
    lost: tuple[str, ...] = ()
    if isinstance(what, SteeringVector) and what.card.component not in ("attn_out", "mlp_out"):
        out = outgoing(what, "lm-eval", model)
        out = out.without((-1,), "lm-eval writes to what leaves a module")
        found = {Site("resid_post", place): _add(at) for place, at in out.places.items()}
        lost = (*out.lost, *card_lost(out))
    elif isinstance(what, SteeringVector):
        pairs = zip(what.sites, what.directions, strict=True)
        found = {site: _add(at.contiguous()) for site, at in pairs}
        lost = ("targets, baseline and card: the file has no room for them",)
    elif isinstance(what, Intervention) and what.edits:
        found = _entries(what)
    else:
        raise refused(what, "lm-eval")
    names = _names(found, model, str(path))
    content = {names[site]: entry for site, entry in found.items()}
    write_file(path, torch_bytes(content), LM_EVAL.suffixes)
    return lost


def _entries(what: Intervention) -> dict[Site, dict[str, Any]]:
    at_site: dict[Site, list[Edit]] = {}
    for edit in what.edits:
        check_plain(edit, "lm-eval")
        site = edit.direction.site
        if site.component == "resid_pre" and site.layer > 0:
            site = Site("resid_post", site.layer - 1)
        at_site.setdefault(site, []).append(edit)
    found = {}
    for site, edits in at_site.items():
        if all(edit.operation in (Operation.ADD, Operation.SHIFT) for edit in edits):
            sums = [added(Intervention((edit,)), edit.direction.site, "lm-eval") for edit in edits]
            found[site] = _add(torch.stack(sums).double().sum(0).float())
        elif len(edits) == 1 and edits[0].operation.sets_projection:
            unit = edits[0].direction.unit.detach().float().cpu()
            found[site] = _entry(unit, edits[0].value, "clamp")
        elif len(edits) == 1:
            raise InterchangeError(
                f"{edits[0]} neither adds nor clamps, which is all that lm-eval does; use add, "
                "shift, project or ablate"
            )
        else:
            raise InterchangeError(
                f"{what} does {len(edits)} things at {site}, and lm-eval holds one for each module "
                "unless all of them add; do them at several layers"
            )
    return found


def _add(direction: Float[Tensor, " d_model"]) -> dict[str, Any]:
    return _entry(direction, 1.0, "add")


def _entry(direction: Float[Tensor, " d_model"], coefficient: float, action: str) -> dict[str, Any]:
    values = (direction, coefficient, action, None, None)
    return dict(zip(_ENTRY, values, strict=True))


def _names(found: Mapping[Site, Mapping[str, Any]], model: HookedLM | None, path: str) -> dict:
    known = {} if model is None else _hookpoints(model)
    reached = {"resid_post"} if model is None else {site.component for site in known}
    for site, entry in found.items():
        if site.component not in reached:
            raise InterchangeError(
                f"{site} cannot be written for lm-eval, which hooks the outputs of modules: "
                f"{', '.join(_OUTPUTS)} can be, attn_out and mlp_out with model= to name them"
            )
        check_sizes(len(entry["steering_vector"]), site.layer + 1, model, f"what goes to {path}")
    return known or {site: f"layers.{site.layer}" for site in found}


def _recognises(content: Any, path: Path) -> bool:
    return isinstance(content, dict) and any(
        isinstance(entry, dict) and "steering_vector" in entry for entry in content.values()
    )


LM_EVAL = Format(
    name="lm_eval",
    tool="lm-evaluation-harness, --model steered",
    file=".pt of an entry for each module",
    layers="layers.k (h.k on GPT-2) is resid_post.k, from 0",
    acts="adds to the output of the module, or clamps its projection, at every position",
    kept="directions (float32, bit for bit); of an intervention project and ablate too, as clamp",
    lost="the card; of a vector targets and baseline; on reading, how much of a direction was its "
    "coefficient",
    refused="heads, resid_pre of layer 0, several edits at one site unless all add, steps, "
    "schedules, positions",
    suffixes=(".pt", ".pth"),
    recognises=_recognises,
    read=read,
    write=write,
)
