"""What becomes of an added vector in the layers after it: how far it lasts, turns and grows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import polars as pl
import torch
from einops import einsum, reduce
from jaxtyping import Float, Float64, Int
from torch import Tensor
from tqdm import tqdm

from interp_steer.errors import InterventionError
from interp_steer.generation.inputs import prepare
from interp_steer.generation.request import Answer
from interp_steer.generation.teacher_forcing import AnsweredRequest, prepare_answers
from interp_steer.interventions.intervention import Direction, Intervention, row_hooks, unsteered
from interp_steer.interventions.positions import Clock
from interp_steer.models.batching import PaddedBatch, batches_by_length, in_parts
from interp_steer.models.forward import Through, forward_under
from interp_steer.models.hooked_lm import HookedLM, Hooks
from interp_steer.models.prompts import Query
from interp_steer.models.sites import Site
from interp_steer.vectors.steering_vector import SteeringVector

Found = TypeVar("Found")

LENS_POSITIONS = 32
"""Positions whose whole lensed predictions are held at a time."""


@dataclass(frozen=True, eq=False)
class Propagation:
    """What an addition of ``c u`` at layer ``l`` does to the residual stream at layers ``m``.

    With ``dh_m = h_m(steered) - h_m(plain)`` on the same tokens, each in the mean over the
    positions of a prompt that are read. Undefined numbers, such as the angle of no change, are nan.
    """

    direction: str
    """What was added and where, as canonical lines write it."""
    coefficients: tuple[float, ...]
    layers: tuple[int, ...]
    survival: Float64[Tensor, "coefficient prompt layer"]
    """``<dh_m, u> / c``: the share of the addition that is still there along its own direction."""
    growth: Float64[Tensor, "coefficient prompt layer"]
    """``|dh_m| / |c|``: the length of the whole change, along whatever direction."""
    to_added: Float64[Tensor, "coefficient prompt layer"]
    """Cosine of ``dh_m`` with what was added, ``c u``: how far the change has turned."""
    to_fitted: Float64[Tensor, "coefficient prompt layer"]
    """Cosine of ``dh_m`` with ``c v_m``, the vector fitted at ``m``; nan where none was."""
    inflation: Float64[Tensor, "coefficient prompt layer"]
    """``|h_m(steered)| / |h_m(plain)|``."""
    kl: Float64[Tensor, "coefficient prompt layer"]
    """From the plain to the steered prediction of the logit lens at ``m``, in nats."""
    lens: Float[Tensor, "coefficient layer vocabulary"]
    """Mean change of each token's lensed log-probability, over the prompts."""

    def erased(self, threshold: float) -> Int[Tensor, "coefficient prompt"]:
        """The first layer at which less than a share of the addition survives; -1 for none.

        Args:
            threshold: of ``survival``.
        """
        below = self.survival < threshold
        first = torch.tensor(self.layers)[below.long().argmax(dim=-1)]
        return torch.where(below.any(dim=-1), first, -1)

    def records(self) -> pl.DataFrame:
        """A row per coefficient, prompt and layer, with a column per quantity; nan is null."""
        index = torch.cartesian_prod(
            *(torch.arange(size) for size in self.survival.shape)
        )  # coefficient, prompt, layer
        columns: dict[str, Any] = {
            "coefficient": [self.coefficients[i] for i in index[:, 0].tolist()],
            "prompt": index[:, 1].tolist(),
            "layer": [self.layers[i] for i in index[:, 2].tolist()],
        }
        columns |= {name: getattr(self, name).flatten().tolist() for name in QUANTITIES}
        return pl.DataFrame(columns).with_columns(pl.col(QUANTITIES).fill_nan(None))

    def tokens(self, model: HookedLM, top: int = 10) -> pl.DataFrame:
        """The tokens that the logit lens sees rise and fall most at each layer.

        Args:
            model: whose tokenizer names them.
            top: how many on either side.

        Returns:
            Columns ``coefficient``, ``layer``, ``side`` (``raised`` or ``lowered``), ``rank`` from
            1, ``token`` and ``score``, in standard deviations over the vocabulary.
        """
        rows = []
        for coefficient, by_layer in zip(self.coefficients, self.lens, strict=True):
            for layer, change in zip(self.layers, by_layer, strict=True):
                score = (change - change.mean()) / change.std().clamp(min=1e-12)
                for side, sign in (("raised", 1), ("lowered", -1)):
                    best = (sign * score).topk(min(top, len(score)))
                    for rank, (value, token) in enumerate(
                        zip(best.values.tolist(), best.indices.tolist(), strict=True), 1
                    ):
                        text = model.tokenizer.decode([token])
                        rows.append((coefficient, layer, side, rank, text, sign * value))
        schema = ["coefficient", "layer", "side", "rank", "token", "score"]
        return pl.DataFrame(rows, schema=schema, orient="row")


