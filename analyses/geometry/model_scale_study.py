"""Measure one instruction's vector in one model, by relative depth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from einops import einsum

import interp_steer as ist
from analyses.kit.instruction_following import Answering, EditedPrompts, InstructionFollowing
from interp_steer.contrast import ContrastSet
from interp_steer.errors import OptionError, StatisticsError
from interp_steer.geometry import Discrimination, Rows, capture_last_tokens, discrimination, spread
from interp_steer.statistics import Interval, draw_weights, mean_of, ratio_of_means, share, share_of

DRAWS = 1000
"""Bootstrap draws of the prompts on which the best depth is chosen."""

N_RANDOM_PROJECTED = 40
"""Random directions whose AUROC is compared with the vector's. A single random direction separates
the two sides by chance, in either orientation, sometimes perfectly."""


@dataclass(frozen=True)
class Steering(Answering):
    """Options for adding a vector."""

    strength: tuple[float, ...] = (0.25, 0.5, 1.0)
    """Norms of the addition, in units of the residual stream's norm."""
    kl: float = 0.3
    """Strength of a further addition: the KL divergence of the predictions, in nats per token."""
    most_layers: int = 8
    """Maximum number of layers that are measured in a model, evenly spaced."""
    n_random: int = 1
    """Random directions that each vector is compared with."""


SCHEMA = {
    "quantity": pl.String,
    "layer": pl.Int64,
    "depth": pl.Float64,
    "setting": pl.String,
    "strength": pl.String,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "n": pl.Int64,
}
"""``depth`` is the layer's depth relative to the last layer; ``setting`` is vector, random, none
(unsteered, without the text instruction) or instruction; ``strength`` is written as by
:class:`interp_steer.Strength`."""


