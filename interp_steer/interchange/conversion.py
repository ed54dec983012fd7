"""Convert between our vectors and directions at places in the residual stream, which files hold.

Places are counted so that both names of a place coincide: place ``k`` is ``resid_post`` of layer
``k``, which is ``resid_pre`` of layer ``k + 1``, and -1 is the embedding, ``resid_pre`` of layer 0.
Writing at either of the two names has the same effect.
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
from interp_steer.interchange.checked_files import check_name, check_tensor
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

UNKNOWN = "unknown"
"""The entry of a card about which the file says nothing."""

OURS = "interp_steer"
"""The key of the card in JSON files that we write; the tools ignore keys that they do not know."""

CARD_LOST = "card: the file has no room for where it comes from"
"""The line about the card where a format does not hold it."""


@dataclass(frozen=True, eq=False)
class Incoming:
    """The directions in a file, float32, and what the file says about them."""

    places: Places
    tool: str
    """The tool whose format it is."""
    component: str | None = None
    """The component that the places are of; the card's, or else ``"resid_post"``, when None."""
    card: Card | None = None
    """The card, in a file that we wrote."""
    hint: str = UNKNOWN
    """The model, as the file names it."""
    position: str = UNKNOWN
    """The position in the prompt at which the directions were read."""
    targets: Mapping[int, float] | None = None
    """The mean projection for each place."""
    lost: Sequence[str] = ()
    """The lines about what was left out so far."""