QUANTITIES = ("survival", "growth", "to_added", "to_fitted", "inflation", "kl")
"""The numbers of a :class:`Propagation` that there are for each prompt and layer."""


def propagate(
    model: HookedLM,
    prompts: Sequence[Query],
    direction: Direction,
    coefficients: Sequence[float],
    *,
    answers: Sequence[str | Sequence[int]] | None = None,
    fitted: SteeringVector | None = None,
    layers: Sequence[int] | None = None,
    positions: str = "all",
    batch_size: int = 16,
    through: Through | None = None,
) -> Propagation:
    """Add a direction at a layer and follow the change of the residual stream after it.

    Plain and steered passes run on the same tokens. Of activations no more is held than those of a
    batch at the positions that are read; the logit lens is TransformerLens' ``logit_readout``, with
    the model's own final norm. In a model of 16 bits changes below its rounding are lost.

    Args:
        model: the model.
        prompts: texts or message lists.
        direction: what is added, and where: at any component of the residual stream's width.
        coefficients: of its unit direction, in units of an activation's length
            (:class:`interp_steer.Gauge` gives them from other units); 0 changes nothing.
        answers: along which changes are read, at each position that emits one of their tokens;
            usually the unsteered ones. Without them the last token of the prompt is read.
        fitted: the vector of the property at the layers after, at ``resid_post``.
        layers: where changes of ``resid_post`` are read; that of the direction and all after it
            when not given.
        positions: where it is added, see :func:`interp_steer.interventions.positions.span`.
        batch_size: rows run together; a batch that does not fit in memory is halved.
        through: as for :func:`interp_steer.generate`.

    Raises:
        GenerationError: for no prompts, an empty one, or answers that do not go with them.
        InterventionError: for no coefficients, a direction at ``z`` or one for each step, or a
            direction or fitted vector that does not fit the model.
        SiteError: for a layer that the model does not have.

    Example:
        >>> found = propagate(model, prompts, vector.at(3), [4.0], fitted=vector)  # doctest: +SKIP
        >>> found.survival.mean(dim=1)  # [coefficient, layer]                      # doctest: +SKIP
    """
    _check(model, direction, coefficients, fitted)
    steering = [direction.add(coefficient, positions) for coefficient in coefficients]
    if answers is None:
        requests = prepare(model, prompts, steering[0], batch_size)
        rows = [(request, Answer.given(())) for request in requests]
    else:
        rows = prepare_answers(model, prompts, answers, steering[0], batch_size)
    first = direction.site.layer
    chosen = range(first, model.n_layers) if layers is None else layers
    sites = [Site("resid_post", layer).check(model.n_layers) for layer in sorted(set(chosen))]
    reader = _Reader(model, direction, tuple(coefficients), steering, fitted, sites, through)

    lengths = [len(request.tokens) + len(answer.tokens) for request, answer in rows]
    order, batches = batches_by_length(lengths, batch_size)
    found: list[Tensor] = []
    lens: Tensor | None = None
    with tqdm(total=len(rows), desc="propagate", unit="prompt", disable=None) as bar:
        for batch in (order[rows] for rows in batches):
            for numbers, change in in_parts([rows[row] for row in batch], reader, model.device):
                found.append(numbers)
                lens = change if lens is None else lens + change
            bar.update(len(batch))
    assert lens is not None  # there is at least one prompt
    back = torch.argsort(torch.tensor(order))
    by_quantity = torch.cat(found, dim=2)[:, :, back]
    return Propagation(
        direction=str(direction),
        coefficients=tuple(float(coefficient) for coefficient in coefficients),
        layers=tuple(site.layer for site in sites),
        **dict(zip(QUANTITIES, by_quantity, strict=True)),
        lens=lens / len(rows),
    )


