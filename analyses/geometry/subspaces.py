"""Compare the vectors of many properties: angles, shared parts and number of dimensions.

At each layer the difference in means of every instruction is read, at the last token of the prompt,
and scaled to length 1. Measured on the set of directions:

1. the cosines between directions of the same family and of two families (a family is the part of
   an id before the colon);
2. the principal angles between the subspaces of two families, compared with random subspaces of the
   same dimensions;
3. the cosine of each direction with the mean of all the *others*. A direction that only encodes "an
   instruction is present", or the length of the prompt, would show here;
4. the effective rank of the set, compared with random directions.

One map shows all directions of all layers on the two principal axes of the unit directions
(classical scaling of their distances). The caption states how often the nearest direction of
*another* instruction is of the same family, in the whole space.

Intervals come from a bootstrap of the pairs of prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import polars as pl
import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize
from tqdm import tqdm

import figures
import interp_steer as ist
from analyses.kit.instruction_sets import FORMATS, contrast_sets, instruction_id
from figures.geometry.embedding_map import embedding_map
from figures.geometry.similarity import similarity_by_layer, similarity_map
from figures.style.drawing import interval_text, percent
from interp_steer.errors import OptionError
from interp_steer.geometry import effective_rank, principal_angles, shared_part
from interp_steer.statistics import Interval, bootstrap_mean, normal_interval, resampled_means

MOST_ANGLE_DRAWS = 50
"""Maximum number of draws for angles, which are slow to compute."""


@dataclass(frozen=True)
class Config:
    """The model, the instructions and the sample sizes."""

    model: str = "burattino-instruct"
    """Model to analyse: a bundled model, a Hugging Face name, or a folder."""
    instruction: tuple[str, ...] = FORMATS
    """IFEval ids of three or more instructions whose vectors are compared."""
    data: str | None = None
    """File of IFEval's requests; see layer_sweep. By default the requests of the bundled world."""
    n: int = 50
    """Pairs of prompts that each vector is fitted on."""
    draws: int = 200
    """Number of bootstrap draws of the pairs, and of random directions."""
    layer: int | None = None
    """Layer of the map of cosines and of the summary. By default the middle."""


def main(config: Config, run: ist.Run) -> None:
    """Read every instruction once, then compare the directions layer by layer."""
    if len(set(config.instruction)) < 3:
        raise OptionError(
            f"--instruction {' '.join(config.instruction)}: give three or more instructions"
        )
    model = ist.load(config.model)
    layer = model.n_layers // 2 if config.layer is None else config.layer
    ist.Site("resid_post", layer).check(model.n_layers)
    sets = contrast_sets(
        config.instruction, run.seed, data=config.data, fit=config.n, select=0, test=0
    )
    run.used(model, *sets.values())
    differences = {
        name: read_differences(model, pairs.fit)
        for name, pairs in tqdm(sets.items(), desc="read", unit="instruction", disable=None)
    }
    layers = [
        LayerDirections.of(differences, at, config.draws, run.seed)
        for at in tqdm(range(model.n_layers), desc="layers", disable=None)
    ]
    cosines = pl.concat([directions.cosines() for directions in layers])
    shared = pl.concat([directions.shared(run.seed) for directions in layers])
    ranks = pl.concat([directions.ranks(run.seed) for directions in layers])
    angles = pl.concat([directions.angles(run.seed) for directions in layers])
    points = place_directions(layers)
    for name, frame in (
        ("records", cosines),
        ("shared", shared),
        ("ranks", ranks),
        ("angles", angles),
        ("map", points),
    ):
        run.write_records(frame, name)
    nearest, chance = count_neighbours(layers)
    run.leave(summary=summarise_layer(layers[layer], run.seed) | {"layer": layer})
    if nearest is not None:
        run.leave(summary={"nearest_alike": nearest, "nearest_alike.chance": chance})
    run.draw("cosines", similarity_map(layers[layer].matrix.numpy(), list(differences), layer))
    run.draw("cosines_by_layer", similarity_by_layer(average_by_family(layers)))
    run.draw("shared_by_layer", similarity_by_layer(shared))
    run.draw("rank_by_layer", figures.interval_curves(
        ranks,
        "layer",
        "layer",
        "effective rank (singular values)",
        chance="random directions",
    ))  # fmt: skip
    run.draw("angles_by_layer", figures.interval_curves(
        angles, "layer", "layer", "mean principal angle (degrees)", chance="random subspaces"
    ))  # fmt: skip
    caption = describe_map(points, len(sets), model.n_layers, nearest, chance)
    run.draw("map", replace(embedding_map(points), caption=caption))