@dataclass(frozen=True, eq=False)
class Study:
    """The vector and the answers of one instruction in one model."""

    vector: ist.SteeringVector
    select: InstructionFollowing
    test: InstructionFollowing
    fitted: tuple[Rows, Rows]
    """Activations of the fit split, with and without the instruction."""
    held: tuple[Rows, Rows]
    """Activations of the test split."""
    calibrator: ist.StrengthCalibrator
    config: Steering

    @classmethod
    def of(
        cls,
        model: ist.HookedLM,
        pairs: ContrastSet,
        config: Steering,
        ledger: ist.Ledger,
        checkpoints: Path | None = None,
    ) -> Study:
        """Generate answers, capture activations and fit the vector.

        Args:
            model: the model.
            pairs: the pairs of all splits.
            config: the options of the additions and answers.
            ledger: the ledger of stored answers.
            checkpoints: see :func:`interp_steer.fit`.

        Raises:
            OptionError: if the model does not follow the text instruction.
        """
        select, test = (
            InstructionFollowing.of(model, split, config, ledger)
            for split in (pairs.select, pairs.test)
        )
        for split in (select, test):
            if not split.obedient:
                raise OptionError(
                    f"the model follows the text instruction {pairs.name} in none of "
                    f"{len(split.pairs)} prompts of the {split.pairs.split} split, so that the "
                    "effect of the vector has no reference"
                )
        vector = ist.fit(
            model, pairs.fit, options=ist.capture.CaptureOptions(checkpoint=checkpoints)
        )
        calibrator = ist.StrengthCalibrator(
            model, vector, pairs.select.absent, max_new_tokens=config.graded_tokens
        )
        fitted, held = (capture_last_tokens(model, split) for split in (pairs.fit, pairs.test))
        return cls(vector, select, test, fitted, held, calibrator, config)

    @property
    def layers(self) -> list[int]:
        """Return the layers that are measured."""
        return spread_layers(len(self.vector.layers), self.config.most_layers)

    def depth(self, layer: int) -> float:
        """Return the relative depth, from 0 at the first layer to 1 at the last."""
        return layer / max(1, len(self.vector.layers) - 1)

    @property
    def strengths(self) -> list[ist.Strength]:
        """Return the strengths of the addition; the last is in units of KL."""
        residual = [ist.Strength(amount, "residual") for amount in self.config.strength]
        return [*residual, ist.Strength(self.config.kl, "kl")]

    def list_edits(
        self,
        split: InstructionFollowing,
        layers: Sequence[int],
        strengths: Sequence[ist.Strength],
        draws: Sequence[int | None],
    ) -> list[EditedPrompts]:
        """List additions of the vector and of random directions to prompts without instruction."""
        additions = []
        for draw in draws:
            along = self.vector if draw is None else self.vector.like_random(draw)
            for layer in layers:
                for strength in strengths:
                    amount = self.calibrator.coefficient(layer, strength)
                    steering = [along.at(layer).add(amount)] * len(split.pairs)
                    additions.append(EditedPrompts(str(strength), False, steering, layer, draw))
        return additions

    def rows(self, seed: int) -> Iterator[dict[str, Any]]:
        """Yield all records."""
        draws = [None, *range(seed, seed + self.config.n_random)]
        for side, setting in (("present", "instruction"), ("absent", "none")):
            yield self._row("success", None, share(self.test.strict[side]), setting)
        for layer in self.layers:
            for quantity, value, setting in self._separation(layer, seed):
                yield self._row(quantity, layer, value, setting)
        added = self.list_edits(self.test, self.layers, self.strengths, draws)
        yield from self._pooled("success", added, self.test.check_answers(added))
        equal = [edit for edit in added if edit.name == str(self.strengths[-1])]
        yield from self._likelihood(equal, seed)
        layer, depth = self.best_depth(seed)
        yield self._row("best_depth", layer, depth, "vector", str(self.strengths[-1]))
        chosen = [edit for edit in added if edit.layer == layer]
        yield from self._pooled("kl", chosen, self.test.damage(chosen))

    def best_depth(self, seed: int) -> tuple[int, Interval]:
        """Choose the layer at which the answer that follows is most likely, at equal KL.

        Returns:
            The layer, chosen on the select split, and its relative depth with a bootstrap interval
            over prompts.
        """
        edits = self.list_edits(self.select, self.layers, self.strengths[-1:], [None])
        scores = torch.tensor(
            [[s for s in scores if s is not None] for scores in self.select.score_answers(edits)],
            dtype=torch.float64,
        )
        n = scores.shape[1]
        weights = draw_weights(n, DRAWS, seed)
        drawn = einsum(weights, scores, "draw prompt, layer prompt -> draw layer").argmax(dim=1)
        depths = np.array([self.depth(layer) for layer in self.layers])[drawn.numpy()]
        best = self.layers[int(scores.mean(dim=1).argmax())]
        low, high = np.quantile(depths, [0.025, 0.975])
        value = self.depth(best)
        ends = min(float(low), value), max(float(high), value)
        return best, Interval(value, *ends, n, "bootstrap 95%")

    def _separation(self, layer: int, seed: int) -> Iterator[tuple[str, Interval, str]]:
        """Yield the separation of the held-out sides along the vector, and the vector's norm."""
        site = self.vector.at(layer).site

        def separate(vector: ist.SteeringVector, n_resamples: int) -> Discrimination:
            unit = vector.at(layer).unit.double()
            sides = (einsum(side[site].double(), unit, "pair d, d -> pair") for side in self.held)
            return discrimination(*sides, seed=seed, n_resamples=n_resamples)

        separation = separate(self.vector, 1000)
        yield "auroc", separation.auroc, "vector"
        yield "d_prime", separation.d_prime, "vector"
        random = [self.vector.like_random(seed + draw) for draw in range(N_RANDOM_PROJECTED)]
        by_chance = [separate(vector, 1).auroc.value for vector in random]
        low, high = np.quantile(by_chance, [0.025, 0.975])
        mean = float(np.mean(by_chance))
        yield (
            "auroc",
            Interval(mean, float(low), float(high), N_RANDOM_PROJECTED, "range of 95%"),
            "random",
        )
        length = spread(*(side[site] for side in self.fitted)).relative_norm
        yield "relative_norm", length, "vector"

    def _likelihood(self, edits: Sequence[EditedPrompts], seed: int) -> Iterator[dict[str, Any]]:
        """Yield the share of the text instruction's effect on the log-probability of the answer."""
        ends = [self.test.unedited(instructed) for instructed in (True, False)]
        with_text, without_text, *scores = (
            np.array([score for score in row if score is not None])
            for row in self.test.score_answers([*ends, *edits])
        )
        for edit, group in _group_draws(edits, scores):
            gained = np.mean(group, axis=0) - without_text
            with suppress(StatisticsError):  # the text instruction may have no effect
                value = ratio_of_means(gained, with_text - without_text, seed=seed)
                yield self._row("likelihood", edit.layer, value, name_setting(edit), edit.name)

    def _pooled(
        self, quantity: str, edits: Sequence[EditedPrompts], values: Sequence[Sequence[float]]
    ) -> Iterator[dict[str, Any]]:
        """Yield means over prompts; the random directions of a prompt are resampled together."""
        queries = [pair.query for pair in self.test.pairs]
        for edit, group in _group_draws(edits, values):
            pooled = {"value": list(chain(*group)), "query": queries * len(group)}
            frame = pl.DataFrame(pooled)
            mean = share_of if frame["value"].dtype == pl.Boolean else mean_of
            yield self._row(
                quantity, edit.layer, mean(frame, "value"), name_setting(edit), edit.name
            )

    def _row(
        self,
        quantity: str,
        layer: int | None,
        value: Interval | None,
        setting: str,
        strength: str | None = None,
    ) -> dict[str, Any]:
        assert value is not None  # there is at least one prompt
        depth = None if layer is None else self.depth(layer)
        ends = (value.value, value.low, value.high, value.n)
        return dict(zip(SCHEMA, (quantity, layer, depth, setting, strength, *ends), strict=True))


def spread_layers(n: int, most: int) -> list[int]:
    """Return at most ``most`` of ``n`` layers, evenly spaced from the first to the last."""
    return [round(float(at)) for at in np.linspace(0, n - 1, min(n, most))]


def name_setting(edit: EditedPrompts) -> str:
    """Return the setting of an edit: along the vector or along a random direction."""
    return "vector" if edit.draw is None else "random"


def _group_draws(
    edits: Sequence[EditedPrompts], values: Sequence[Any]
) -> Iterator[tuple[EditedPrompts, list[Any]]]:
    """Group the values of edits that differ only in the random direction, by the first edit."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for number, edit in enumerate(edits):
        groups.setdefault((edit.name, edit.layer, edit.draw is None), []).append(number)
    for numbers in groups.values():
        yield edits[numbers[0]], [values[number] for number in numbers]
