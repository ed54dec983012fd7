"""Convert lm-evaluation-harness' ``steer_path`` (``--model steered``).

The file is a ``.pt`` of one entry for each hookpoint::

    {"layers.5": {"steering_vector": v, "steering_coefficient": c, "action": "add" | "clamp",
                  "bias": b | None, "head_index": None}}

A hookpoint is a module's name below ``model.base_model``: ``layers.k`` on Llama, Mistral, Gemma,
Qwen and Phi, ``h.k`` on GPT-2. The tool writes to the module's output, at every position: ``add``
adds ``c v``; ``clamp`` subtracts ``b``, sets the projection on ``v / |v|`` to ``c`` and adds ``b``.

Layers: ``layers.k`` is ``resid_post`` of layer ``k``, from 0. With ``model=`` the modules that are
``attn_out`` and ``mlp_out`` of the model can be read and written too.

There is one entry for each hookpoint, so several edits of one site are added up before they are
written. ``project`` is ``clamp`` to the target, and ``ablate`` is ``clamp`` to 0. On reading, the
coefficients of ``add`` are multiplied into the directions, so that ``shift(1.0)`` has the effect of
the file; the values of ``clamp`` become the targets, so that ``project()`` has it. ``add`` with a
bias is refused, as lm-eval refuses it, and so is ``head_index``, an axis that no module's output
has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp_steer.errors import InterchangeError, SiteError
from interp_steer.interchange.checked_files import check_tensor, torch_bytes
from interp_steer.interchange.conversion import (
    Incoming,
    check_plain,
    check_sizes,
    check_unprocessed,
    refusal,
    sum_added,
)
from interp_steer.interchange.formats import Encoded, Format, OpenedFile
from interp_steer.interventions.intervention import Edit, Intervention
from interp_steer.interventions.operations import Operation
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.sites import Site
from interp_steer.vectors.steering_vector import SteeringVector

_OUTPUTS = ("resid_post", "attn_out", "mlp_out")
_ENTRY = ("steering_vector", "steering_coefficient", "action", "bias", "head_index")


class LmEval(Format):
    """The ``steer_path`` of lm-evaluation-harness, which can project and ablate too.

    Without a model, modules are called ``layers.k``, which is right for most architectures and
    wrong for GPT-2.
    """

    name = "lm_eval"
    tool = "lm-evaluation-harness, --model steered"
    called = "lm-eval"
    file = ".pt of an entry for each module"
    layers = "layers.k (h.k on GPT-2) is resid_post.k, from 0"
    acts = "adds to the output of the module, or clamps its projection, at every position"
    keeps = "directions (float32, bit for bit); of an intervention project and ablate too, as clamp"
    loses = (
        "the card; of a vector targets and baseline; on reading, how much of a direction was its "
        "coefficient"
    )
    refuses = (
        "heads, resid_pre of layer 0, several edits at one site unless all add, steps, "
        "schedules, positions"
    )
    suffixes = (".pt", ".pth")

    def recognises(self, file: OpenedFile) -> bool:
        return isinstance(file.content, dict) and any(
            isinstance(entry, dict) and "steering_vector" in entry
            for entry in file.content.values()
        )

    def decode(self, file: OpenedFile, model: HookedLM | None) -> Incoming:
        content, path = file.content, file.path
        if not isinstance(content, dict) or not content:
            raise InterchangeError(
                f"{path} should hold an entry for each hookpoint, and holds none"
            )
        entries: dict[Site, Mapping[str, Any]] = {}
        for hookpoint, entry in content.items():
            site = _site(hookpoint, path, model)
            if site in entries:
                raise InterchangeError(f"{path} has two entries for {site}; make it again")
            entries[site] = _check_entry(hookpoint, entry, path)
        components = sorted({site.component for site in entries})
        actions = sorted({entry["action"] for entry in entries.values()})
        if len(components) > 1 or len(actions) > 1:
            both = " and ".join(components if len(components) > 1 else actions)
            raise InterchangeError(
                f"{path} has entries of {both}, and a vector has only one of them; split the file, "
                "and compose what is read with +"
            )
        directions: dict[int, Tensor] = {}
        targets: dict[int, float] = {}
        for site, entry in entries.items():
            where = f"steering_vector at {site} of {path}"
            direction = check_tensor(entry["steering_vector"], where)
            coefficient = _number(entry.get("steering_coefficient", 1.0), where)
            if entry["action"] == "add":
                direction = direction * coefficient
            else:
                targets[site.layer] = coefficient + _offset(entry, direction, where)
            directions[site.layer] = direction
        return Incoming(
            directions, tool=self.name, component=components[0], targets=targets or None
        )

    def encode(self, vector: object, path: Path, model: HookedLM | None) -> Encoded:
        check_unprocessed(vector, self.called)
        lost: tuple[str, ...] = ()
        if isinstance(vector, SteeringVector) and vector.card.component in ("attn_out", "mlp_out"):
            pairs = zip(vector.sites, vector.directions, strict=True)
            entries = {site: _add(at.contiguous()) for site, at in pairs}
            lost = ("targets, baseline and card: the file has no room for them",)
        elif isinstance(vector, SteeringVector):
            out = self.place(vector, model)
            entries = {Site("resid_post", place): _add(at) for place, at in out.places.items()}
            lost = (*out.lost, *out.card_lost)
        elif isinstance(vector, Intervention) and vector.edits:
            entries = _entries(vector)
        else:
            raise refusal(vector, self.called)
        names = _names(entries, model, path)
        return {path: torch_bytes({names[site]: entry for site, entry in entries.items()})}, lost

    def explain_unreachable(self) -> str:
        return "lm-eval writes to what leaves a module"


def _site(hookpoint: Any, path: Path, model: HookedLM | None) -> Site:
    if not isinstance(hookpoint, str) or not re.fullmatch(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+){0,8}",
                                                          hookpoint):  # fmt: skip
        raise InterchangeError(
            f"{path} has the hookpoint {str(hookpoint)[:80]!r}, which is not a module's name; "
            "look what the file is"
        )
    if model is not None:
        site = {name: site for site, name in _hookpoints(model).items()}.get(hookpoint)
        if site is None:
            raise InterchangeError(
                f"{path} has the hookpoint {hookpoint!r}, which is not an output at "
                f"{', '.join(_OUTPUTS)} of {model.describe()}; give the model that it was made for"
            )
        return site
    match = re.fullmatch(r"(?:layers|h)\.([0-9]{1,4})", hookpoint)
    if match is None:
        raise InterchangeError(
            f"{path} has the hookpoint {hookpoint!r}; give model= to know which place that is"
        )
    return Site("resid_post", int(match[1]))


def _hookpoints(model: HookedLM) -> dict[Site, str]:
    """Return the name below ``base_model`` of each site that is a module's output."""
    names = {id(module): name for name, module in model.plain.base_model.named_modules()}
    hookpoints = {}
    for component in _OUTPUTS:
        for site in model.sites(component):
            try:
                module, side = model.module_of(site)
            except SiteError:  # an architecture that has no such place
                break
            if side == "output" and id(module) in names:
                hookpoints[site] = names[id(module)]
    return hookpoints