@dataclass(frozen=True, eq=False)
class _Reader:
    """Runs the rows of a batch, plain and under each coefficient, and compares as it goes."""

    model: HookedLM
    direction: Direction
    coefficients: tuple[float, ...]
    steering: list[Intervention]
    fitted: SteeringVector | None
    sites: list[Site]
    through: Through | None

    def __call__(
        self, rows: Sequence[AnsweredRequest]
    ) -> tuple[
        Float64[Tensor, "quantity coefficient prompt layer"],
        Float[Tensor, "coefficient layer vocabulary"],
    ]:
        """The quantities, and the changes of the lensed log-probabilities summed over the rows."""
        batch = self.model.pad([[*asked.tokens, *answer.tokens[:-1]] for asked, answer in rows])
        width = batch.tokens.shape[1]
        # Padded on the left, so that the positions that emit an answer are the last ones.
        read = [max(1, len(answer.tokens)) for _, answer in rows]
        prompt = torch.tensor([i for i, n in enumerate(read) for _ in range(n)])
        place = torch.tensor([width - n + k for n in read for k in range(n)])
        cells = _Cells(prompt, place, torch.tensor(read, dtype=torch.float64))

        def kept(_: str, activation: Tensor) -> Tensor:
            return activation

        plain = self._run(batch, rows, unsteered, cells, kept)
        numbers, changes = [], []
        for coefficient, steering in zip(self.coefficients, self.steering, strict=True):
            compare = partial(self._compared, plain, cells, coefficient)
            found = self._run(batch, rows, steering, cells, compare)
            each = [found[site.hook_name] for site in self.sites]
            numbers.append(torch.stack([quantities for quantities, _ in each], dim=-1))
            changes.append(torch.stack([change for _, change in each]))
        return torch.stack(numbers, dim=1), torch.stack(changes)

    def _run(
        self,
        batch: PaddedBatch,
        rows: Sequence[AnsweredRequest],
        steering: Intervention,
        cells: _Cells,
        look: Callable[[str, Tensor], Found],
    ) -> dict[str, Found]:
        """One pass; what ``look`` finds in the residual stream at the cells of each site."""
        clock = Clock()
        found: dict[str, Found] = {}

        def reader(name: str) -> Any:
            def read(activation: Tensor, hook: Any = None) -> None:
                # Gathered first: little is held, and little is made exact.
                found[name] = look(name, activation[cells.prompt, cells.place].detach())

            return read

        reading: Hooks = [(site.hook_name, reader(site.hook_name)) for site in self.sites]
        hooks = [*row_hooks([steering], clock), *reading]  # read after what is written
        with torch.inference_mode(), forward_under(self.model, hooks, self.through) as forward:
            clock.begin(batch.mask, torch.tensor([len(request.tokens) for request, _ in rows]))
            forward(batch, None, 0)
        return found

    def _compared(
        self,
        plain: Mapping[str, Tensor],
        cells: _Cells,
        coefficient: float,
        name: str,
        steered: Tensor,
    ) -> tuple[Float64[Tensor, "quantity prompt"], Float[Tensor, " vocabulary"]]:
        before, after = plain[name].double(), steered.double()
        change = after - before
        sign = -1.0 if coefficient < 0 else 1.0
        size = abs(coefficient) or torch.nan
        unit = sign * self.direction.unit.double().to(change.device)
        along = einsum(change, unit, "cell d, d -> cell")
        length = _lengths(change)
        fitted = torch.full_like(length, torch.nan)
        if (towards := self._fitted_at(name)) is not None:
            towards = sign * towards.to(change.device)
            fitted = einsum(change, towards, "cell d, d -> cell") / length
        kl, moved = self._lens(plain[name], steered, cells)
        by_cell = torch.stack(
            [
                along / size,
                length / size,
                along / length,
                fitted,
                _lengths(after) / _lengths(before),
                kl,
            ]
        )
        return cells.mean(by_cell.cpu()), moved

    def _fitted_at(self, name: str) -> Float64[Tensor, " d"] | None:
        """The unit direction that was fitted at a site."""
        if self.fitted is not None:
            for site in self.fitted.sites:
                if site.hook_name == name:
                    return self.fitted.at(site.layer).unit.double()
        return None

    def _lens(
        self, plain: Tensor, steered: Tensor, cells: _Cells
    ) -> tuple[Float64[Tensor, " cell"], Float[Tensor, " vocabulary"]]:
        """Divergence of the lensed predictions, and the sum over prompts of their changes."""
        apart, moved = [], None
        for start in range(0, len(plain), LENS_POSITIONS):
            part = slice(start, start + LENS_POSITIONS)
            before, after = (_log_probs(self.model, side[part]) for side in (plain, steered))
            change = after - before
            apart.append(-einsum(before.exp(), change, "cell v, cell v -> cell"))
            total = einsum(cells.share[part].to(change), change, "cell, cell v -> v").cpu().float()
            moved = total if moved is None else moved + total
        assert moved is not None  # there is at least one cell
        return torch.cat(apart).clamp(min=0).to(plain.device), moved


