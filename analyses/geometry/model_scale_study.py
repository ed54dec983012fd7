"""One instruction in one model: what its vector is and does, by relative depth."""

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
from interp_steer.contrast.contrast_set import ContrastSet
from interp_steer.errors import RunError, StatisticsError
from interp_steer.geometry.exchange import Rows, capture_last_tokens
from interp_steer.geometry.layers import Discrimination, discrimination, spread
from interp_steer.statistics.effect_shares import ratio_of_means
from interp_steer.statistics.intervals import Interval, share
from interp_steer.statistics.records import mean_of, share_of
from interp_steer.statistics.resampling import draw_weights

DRAWS = 1000
"""Resamples of the prompts that the best depth is chosen on."""

CHANCE = 40
"""Random directions whose projections stand beside the vector's; one tells either side by chance,
and may be right or wrong about all prompts."""


@dataclass(frozen=True)
class Steering(Answering):
    """How strongly a vector is added, and where."""

    strength: tuple[float, ...] = (0.25, 0.5, 1.0)
    """How much is added, in units of the residual stream's length."""
    kl: float = 0.3
    """How much is added, in nats a token by which it moves predictions."""
    most_layers: int = 8
    """Layers of a model that are measured, spread evenly; all of them where it has no more."""
    n_random: int = 1
    """Random directions beside each vector."""


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
"""``depth`` is the layer's, relative to the last; ``setting`` is vector, random, none (asked
without the text instruction) or instruction; ``strength`` is as :class:`interp_steer.Strength`
writes it."""