def describe_map(
    points: pl.DataFrame,
    n_instructions: int,
    n_layers: int,
    nearest: Interval | None,
    chance: float,
) -> str:
    """Return the caption of the map of all directions.

    Args:
        points: the directions on their two principal axes.
        n_instructions: the number of instructions.
        n_layers: the number of layers.
        nearest: the share of directions whose nearest neighbour is of the same family, if known.
        chance: the same share by chance.
    """
    caption = (
        f"Unit directions of {n_instructions} instructions at {n_layers} layers, by family, on "
        f"their two principal axes, which explain {percent(points['explained'][0])} of their "
        "variance."
    )
    if nearest is None:
        return caption
    return (
        "In the whole space the nearest direction of another instruction is of the same "
        f"family for {interval_text(nearest)} of the directions ({percent(chance)} by chance). "
        f"{caption}"
    )


def read_differences(
    model: ist.HookedLM, pairs: ist.ContrastSet
) -> Float[Tensor, "pair layer d_model"]:
    """Return the difference of the two prompts of each pair, at every layer."""
    present, absent = (
        ist.capture.capture_moments(model, side, keep_rows=True).rows
        for side in (pairs.present, pairs.absent)
    )
    assert present is not None and absent is not None
    return torch.stack(
        [present.values[site].double() - absent.values[site].double() for site in model.sites()],
        dim=1,
    )