@dataclass(frozen=True, eq=False)
class _Cells:
    """The positions of a batch that are read."""

    prompt: Int[Tensor, " cell"]
    place: Int[Tensor, " cell"]
    count: Float64[Tensor, " prompt"]
    """How many there are of each prompt."""

    @property
    def share(self) -> Float64[Tensor, " cell"]:
        """What each cell counts in the mean of its prompt."""
        return 1 / self.count[self.prompt]

    def mean(self, by_cell: Float64[Tensor, "quantity cell"]) -> Float64[Tensor, "quantity prompt"]:
        """The mean over the positions of each prompt."""
        total = by_cell.new_zeros(len(by_cell), len(self.count))
        return total.index_add(1, self.prompt, by_cell) / self.count


def _log_probs(
    model: HookedLM, residual: Float[Tensor, "cell d"]
) -> Float64[Tensor, "cell vocabulary"]:
    """What the logit lens predicts; normalised in float64, or small divergences would be noise."""
    logits = model.wrapped.readout(residual)
    return torch.log_softmax(logits.double(), dim=-1)


def _lengths(rows: Float64[Tensor, "cell d"]) -> Float64[Tensor, " cell"]:
    return reduce(rows**2, "cell d -> cell", "sum").sqrt()


def _check(
    model: HookedLM,
    direction: Direction,
    coefficients: Sequence[float],
    fitted: SteeringVector | None,
) -> None:
    if not coefficients:
        raise InterventionError("there are no coefficients; give at least one")
    if direction.site.component == "z" or direction.stepped:
        raise InterventionError(
            f"{direction} has shape {tuple(direction.vector.shape)}; follow one direction of the "
            "residual stream's width, at resid_pre, resid_post, attn_out or mlp_out"
        )
    if fitted is not None and (
        fitted.card.component != "resid_post" or fitted.directions.shape[1:] != (model.d_model,)
    ):
        raise InterventionError(
            f"the fitted {fitted} at {fitted.card.component} is no vector of the residual stream "
            f"of {model.describe()}; fit one with ist.fit(model, pairs)"
        )
