"""Between our vectors and what files hold: a direction for each place in the residual stream.

Places are counted so that both names of one place coincide: place ``k`` is ``resid_post`` of layer
``k``, which is ``resid_pre`` of layer ``k + 1``, and -1 is the embedding, ``resid_pre`` of layer 0.
To write at either of the two names is the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from interp_steer.errors import InterchangeError, VectorError
from interp_steer.interchange.checked_files import real, safe_name
from interp_steer.interventions.intervention import Edit, Intervention
from interp_steer.interventions.operations import Operation
from interp_steer.interventions.schedules import fixed
from interp_steer.models.basis import UNPROCESSED, check_basis
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.identity import ModelIdentity
from interp_steer.models.sites import Site
from interp_steer.vectors.card import Card
from interp_steer.vectors.steering_vector import SteeringVector

Residual = Literal["resid_pre", "resid_post"]
"""The two names that a place in the residual stream has."""

Places = Mapping[int, Float[Tensor, " d_model"]]
"""A direction for each place."""

Incoming = tuple[SteeringVector, tuple[str, ...]]
"""A vector that was read, and what was left out of it."""

UNKNOWN = "unknown"
"""What a card says where a file says nothing."""


@dataclass(frozen=True)
class Outgoing:
    """What is to be written: directions that are added at places of the residual stream."""

    places: Places
    name: str
    model: str
    last: int | None
    """The place that leaves the last layer; None where nobody knows how many there are."""
    card: Card | None
    """None for an intervention, which was not fitted."""
    exact: bool
    """Whether it is an intervention, so that leaving out a place would change what it does."""
    lost: tuple[str, ...] = ()

    def without(self, places: Sequence[int | None], reason: str) -> Outgoing:
        """The same without some places, which are named among what is lost.

        Raises:
            InterchangeError: with the reason, for an intervention, or when nothing is left.
        """
        gone = [place for place in self.places if place in places]
        if not gone:
            return self
        left = {place: at for place, at in self.places.items() if place not in gone}
        sites = ", ".join(map(str, map(site_of, gone)))
        if self.exact or not left:
            raise InterchangeError(
                f"{self.name!r} acts at {sites}, which cannot be written: {reason}"
            )
        return replace(self, places=left, lost=(*self.lost, f"{sites}: {reason}"))

    def only(
        self, layer: int | None, reason: str
    ) -> tuple[int, Float[Tensor, " d_model"], tuple[str, ...]]:
        """The one place that a format of one direction holds.

        Args:
            layer: which, by the ``resid_post`` of that layer; needed where there are several.
            reason: why there can be but one.

        Returns:
            The place, its direction, and what is lost with the others.

        Raises:
            InterchangeError: for several and no choice, a choice that is not there, or one of an
                intervention's several.
        """
        if len(self.places) == 1 and layer in (None, *self.places):
            return (*next(iter(self.places.items())), ())
        if layer is None or layer not in self.places or self.exact:
            sites = ", ".join(map(str, map(site_of, self.places)))
            raise InterchangeError(
                f"{self.name!r} has directions at {sites}: "
                f"{reason}; choose one with layer=, the layer whose resid_post it is"
            )
        others = ", ".join(str(site_of(place)) for place in self.places if place != layer)
        return layer, self.places[layer], (f"{others}: {reason}",)


def site_of(place: int) -> Site:
    """The site that a place is, by its ``resid_post`` name where it has one."""
    return Site("resid_post", place) if place >= 0 else Site("resid_pre", 0)


def outgoing(what: object, tool: str, model: HookedLM | None) -> Outgoing:
    """The directions that a vector or an intervention adds to the residual stream.

    A vector gives its raw directions, which its tool scales; an intervention of ``add`` and
    ``shift`` gives what it adds, summed where it adds twice, to be applied with strength 1.

    Raises:
        InterchangeError: for what cannot be said by directions alone, with the reason, or another
            model's sizes.
        BasisError: for directions of processed weights; every tool steers the checkpoint's own.
    """
    check_unprocessed(what, tool)
    if isinstance(what, SteeringVector):
        card, name, lost = what.card, what.name, [] if what.targets is None else [_TARGETS]
        lost += [] if what.baseline is None else [_BASELINE]
        found = dict(zip(what.sites, what.directions, strict=True))
        owner, n_layers, d_model = card.model, card.n_layers, card.d_model
    elif isinstance(what, Intervention) and what.edits:
        card, lost, name = None, [], str(what)
        found = {site: added(what, site, tool) for site in what.sites}
        first = what.edits[0].direction
        owner, n_layers, d_model = first.model, first.n_layers, first.d_model
    else:
        raise refused(what, tool)
    places: dict[int, Tensor] = {}
    for site, direction in found.items():
        if site.component not in get_args(Residual):
            raise InterchangeError(
                f"{name!r} acts at {site}: {tool} writes to the residual stream alone, and "
                f"{_WHY.get(site.component, 'that is another place')}; fit it at "
                "component='resid_post'"
            )
        place = site.layer - (site.component == "resid_pre")
        # Two names of one place may both be there in an intervention.
        places[place] = places[place] + direction if place in places else direction
    check_sizes(d_model, max(places) + 1, model, name)
    known = card is None or card.fingerprint != ""  # or else it is what a file had
    if model is not None and known and n_layers != model.n_layers:
        raise _other_sizes(name, f"{n_layers} layers", model)
    places = {place: at.detach().float().cpu().contiguous() for place, at in sorted(places.items())}
    last = model.n_layers - 1 if model is not None else n_layers - 1 if known else None
    return Outgoing(places, name, owner, last, card, card is None, tuple(lost))


_TARGETS = "targets: no mean projections, so project() must be given one after reading"
_BASELINE = "baseline: no mean activation without the property"
_WHY = {
    "z": "the several heads of z have no one direction there",
    "attn_out": "what is added to attn_out enters the MLP of its block first",
    "mlp_out": "mlp_out is the output of another module",
}


def check_unprocessed(what: object, tool: str) -> None:
    """Refuse directions of processed weights: every tool steers the checkpoint's own.

    Raises:
        BasisError: naming the basis.
    """
    bases = [what.card.basis] if isinstance(what, SteeringVector) else getattr(what, "bases", ())
    for basis in bases:
        check_basis(basis, f"{what}", UNPROCESSED, f"the checkpoint, which {tool} steers")


def refused(what: object, tool: str) -> InterchangeError:
    """The error for anything but a vector or an intervention."""
    named = type(what).__name__
    reason = {
        "SteppedVector": "it has a direction for each generated step, and no format holds steps; "
        "take one step's, or serve it with ist.generate",
        "Direction": "it does not say what to do; give direction.shift(1.0) or .add(c)",
        "Intervention": "it does nothing; give one with an edit",
    }.get(named, "give a SteeringVector, or an Intervention of add and shift")
    return InterchangeError(f"a {named} cannot be written for {tool}: {reason}")


def added(what: Intervention, site: Site, tool: str) -> Float[Tensor, " *shape"]:
    """What the edits of an intervention add at a site, summed.

    Raises:
        InterchangeError: for an edit that does more than add the same everywhere, with the reason.
    """
    total = torch.zeros(())
    for edit in what.edits:
        if edit.direction.site != site:
            continue
        check_plain(edit, tool)
        if edit.operation not in (Operation.ADD, Operation.SHIFT):
            raise InterchangeError(
                f"{edit} depends on the activation, and {tool} only adds; use add or shift, or the "
                "format lm_eval, which can clamp"
            )
        vector = edit.direction.vector.detach().double()
        unit = edit.operation is Operation.ADD
        scale = edit.value / float(vector.norm()) if unit else edit.value
        total = total + scale * vector
    return total.float()


def check_plain(edit: Edit, tool: str) -> None:
    """Refuse an edit that is not the same at every position and step.

    Raises:
        InterchangeError: naming the schedule, the steps or the positions.
    """
    if edit.schedule != fixed:
        raise InterchangeError(
            f"{edit} has a schedule: {tool} acts with one strength at every step; use "
            "schedule=fixed, or serve it with ist.generate"
        )
    if edit.direction.stepped:
        raise InterchangeError(
            f"{edit} has a direction for each step: {tool} has one for all; take one step's"
        )
    if edit.positions != "all":
        raise InterchangeError(
            f"{edit} acts at some positions: {tool} acts at every one, the prompt's included; use "
            "positions='all'"
        )


def incoming(
    places: Places,
    path: Path,
    *,
    tool: str,
    model: HookedLM | None,
    name: str | None,
    component: Residual | None = None,
    card: Card | None = None,
    hint: str = UNKNOWN,
    position: str = UNKNOWN,
    lost: Sequence[str] = (),
) -> Incoming:
    """The vector that directions from a file make.

    Args:
        places: directions, float32.
        path: the file.
        tool: whose format it is.
        model: the model that the vector belongs to, to check sizes against; None to take the
            number of layers to be what the file has.
        name: what to call the vector; the card's or the file's name when None.
        component: by which of its two names a place is called; as the card says, or else
            ``"resid_post"``, when None.
        card: what the file says about itself, where we wrote it.
        hint: what the file says about the model.
        position: where in the prompt it was read, where the file says so.
        lost: what was left out so far.

    Returns:
        The vector, and what was left out.

    Raises:
        InterchangeError: for no directions, sizes that disagree, or a card that does not fit.
    """
    lost = list(lost)
    called = component or ("resid_post" if card is None else card.component)
    if called not in get_args(Residual):
        raise InterchangeError(
            f"component {called!r} is no place in the residual stream; use resid_post or resid_pre"
        )
    if called == "resid_post" and -1 in places:
        lost.append(
            "layer 0 of the file acts on the embedding, which is no resid_post; read it with "
            "component='resid_pre' to have it"
        )
        places = {place: at for place, at in places.items() if place >= 0}
    if not places:
        raise InterchangeError(
            f"{path} has no direction that can be taken" + "".join(f" ({each})" for each in lost)
        )
    widths = sorted({len(direction) for direction in places.values()})
    if len(widths) > 1:
        raise InterchangeError(f"{path} has directions of {widths} numbers; they must be equal")
    layers = [place + (called == "resid_pre") for place in sorted(places)]
    check_sizes(widths[0], layers[-1] + 1, model, str(path))
    chosen = name if name is not None else card.name if card is not None else path.stem
    if card is None:
        card = Card(
            name=chosen,
            identity=ModelIdentity(
                name=hint if model is None else model.name,
                fingerprint="" if model is None else model.fingerprint,
                n_layers=layers[-1] + 1 if model is None else model.n_layers,
                d_model=widths[0],
                revision=None if model is None else model.revision,
            ),
            component=called,
            position=position,
            estimator=tool,
            n=0,
            data_hash="",
        )
    vector = SteeringVector(
        directions=torch.stack([places[place] for place in sorted(places)]),
        targets=None,
        layers=tuple(layers),
        card=replace(card, name=safe_name(chosen, f"the name of {path}"), component=called),
    )
    return vector, tuple(lost)


def check_sizes(d_model: int, layers: int, model: HookedLM | None, whose: str) -> None:
    """Refuse directions that a model has no room for.

    Raises:
        InterchangeError: when the width differs, or a layer is beyond the model's.
    """
    if model is not None and (d_model != model.d_model or layers > model.n_layers):
        raise _other_sizes(whose, f"width {d_model} and at least {layers} layers", model)


def _other_sizes(whose: str, sizes: str, model: HookedLM) -> InterchangeError:
    return InterchangeError(
        f"{whose} is for a model of {sizes}, and {model.describe()} is another; give the model "
        "that it was made for"
    )


def card_text(card: Card) -> dict[str, Any]:
    """A card, as JSON holds it.

    Raises:
        InterchangeError: for a name that could not be read back.
    """
    safe_name(card.name, "the name of the vector")
    return card.to_flat()


def card_of(said: Any, where: str) -> Card:
    """A card that :func:`card_text` made.

    Raises:
        InterchangeError: for anything else.
    """
    try:
        return Card.read(said)
    except VectorError as error:
        raise InterchangeError(
            f"the card in {where} is damaged, or of a later version ({error}); write the file again"
        ) from error


def directions_of(tensors: Mapping[int, Any], path: Path) -> dict[int, Float[Tensor, " d_model"]]:
    """Tensors from a file by number, each checked and in float32.

    Raises:
        InterchangeError: for one that is no direction.
    """
    return {number: real(at, f"direction {number} of {path}") for number, at in tensors.items()}