@dataclass(frozen=True, eq=False)
class LayerDirections:
    """The unit directions of all instructions at one layer."""

    layer: int
    names: tuple[str, ...]
    units: Float[Tensor, "vector d_model"]
    draws: Float[Tensor, "draw vector d_model"]
    """Unit directions of bootstrap draws of the pairs."""
    n: int
    """Number of pairs of each instruction."""

    @classmethod
    def of(
        cls, differences: Mapping[str, Tensor], layer: int, draws: int, seed: int
    ) -> LayerDirections:
        """Compute the directions of one layer, and of each bootstrap draw."""
        here = [rows[:, layer] for rows in differences.values()]
        return cls(
            layer=layer,
            names=tuple(differences),
            units=normalize(torch.stack([rows.mean(dim=0) for rows in here]), dim=-1),
            draws=normalize(
                torch.stack([resampled_means(rows, draws, seed) for rows in here], dim=1), dim=-1
            ),
            n=min(map(len, here)),
        )

    @property
    def matrix(self) -> Float[Tensor, "vector vector"]:
        """Return the cosine of every two directions."""
        return einsum(self.units, self.units, "a d, b d -> a b")

    @property
    def matrices(self) -> Float[Tensor, "draw vector vector"]:
        """Return the cosine of every two directions, for each draw."""
        return einsum(self.draws, self.draws, "draw a d, draw b d -> draw a b")

    @property
    def alike(self) -> Bool[Tensor, "vector vector"]:
        """Return whether two directions are of different instructions of one family."""
        families = [get_family(name) for name in self.names]
        same = torch.tensor([[first == second for second in families] for first in families])
        return same & ~torch.eye(len(families), dtype=torch.bool)

    def random(self, draws: int, seed: int) -> Float[Tensor, "draw vector d_model"]:
        """Sample the same number of random unit directions, uniformly on the sphere."""
        generator = torch.Generator().manual_seed(seed)
        shape = (draws, *self.units.shape)
        return normalize(torch.randn(shape, generator=generator, dtype=torch.float64), dim=-1)

    def cosines(self) -> pl.DataFrame:
        """Return a table with a row for every two instructions."""
        matrix, matrices = self.matrix, self.matrices
        rows = []
        for a, b in combinations(range(len(self.names)), 2):
            cosine = normal_interval(float(matrix[a, b]), matrices[:, a, b], self.n, (-1.0, 1.0))
            names = (self.names[a], self.names[b])
            rows.append((self.layer, *names, cosine.value, cosine.low, cosine.high))
        columns = ["layer", "instruction_a", "instruction_b", "cosine", "low", "high"]
        return pl.DataFrame(rows, schema=columns, orient="row")

    def mean_cosine(self, *, alike: bool) -> Interval | None:
        """Return the mean cosine within families or between families; None without such pairs."""
        chosen = torch.triu(self.alike if alike else ~self.alike, diagonal=1)
        if not chosen.any():
            return None
        value = float(self.matrix[chosen].mean())
        return normal_interval(value, self.matrices[:, chosen].mean(dim=1), self.n, (-1.0, 1.0))

    def shared(self, seed: int) -> pl.DataFrame:
        """Return each direction's cosine with the mean of the others, and of random directions."""
        own, drawn = shared_part(self.units), shared_part(self.draws)
        low, high = np.quantile(shared_part(self.random(len(self.draws), seed)), [0.025, 0.975])
        rows = []
        for at, name in enumerate(self.names):
            cosine = normal_interval(float(own[at]), drawn[:, at], self.n, (-1.0, 1.0))
            ends = (cosine.value, cosine.low, cosine.high)
            rows.append((name, self.layer, "the mean of the others", *ends))
            rows.append((name, self.layer, "random directions", 0.0, float(low), float(high)))
        columns = ["instruction", "layer", "comparison", "cosine", "low", "high"]
        return pl.DataFrame(rows, schema=columns, orient="row")

    def rank(self) -> Interval:
        """Return the effective rank of all directions."""
        value, drawn = float(effective_rank(self.units)), effective_rank(self.draws)
        return normal_interval(value, drawn, self.n, (1.0, float(len(self.units))))

    def ranks(self, seed: int) -> pl.DataFrame:
        """Return the effective rank of the directions and of random directions."""
        rank = self.rank()
        random = effective_rank(self.random(len(self.draws), seed)).numpy()
        low, high = np.quantile(random, [0.025, 0.975])
        rows = [
            (self.layer, "instructions", rank.value, rank.low, rank.high),
            (self.layer, "random directions", float(random.mean()), float(low), float(high)),
        ]
        return pl.DataFrame(rows, schema=_CURVE, orient="row")

    def angles(self, seed: int) -> pl.DataFrame:
        """Return the mean principal angle between families, and between random subspaces."""
        families: dict[str, list[int]] = {}
        for at, name in enumerate(self.names):
            families.setdefault(get_family(name), []).append(at)
        if len(families) < 2:
            families = {name: [at] for at, name in enumerate(self.names)}
        pairs = list(combinations(families.values(), 2))
        few = min(MOST_ANGLE_DRAWS, len(self.draws))
        drawn = [_average_angles(units, pairs) for units in self.draws[:few]]
        random = [_average_angles(units, pairs) for units in self.random(few, seed)]
        value = _average_angles(self.units, pairs)
        angle = normal_interval(value, torch.tensor(drawn), self.n, (0.0, 90.0))
        low, high = np.quantile(random, [0.025, 0.975])
        rows = [
            (self.layer, "families of instructions", angle.value, angle.low, angle.high),
            (self.layer, "random subspaces", float(np.mean(random)), float(low), float(high)),
        ]
        return pl.DataFrame(rows, schema=_CURVE, orient="row")


_CURVE = ["layer", "series", "value", "low", "high"]