@dataclass(frozen=True, eq=False)
class Study:
    """One instruction in one model."""

    vector: ist.SteeringVector
    select: InstructionFollowing
    test: InstructionFollowing
    fitted: tuple[Rows, Rows]
    """Of the fit split, with the instruction and without."""
    held: tuple[Rows, Rows]
    """Of the test split."""
    gauge: ist.StrengthCalibrator
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
        """Answer, read and fit.

        Args:
            model: the model.
            pairs: of all splits.
            config: how.
            ledger: where answers are kept.
            checkpoints: see :func:`interp_steer.fit`.

        Raises:
            RunError: for a model that does not follow the text instruction.
        """
        select, test = (
            InstructionFollowing.of(model, split, config, ledger)
            for split in (pairs.select, pairs.test)
        )
        for split in (select, test):
            if not split.obedient:
                raise RunError(
                    f"asked in words it follows {pairs.name} in none of {len(split.pairs)} prompts "
                    f"of the {split.pairs.split} split, so that nothing says what obeying would be"
                )
        vector = ist.fit(
            model, pairs.fit, options=ist.capture.CaptureOptions(checkpoint=checkpoints)
        )
        gauge = ist.StrengthCalibrator(
            model, vector, pairs.select.absent, max_new_tokens=config.graded_tokens
        )
        fitted, held = (capture_last_tokens(model, split) for split in (pairs.fit, pairs.test))
        return cls(vector, select, test, fitted, held, gauge, config)

    @property
    def layers(self) -> list[int]:
        """Those that are measured."""
        return spread_layers(len(self.vector.layers), self.config.most_layers)

    def depth(self, layer: int) -> float:
        """From 0 at the first layer to 1 at the last."""
        return layer / max(1, len(self.vector.layers) - 1)

    @property
    def strengths(self) -> list[ist.Strength]:
        """How much is added; last, what is equal in KL."""
        residual = [ist.Strength(amount, "residual") for amount in self.config.strength]
        return [*residual, ist.Strength(self.config.kl, "kl")]

    def acts(
        self,
        split: InstructionFollowing,
        layers: Sequence[int],
        strengths: Sequence[ist.Strength],
        draws: Sequence[int | None],
    ) -> list[EditedPrompts]:
        """The vector, and random ones, added to the prompts of a split that do not ask."""
        found = []
        for draw in draws:
            along = self.vector if draw is None else self.vector.like_random(draw)
            for layer in layers:
                for strength in strengths:
                    amount = self.gauge.coefficient(layer, strength)
                    steering = [along.at(layer).add(amount)] * len(split.pairs)
                    found.append(EditedPrompts(str(strength), False, steering, layer, draw))
        return found

    def rows(self, seed: int) -> Iterator[dict[str, Any]]:
        """Every estimate."""
        draws = [None, *range(seed, seed + self.config.n_random)]
        for side, setting in (("present", "instruction"), ("absent", "none")):
            yield self._row("success", None, share(self.test.strict[side]), setting)
        for layer in self.layers:
            for quantity, value, setting in self._separation(layer, seed):
                yield self._row(quantity, layer, value, setting)
        added = self.acts(self.test, self.layers, self.strengths, draws)
        yield from self._pooled("success", added, self.test.check_answers(added))
        equal = [act for act in added if act.name == str(self.strengths[-1])]
        yield from self._likelihood(equal, seed)
        layer, depth = self.best_depth(seed)
        yield self._row("best_depth", layer, depth, "vector", str(self.strengths[-1]))
        chosen = [act for act in added if act.layer == layer]
        yield from self._pooled("kl", chosen, self.test.damage(chosen))

    def best_depth(self, seed: int) -> tuple[int, Interval]:
        """The layer at which the obedient answer is likeliest at equal KL, on the select split, and
        its relative depth, the prompts being resampled."""
        acts = self.acts(self.select, self.layers, self.strengths[-1:], [None])
        scores = torch.tensor(
            [[s for s in each if s is not None] for each in self.select.score_answers(acts)],
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
        """How far the held-out sides are apart along the vector, and how long it is."""
        site = self.vector.at(layer).site

        def apart(vector: ist.SteeringVector, n_resamples: int) -> Discrimination:
            unit = vector.at(layer).unit.double()
            sides = (einsum(side[site].double(), unit, "pair d, d -> pair") for side in self.held)
            return discrimination(*sides, seed=seed, n_resamples=n_resamples)

        found = apart(self.vector, 1000)
        yield "auroc", found.auroc, "vector"
        yield "d_prime", found.d_prime, "vector"
        random = [self.vector.like_random(seed + draw) for draw in range(CHANCE)]
        by_chance = [apart(vector, 1).auroc.value for vector in random]
        low, high = np.quantile(by_chance, [0.025, 0.975])
        mean = float(np.mean(by_chance))
        yield "auroc", Interval(mean, float(low), float(high), CHANCE, "range of 95%"), "random"
        length = spread(*(side[site] for side in self.fitted)).relative_norm
        yield "relative_norm", length, "vector"

    def _likelihood(self, acts: Sequence[EditedPrompts], seed: int) -> Iterator[dict[str, Any]]:
        """The share of the text's effect on the log-probability of the obedient answer."""
        ends = [self.test.unedited(instructed) for instructed in (True, False)]
        told, plain, *scores = (
            np.array([score for score in each if score is not None])
            for each in self.test.score_answers([*ends, *acts])
        )
        for act, group in _alike(acts, scores):
            gained = np.mean(group, axis=0) - plain
            with suppress(StatisticsError):  # of an effect that may be nothing
                value = ratio_of_means(gained, told - plain, seed=seed)
                yield self._row("likelihood", act.layer, value, setting_of(act), act.name)

    def _pooled(
        self, quantity: str, acts: Sequence[EditedPrompts], values: Sequence[Sequence[float]]
    ) -> Iterator[dict[str, Any]]:
        """Means over prompts, the random directions of a prompt taken together."""
        queries = [pair.query for pair in self.test.pairs]
        for act, group in _alike(acts, values):
            pooled = {"value": list(chain(*group)), "query": queries * len(group)}
            frame = pl.DataFrame(pooled)
            mean = share_of if frame["value"].dtype == pl.Boolean else mean_of
            yield self._row(quantity, act.layer, mean(frame, "value"), setting_of(act), act.name)

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
    """At most so many of ``n`` layers, evenly from the first to the last."""
    return [round(float(at)) for at in np.linspace(0, n - 1, min(n, most))]


def setting_of(act: EditedPrompts) -> str:
    """Whether an act is along the vector or along a random direction."""
    return "vector" if act.draw is None else "random"


def _alike(
    acts: Sequence[EditedPrompts], values: Sequence[Any]
) -> Iterator[tuple[EditedPrompts, list[Any]]]:
    """The values of acts that differ in the random direction alone, with the first of them."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for number, act in enumerate(acts):
        groups.setdefault((act.name, act.layer, act.draw is None), []).append(number)
    for numbers in groups.values():
        yield acts[numbers[0]], [values[number] for number in numbers]