def _check_entry(hookpoint: str, entry: Any, path: Path) -> Mapping[str, Any]:
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
            "bias, which only clamp uses"
        )
    return entry


def _offset(entry: Mapping[str, Any], direction: Tensor, where: str) -> float:
    """Return ``<b, u>``: clamping ``x - b`` to ``c`` clamps ``x`` to ``c + <b, u>``."""
    norm = float(direction.double().norm())
    if norm == 0:
        raise InterchangeError(f"{where} is zero and cannot be clamped along; make it again")
    if entry.get("bias") is None:
        return 0.0
    bias = check_tensor(entry["bias"], f"the bias beside the {where}")
    if bias.shape != direction.shape:
        raise InterchangeError(
            f"the bias beside the {where} has {len(bias)} numbers, not {len(direction)}"
        )
    return float(bias.double() @ direction.double()) / norm


def _number(value: Any, where: str) -> float:
    plain = type(value) is Tensor and value.device.type == "cpu" and value.layout == torch.strided
    value = value.item() if plain and value.numel() == 1 else value
    if type(value) not in (int, float) or not abs(value) < 1e30:  # nan fails this too
        raise InterchangeError(f"the coefficient of the {where} is not a finite number; give one")
    return float(value)


def _entries(steer: Intervention) -> dict[Site, dict[str, Any]]:
    """Return the entry of each site at which an intervention acts."""
    at_site: dict[Site, list[Edit]] = {}
    for edit in steer.edits:
        check_plain(edit, "lm-eval")
        site = edit.direction.site
        if site.component == "resid_pre" and site.layer > 0:
            site = Site("resid_post", site.layer - 1)
        at_site.setdefault(site, []).append(edit)
    entries = {}
    for site, edits in at_site.items():
        if all(edit.operation in (Operation.ADD, Operation.SHIFT) for edit in edits):
            sums = [
                sum_added(Intervention((edit,)), edit.direction.site, "lm-eval") for edit in edits
            ]
            entries[site] = _add(torch.stack(sums).double().sum(0).float())
        elif len(edits) == 1 and edits[0].operation.sets_projection:
            unit = edits[0].direction.unit.detach().float().cpu()
            entries[site] = _entry(unit, edits[0].value, "clamp")
        elif len(edits) == 1:
            raise InterchangeError(
                f"{edits[0]} neither adds nor clamps, which is all that lm-eval does; use add, "
                "shift, project or ablate"
            )
        else:
            raise InterchangeError(
                f"{steer} does {len(edits)} things at {site}, and lm-eval holds one for each "
                "module unless all of them add; do them at several layers"
            )
    return entries


def _add(direction: Float[Tensor, " *shape"]) -> dict[str, Any]:
    return _entry(direction, 1.0, "add")


def _entry(direction: Float[Tensor, " *shape"], coefficient: float, action: str) -> dict[str, Any]:
    values = (direction, coefficient, action, None, None)
    return dict(zip(_ENTRY, values, strict=True))


def _names(
    entries: Mapping[Site, Mapping[str, Any]], model: HookedLM | None, path: Path
) -> Mapping[Site, str]:
    """Return the name of the module of each site."""
    known = {} if model is None else _hookpoints(model)
    reached = {"resid_post"} if model is None else {site.component for site in known}
    for site, entry in entries.items():
        if site.component not in reached:
            raise InterchangeError(
                f"{site} cannot be written for lm-eval, which hooks the outputs of modules: "
                f"{', '.join(_OUTPUTS)} can be, attn_out and mlp_out with model= to name them"
            )
        check_sizes(len(entry["steering_vector"]), site.layer + 1, model, f"what goes to {path}")
    return known or {site: f"layers.{site.layer}" for site in entries}
