"""Follow an added vector through the layers after it: how far it survives, turns and grows."""

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

Result = TypeVar("Result")

LENS_POSITIONS = 32
"""The number of positions whose full logit-lens predictions are held at a time."""


@dataclass(frozen=True, eq=False)
class Propagation:
    """The effect of adding ``c u`` at layer ``l`` on the residual stream at layers ``m``.

    With ``dh_m = h_m(steered) - h_m(plain)`` on the same tokens. Every number is the mean over the
    positions of a prompt that are read. Undefined numbers are nan, such as the angle of a zero
    change.
    """

    direction: str
    """The direction that was added and its site, as canonical lines write them."""
    coefficients: tuple[float, ...]
    layers: tuple[int, ...]
    survival: Float64[Tensor, "coefficient prompt layer"]
    """``<dh_m, u> / c``: the share of the addition that survives along its own direction."""
    growth: Float64[Tensor, "coefficient prompt layer"]
    """``|dh_m| / |c|``: the length of the whole change, along any direction."""
    to_added: Float64[Tensor, "coefficient prompt layer"]
    """The cosine of ``dh_m`` with the addition ``c u``: how far the change has turned."""
    to_fitted: Float64[Tensor, "coefficient prompt layer"]
    """The cosine of ``dh_m`` with ``c v_m``, the vector fitted at ``m``; nan for a layer without a
    fitted vector."""
    inflation: Float64[Tensor, "coefficient prompt layer"]
    """``|h_m(steered)| / |h_m(plain)|``."""
    kl: Float64[Tensor, "coefficient prompt layer"]
    """The KL divergence from the plain to the steered prediction of the logit lens at ``m``, in
    nats."""
    lens: Float[Tensor, "coefficient layer vocabulary"]
    """The mean change of each token's log-probability under the logit lens, over the prompts."""

    def erased(self, threshold: float) -> Int[Tensor, "coefficient prompt"]:
        """Return the first layer at which less than a share of the addition survives; -1 where all
        survive.

        Args:
            threshold: the share, of ``survival``.
        """
        below = self.survival < threshold
        first = torch.tensor(self.layers)[below.long().argmax(dim=-1)]
        return torch.where(below.any(dim=-1), first, -1)

    def records(self) -> pl.DataFrame:
        """Return a row per coefficient, prompt and layer, with a column per quantity; nan is
        null."""
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
        """Return the tokens that the logit lens raises and lowers most at each layer.

        Args:
            model: the model whose tokenizer names the tokens.
            top: the number of tokens on either side.

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
"""The quantities of a :class:`Propagation` for each prompt and layer."""


@dataclass(frozen=True)
class PropagationOptions:
    """Options of where changes are read and how the passes are run."""

    layers: Sequence[int] | None = None
    """The layers at which changes of ``resid_post`` are read; None for the layer of the direction
    and all layers after it."""
    batch_size: int = 16
    """Rows run together. A batch that does not fit in memory is halved."""
    through: Through | None = None
    """See :func:`interp_steer.generate`."""


DEFAULT_OPTIONS = PropagationOptions()


def propagate(
    model: HookedLM,
    prompts: Sequence[Query],
    direction: Direction,
    coefficients: Sequence[float],
    *,
    answers: Sequence[str | Sequence[int]] | None = None,
    fitted: SteeringVector | None = None,
    positions: str = "all",
    options: PropagationOptions = DEFAULT_OPTIONS,
) -> Propagation:
    """Add a direction at a layer and follow the change of the residual stream in the layers after
    it.

    Plain and steered passes run on the same tokens. Only the activations of one batch, at the
    positions that are read, are held. The logit lens is TransformerLens' ``logit_readout``, with
    the model's own final norm. In a model of 16 bits, changes below its rounding are lost.

    Args:
        model: the model.
        prompts: texts or message lists.
        direction: the direction to add, at its site: any component of the residual stream's width.
        coefficients: factors on the unit direction, in units of an activation's length
            (:class:`interp_steer.StrengthCalibrator` converts other units); 0 changes nothing.
        answers: answers along which changes are read, at each position that emits one of their
            tokens; usually the unsteered answers. Without answers the last token of the prompt is
            read.
        fitted: the vector of the property at the layers after, at ``resid_post``.
        positions: the positions to steer, see :func:`interp_steer.interventions.positions.span`.
        options: the layers that are read, and how the passes are run.

    Raises:
        GenerationError: for an empty list of prompts, an empty prompt, or answers that do not go
            with the prompts.
        InterventionError: for an empty list of coefficients, a direction at ``z`` or one for each
            step, or a direction or fitted vector that does not fit the model.
        SiteError: for a layer that the model does not have.

    Example:
        >>> change = propagate(model, prompts, vector.at(3), [4.0], fitted=vector)
        >>> change.survival.mean(dim=1).shape  # [coefficient, layer]
        torch.Size([1, 5])
    """
    _check_inputs(model, direction, coefficients, fitted)
    steering = [direction.add(coefficient, positions) for coefficient in coefficients]
    if answers is None:
        requests = prepare(model, prompts, steering[0], options.batch_size)
        rows = [(request, Answer.given(())) for request in requests]
    else:
        rows = prepare_answers(model, prompts, answers, steering[0], options.batch_size)
    layers = options.layers
    if layers is None:
        layers = range(direction.site.layer, model.n_layers)
    sites = [Site("resid_post", layer).check(model.n_layers) for layer in sorted(set(layers))]
    reader = _Reader(
        model, direction, tuple(coefficients), steering, fitted, sites, options.through
    )

    lengths = [len(request.tokens) + len(answer.tokens) for request, answer in rows]
    order, batches = batches_by_length(lengths, options.batch_size)
    parts: list[Tensor] = []
    lens: Tensor | None = None
    with tqdm(total=len(rows), desc="propagate", unit="prompt", disable=None) as bar:
        for batch in (order[rows] for rows in batches):
            for numbers, change in in_parts([rows[row] for row in batch], reader, model.device):
                parts.append(numbers)
                lens = change if lens is None else lens + change
            bar.update(len(batch))
    assert lens is not None  # there is at least one prompt
    back = torch.argsort(torch.tensor(order))
    by_quantity = torch.cat(parts, dim=2)[:, :, back]
    return Propagation(
        direction=str(direction),
        coefficients=tuple(float(coefficient) for coefficient in coefficients),
        layers=tuple(site.layer for site in sites),
        **dict(zip(QUANTITIES, by_quantity, strict=True)),
        lens=lens / len(rows),
    )


@dataclass(frozen=True, eq=False)
class _Reader:
    """Runs the rows of a batch, plain and under each coefficient, and compares the two."""

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
        """Return the quantities, and the changes of the lensed log-probabilities summed over
        rows."""
        batch = self.model.pad([[*request.tokens, *answer.tokens[:-1]] for request, answer in rows])
        width = batch.tokens.shape[1]
        # Padded on the left, so that the positions that emit an answer are the last ones.
        read = [max(1, len(answer.tokens)) for _, answer in rows]
        prompt = torch.tensor([i for i, n in enumerate(read) for _ in range(n)])
        place = torch.tensor([width - n + k for n in read for k in range(n)])
        cells = _Cells(prompt, place, torch.tensor(read, dtype=torch.float64))

        def keep(_: str, activation: Tensor) -> Tensor:
            return activation

        plain = self._run(batch, rows, unsteered, cells, keep)
        numbers, changes = [], []
        for coefficient, steering in zip(self.coefficients, self.steering, strict=True):
            compare = partial(self._compare, plain, cells, coefficient)
            by_name = self._run(batch, rows, steering, cells, compare)
            by_site = [by_name[site.hook_name] for site in self.sites]
            numbers.append(torch.stack([quantities for quantities, _ in by_site], dim=-1))
            changes.append(torch.stack([change for _, change in by_site]))
        return torch.stack(numbers, dim=1), torch.stack(changes)

    def _run(
        self,
        batch: PaddedBatch,
        rows: Sequence[AnsweredRequest],
        steering: Intervention,
        cells: _Cells,
        look: Callable[[str, Tensor], Result],
    ) -> dict[str, Result]:
        """Run one pass; return the result of ``look`` at the cells of each site."""
        clock = Clock()
        results: dict[str, Result] = {}

        def reader(name: str) -> Any:
            def read(activation: Tensor, hook: Any = None) -> None:
                # Gathering first keeps little in memory and converts little to float64.
                results[name] = look(name, activation[cells.prompt, cells.place].detach())

            return read

        reading: Hooks = [(site.hook_name, reader(site.hook_name)) for site in self.sites]
        hooks = [*row_hooks([steering], clock), *reading]  # read after what is written
        with torch.inference_mode(), forward_under(self.model, hooks, self.through) as forward:
            clock.begin(batch.mask, torch.tensor([len(request.tokens) for request, _ in rows]))
            forward(batch, None, 0)
        return results

    def _compare(
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
        length = _row_norms(change)
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
                _row_norms(after) / _row_norms(before),
                kl,
            ]
        )
        return cells.mean(by_cell.cpu()), moved

    def _fitted_at(self, name: str) -> Float64[Tensor, " d"] | None:
        """Return the unit direction that was fitted at a site."""
        if self.fitted is not None:
            for site in self.fitted.sites:
                if site.hook_name == name:
                    return self.fitted.at(site.layer).unit.double()
        return None

    def _lens(
        self, plain: Tensor, steered: Tensor, cells: _Cells
    ) -> tuple[Float64[Tensor, " cell"], Float[Tensor, " vocabulary"]]:
        """Return the divergence of lensed predictions, and their changes summed over prompts."""
        apart, moved = [], None
        for start in range(0, len(plain), LENS_POSITIONS):
            part = slice(start, start + LENS_POSITIONS)
            before, after = (_lens_log_probs(self.model, side[part]) for side in (plain, steered))
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
    """The number of cells of each prompt."""

    @property
    def share(self) -> Float64[Tensor, " cell"]:
        """Return the weight of each cell in the mean of its prompt."""
        return 1 / self.count[self.prompt]

    def mean(self, by_cell: Float64[Tensor, "quantity cell"]) -> Float64[Tensor, "quantity prompt"]:
        """Compute the mean over the positions of each prompt."""
        total = by_cell.new_zeros(len(by_cell), len(self.count))
        return total.index_add(1, self.prompt, by_cell) / self.count


def _lens_log_probs(
    model: HookedLM, residual: Float[Tensor, "cell d"]
) -> Float64[Tensor, "cell vocabulary"]:
    """Compute the predictions of the logit lens.

    They are normalised in float64, because float32 rounding would hide small divergences.
    """
    logits = model.wrapped.readout(residual)
    return torch.log_softmax(logits.double(), dim=-1)


def _row_norms(rows: Float64[Tensor, "cell d"]) -> Float64[Tensor, " cell"]:
    return reduce(rows**2, "cell d -> cell", "sum").sqrt()


def _check_inputs(
    model: HookedLM,
    direction: Direction,
    coefficients: Sequence[float],
    fitted: SteeringVector | None,
) -> None:
    if not coefficients:
        raise InterventionError("the list of coefficients is empty; give at least one")
    if direction.site.component == "z" or direction.stepped:
        raise InterventionError(
            f"{direction} has shape {tuple(direction.vector.shape)}; follow one direction of the "
            "residual stream's width, at resid_pre, resid_post, attn_out or mlp_out"
        )
    if fitted is not None and (
        fitted.card.component != "resid_post" or fitted.directions.shape[1:] != (model.d_model,)
    ):
        raise InterventionError(
            f"the fitted {fitted} at {fitted.card.component} is not a vector of the residual "
            f"stream of {model.describe()}; fit one with ist.fit(model, pairs)"
        )