@dataclass(frozen=True)
class Outgoing:
    """Directions to be written: each is added at a place of the residual stream."""

    places: Places
    name: str
    model: str
    last: int | None
    """The place of the last layer's output; None where the number of layers is unknown."""
    card: Card | None
    """None for an intervention, which was not fitted."""
    exact: bool
    """Whether it is an intervention, so that leaving out a place would change its effect."""
    lost: tuple[str, ...] = ()
    """The lines about what was left out so far."""

    def without(self, places: Sequence[int], reason: str) -> Outgoing:
        """Return the same without some places, which are added to what is lost.

        Raises:
            InterchangeError: with the reason, for an intervention, or when nothing is left.
        """
        if not places:
            return self
        left = {place: at for place, at in self.places.items() if place not in places}
        sites = ", ".join(map(str, map(site_of, places)))
        if self.exact or not left:
            raise InterchangeError(
                f"{self.name!r} acts at {sites}, which cannot be written: {reason}"
            )
        return replace(self, places=left, lost=(*self.lost, f"{sites}: {reason}"))

    def only(
        self, layer: int | None, reason: str
    ) -> tuple[int, Float[Tensor, " d_model"], tuple[str, ...]]:
        """Return the place for a format that holds one direction.

        Args:
            layer: the layer whose ``resid_post`` the place is; needed where there are several.
            reason: the reason why the format holds only one.

        Returns:
            The place, its direction, and the line about the other places, which are lost.

        Raises:
            InterchangeError: for several places and no choice, a choice that is not there, or one
                of an intervention's several places.
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

    @property
    def card_entry(self) -> dict[str, Any]:
        """Return the entry of a JSON object that holds the card; empty without a card."""
        return {} if self.card is None else {OURS: card_to_json(self.card)}

    @property
    def card_lost(self) -> tuple[str, ...]:
        """Return the line about the card, for a format that does not hold it."""
        return () if self.card is None else (CARD_LOST,)


def site_of(place: int) -> Site:
    """Return the site at a place, by its ``resid_post`` name where it has one."""
    return Site("resid_post", place) if place >= 0 else Site("resid_pre", 0)


def place_directions(vector: object, tool: str, model: HookedLM | None) -> Outgoing:
    """Return the directions that a vector or an intervention adds to the residual stream.

    A vector gives its raw directions, which the tool scales. An intervention of ``add`` and
    ``shift`` gives what it adds, summed over its edits, to be applied with strength 1.

    Args:
        vector: the vector or the intervention.
        tool: the tool's name, for error messages.
        model: the model, to check sizes against.

    Raises:
        InterchangeError: for an effect that directions alone do not have, with the reason, or
            another model's sizes.
        BasisError: for directions of processed weights, since every tool steers the checkpoint's.
    """
    check_unprocessed(vector, tool)
    if isinstance(vector, SteeringVector):
        card, name, owner = vector.card, vector.name, vector.card
        lost = [] if vector.targets is None else [_TARGETS_LOST]
        lost += [] if vector.baseline is None else [_BASELINE_LOST]
        directions = dict(zip(vector.sites, vector.directions, strict=True))
    elif isinstance(vector, Intervention) and vector.edits:
        card, lost, name, owner = None, [], str(vector), vector.edits[0].direction
        directions = {site: sum_added(vector, site, tool) for site in vector.sites}
    else:
        raise refusal(vector, tool)
    places = _group_by_place(directions, name, tool)
    check_sizes(owner.d_model, max(places) + 1, model, name)
    known = card is None or card.fingerprint != ""  # or else it is what a file had
    if model is not None and known and owner.n_layers != model.n_layers:
        raise _other_sizes(name, f"{owner.n_layers} layers", model)
    last = model.n_layers - 1 if model is not None else owner.n_layers - 1 if known else None
    return Outgoing(places, name, owner.model, last, card, card is None, tuple(lost))


def _group_by_place(directions: Mapping[Site, Tensor], name: str, tool: str) -> dict[int, Tensor]:
    places: dict[int, Tensor] = {}
    for site, direction in directions.items():
        if site.component not in get_args(Residual):
            raise InterchangeError(
                f"{name!r} acts at {site}: {tool} writes to the residual stream alone, and "
                f"{_WHY.get(site.component, 'that is another place')}; fit it at "
                "component='resid_post'"
            )
        place = site.layer - (site.component == "resid_pre")
        # Two names of one place may both be there in an intervention.
        places[place] = places[place] + direction if place in places else direction
    return {place: at.detach().float().cpu().contiguous() for place, at in sorted(places.items())}


_TARGETS_LOST = "targets: no mean projections, so project() must be given one after reading"
_BASELINE_LOST = "baseline: no mean activation without the property"
_WHY = {
    "z": "the several heads of z have no one direction there",
    "attn_out": "what is added to attn_out enters the MLP of its block first",
    "mlp_out": "mlp_out is the output of another module",
}


def check_unprocessed(vector: object, tool: str) -> None:
    """Refuse directions of processed weights, since every tool steers the checkpoint's own.

    Raises:
        BasisError: naming the basis.
    """
    is_vector = isinstance(vector, SteeringVector)
    bases = [vector.card.basis] if is_vector else getattr(vector, "bases", ())
    for basis in bases:
        check_basis(basis, f"{vector}", UNPROCESSED, f"the checkpoint, which {tool} steers")


def refusal(thing: object, tool: str) -> InterchangeError:
    """Return the error for anything but a vector or an intervention."""
    kind = type(thing).__name__
    reason = {
        "SteppedVector": "it has a direction for each generated step, and no format holds steps; "
        "take one step's, or serve it with ist.generate",
        "Direction": "it does not say what to do; give direction.shift(1.0) or .add(c)",
        "Intervention": "it does nothing; give one with an edit",
    }.get(kind, "give a SteeringVector, or an Intervention of add and shift")
    return InterchangeError(f"a {kind} cannot be written for {tool}: {reason}")


def sum_added(steer: Intervention, site: Site, tool: str) -> Float[Tensor, " *shape"]:
    """Sum what the edits of an intervention add at a site.

    Raises:
        InterchangeError: for an edit that does more than add the same everywhere, with the reason.
    """
    total = torch.zeros(())
    for edit in steer.edits:
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


def check_residual(component: str | None) -> None:
    """Refuse a component that is not a name of a place in the residual stream.

    Raises:
        InterchangeError: naming the two that are.
    """
    if component not in (None, *get_args(Residual)):
        raise InterchangeError(
            f"component {component!r} is not a place in the residual stream; use resid_post or "
            "resid_pre"
        )


def make_vector(
    incoming: Incoming, path: Path, model: HookedLM | None, name: str | None
) -> tuple[SteeringVector, tuple[str, ...]]:
    """Make a vector of the directions in a file.

    Args:
        incoming: the directions, and what the file says about them.
        path: the file.
        model: the model that the vector belongs to, to check sizes against; without a model the
            number of layers is taken to be what the file has.
        name: the name of the vector; by default the card's or the file's.

    Returns:
        The vector, and what was left out.

    Raises:
        InterchangeError: for no directions, sizes that disagree, or a card that does not fit.
    """
    card, lost, places = incoming.card, list(incoming.lost), incoming.places
    component = incoming.component or ("resid_post" if card is None else card.component)
    if incoming.component is None:
        check_residual(component)
    if component == "resid_post" and -1 in places:
        lost.append(
            "layer 0 of the file acts on the embedding, which is not a resid_post; read it with "
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
    layers = [place + (component == "resid_pre") for place in sorted(places)]
    check_sizes(widths[0], layers[-1] + 1, model, str(path))
    chosen = name if name is not None else card.name if card is not None else path.stem
    if card is None:
        card = Card(
            name=chosen,
            identity=ModelIdentity(
                name=incoming.hint if model is None else model.name,
                fingerprint="" if model is None else model.fingerprint,
                n_layers=layers[-1] + 1 if model is None else model.n_layers,
                d_model=widths[0],
                revision=None if model is None else model.revision,
            ),
            component=component,
            position=incoming.position,
            estimator=incoming.tool,
            n=0,
            data_hash="",
        )
    targets = incoming.targets
    vector = SteeringVector(
        directions=torch.stack([places[place] for place in sorted(places)]),
        targets=None if targets is None else torch.tensor([targets[k] for k in sorted(places)]),
        layers=tuple(layers),
        card=replace(card, name=check_name(chosen, f"the name of {path}"), component=component),
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


def card_to_json(card: Card) -> dict[str, Any]:
    """Return a card as JSON holds it.

    Raises:
        InterchangeError: for a name that could not be read back.
    """
    check_name(card.name, "the name of the vector")
    return card.to_flat()


def parse_card(value: Any, where: str) -> Card:
    """Return the card that :func:`card_to_json` wrote.

    Raises:
        InterchangeError: for anything else.
    """
    try:
        return Card.read(value)
    except VectorError as error:
        raise InterchangeError(
            f"the card in {where} is damaged, or of a later version ({error}); write the file again"
        ) from error


def find_card(content: Mapping[str, Any], where: str) -> Card | None:
    """Return the card in a JSON object; None in a file that we did not write.

    Raises:
        InterchangeError: for a damaged card.
    """
    value = content.get(OURS)
    return None if value is None else parse_card(value, where)


def check_directions(
    tensors: Mapping[int, Any], path: Path
) -> dict[int, Float[Tensor, " d_model"]]:
    """Return the tensors of a file by number, each checked and in float32.

    Raises:
        InterchangeError: for a tensor that cannot be a direction.
    """
    return {
        number: check_tensor(at, f"direction {number} of {path}") for number, at in tensors.items()
    }