def _average_angles(
    units: Float[Tensor, "vector d_model"], pairs: Sequence[tuple[list[int], list[int]]]
) -> float:
    """Return the mean principal angle, averaged over pairs of families, in degrees."""
    angles = [float(principal_angles(units[a], units[b]).mean()) for a, b in pairs]
    return float(np.rad2deg(np.mean(angles)))


def average_by_family(layers: Sequence[LayerDirections]) -> pl.DataFrame:
    """Return the mean cosine within families and between families, layer by layer."""
    rows = []
    for directions in layers:
        for alike, name in ((True, "one family"), (False, "two families")):
            mean = directions.mean_cosine(alike=alike)
            if mean is not None:
                rows.append((directions.layer, name, mean.value, mean.low, mean.high))
    columns = ["layer", "comparison", "cosine", "low", "high"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def place_directions(layers: Sequence[LayerDirections]) -> pl.DataFrame:
    """Project all directions on their two principal axes."""
    units = rearrange(
        [directions.units for directions in layers], "layer vector d -> (layer vector) d"
    )
    try:
        from sklearn.decomposition import PCA
    except ImportError:
        raise OptionError(
            "scikit-learn is not installed; install it: pip install 'interp_steer[geometry]'"
        ) from None
    pca = PCA(2, svd_solver="full")
    where = pca.fit_transform(units.numpy())
    return pl.DataFrame(
        {
            "instruction": [name for directions in layers for name in directions.names],
            "label": [get_family(name) for directions in layers for name in directions.names],
            "layer": [directions.layer for directions in layers for _ in directions.names],
            "x": where[:, 0],
            "y": where[:, 1],
            "explained": float(pca.explained_variance_ratio_.sum()),
        }
    ).sort("layer", maintain_order=True)


def count_neighbours(layers: Sequence[LayerDirections]) -> tuple[Interval | None, float]:
    """Return how often the nearest direction of another instruction is of the same family.

    Instructions without another instruction of their family are left out. The bootstrap resamples
    instructions, with all their layers.

    Returns:
        The share, None without families; and the share that is expected by chance.
    """
    units = rearrange(
        [directions.units for directions in layers], "layer vector d -> (layer vector) d"
    )
    names = np.array([name for directions in layers for name in directions.names])
    families = np.array([get_family(name) for name in names])
    others = names[:, None] != names
    relatives = others & (families[:, None] == families)
    cosines = einsum(units, units, "a d, b d -> a b").numpy()
    nearest = np.where(others, cosines, -np.inf).argmax(axis=1)
    known = relatives.any(axis=1)
    if not known.any():
        return None, 0.0
    hits = relatives[np.arange(len(names)), nearest][known].astype(float)
    chance = (relatives.sum(axis=1) / others.sum(axis=1))[known].mean()
    return bootstrap_mean(hits.tolist(), names[known].tolist()), float(chance)


def get_family(name: str) -> str:
    """Return the family of an instruction: the part of its id before the colon."""
    return instruction_id(name).partition(":")[0]


def summarise_layer(here: LayerDirections, seed: int) -> dict[str, object]:
    """Return the numbers of one layer."""
    summary: dict[str, object] = {"effective_rank": here.rank(), "instructions": len(here.names)}
    for alike, name in ((True, "one_family"), (False, "two_families")):
        mean = here.mean_cosine(alike=alike)
        if mean is not None:
            summary[f"cosine.{name}"] = mean
    part, drawn = shared_part(here.units), shared_part(here.draws)
    summary["shared"] = normal_interval(float(part.mean()), drawn.mean(dim=1), here.n, (-1.0, 1.0))
    squared = normal_interval(
        float(part.square().mean()), drawn.square().mean(dim=1), here.n, (0.0, 1.0)
    )
    summary["shared.of_squared_norm"] = squared
    for name, row in zip(
        ("angle", "angle.random"), here.angles(seed).iter_rows(named=True), strict=True
    ):
        summary[name] = Interval.of(row | {"n": here.n})
    return summary
