"""Vectors of many properties together: angles, what they share, and how many dimensions they take.

At each layer the difference in means of every instruction is read, at the last token of the prompt,
and scaled to length 1. Four questions are asked of the set:

1. how alike two of them are, of one family (what stands before the colon of an id) or of two;
2. what angles the subspaces make that two families span, beside those of random subspaces of as
   many dimensions;
3. how much of each lies along the mean of all the *others*: a direction that says only "an
   instruction is present" would show here, and so would a prompt that is merely longer;
4. how many dimensions the set takes: the effective rank, beside that of random directions.

All directions of all layers are placed on one map: the two principal axes of the unit directions,
which is classical scaling of the distances between them. How often the nearest direction of
*another* instruction is of the same family stands beside, in the space that the map was made of.

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
from interp_steer.errors import RunError
from interp_steer.geometry.ranks import effective_rank
from interp_steer.geometry.subspaces import principal_angles, shared_part
from interp_steer.statistics.intervals import Interval, bootstrap_mean
from interp_steer.statistics.resampling import normal_interval, resampled_means

FEW = 50
"""Most draws of angles, of which there are many at each layer."""


@dataclass(frozen=True)
class Config:
    """What is compared, and where."""

    model: str = "burattino-instruct"
    """A bundled model, a Hugging Face name, or a folder."""
    instruction: tuple[str, ...] = FORMATS
    """IFEval ids of the instructions, three or more."""
    data: str | None = None
    """IFEval's requests; see layer_sweep. Those of the bundled world when not given."""
    n: int = 50
    """Pairs of prompts for each instruction."""
    draws: int = 200
    """Bootstrap draws of the pairs, and of random directions."""
    layer: int | None = None
    """Layer of the map of cosines; the middle of the model when not given."""


def main(config: Config, run: ist.Run) -> None:
    """Read every instruction once, then compare layer by layer."""
    if len(set(config.instruction)) < 3:
        raise RunError(f"--instruction {' '.join(config.instruction)}: name three or more")
    model = ist.load(config.model)
    layer = model.n_layers // 2 if config.layer is None else config.layer
    ist.Site("resid_post", layer).check(model.n_layers)
    sets = contrast_sets(
        config.instruction, run.seed, data=config.data, fit=config.n, select=0, test=0
    )
    run.used(model, *sets.values())
    differences = {
        name: read(model, pairs.fit)
        for name, pairs in tqdm(sets.items(), desc="read", unit="instruction", disable=None)
    }
    layers = [
        AtLayer.of(differences, at, config.draws, run.seed)
        for at in tqdm(range(model.n_layers), desc="layers", disable=None)
    ]
    cosines = pl.concat([each.cosines() for each in layers])
    shared = pl.concat([each.shared(run.seed) for each in layers])
    ranks = pl.concat([each.ranks(run.seed) for each in layers])
    angles = pl.concat([each.angles(run.seed) for each in layers])
    points = placed(layers)
    for name, frame in (
        ("records", cosines),
        ("shared", shared),
        ("ranks", ranks),
        ("angles", angles),
        ("map", points),
    ):
        run.write_records(frame, name)
    nearest, chance = neighbours(layers)
    run.leave(summary=numbers(layers[layer], run.seed) | {"layer": layer})
    if nearest is not None:
        run.leave(summary={"nearest_alike": nearest, "nearest_alike.chance": chance})
    run.draw("cosines", similarity_map(layers[layer].matrix.numpy(), list(differences), layer))
    run.draw("cosines_by_layer", similarity_by_layer(families_by_layer(layers)))
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
    explained = percent(points["explained"][0])
    caption = (
        f"Unit directions of {len(sets)} instructions at {model.n_layers} layers, by family, on "
        f"the two axes along which they vary most ({explained} of their variance)."
    )
    if nearest is not None:
        caption = (
            "In the whole space the nearest direction of another instruction is of the same "
            f"family for {interval_text(nearest)} of them, against {percent(chance)} by chance. "
            + caption
        )
    run.draw("map", replace(embedding_map(points), caption=caption))


def read(model: ist.HookedLM, pairs: ist.ContrastSet) -> Float[Tensor, "pair layer d_model"]:
    """What the instruction changes in every pair, at every layer."""
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
class AtLayer:
    """The unit directions of all instructions at one layer."""

    layer: int
    names: tuple[str, ...]
    units: Float[Tensor, "vector d_model"]
    draws: Float[Tensor, "draw vector d_model"]
    """The same of bootstrap draws of the pairs."""
    n: int
    """Pairs of each instruction."""

    @classmethod
    def of(cls, differences: Mapping[str, Tensor], layer: int, draws: int, seed: int) -> AtLayer:
        """The directions of one layer, and as many resampled ones as there are draws."""
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
        """The cosine of every two."""
        return einsum(self.units, self.units, "a d, b d -> a b")

    @property
    def matrices(self) -> Float[Tensor, "draw vector vector"]:
        """The same of every draw."""
        return einsum(self.draws, self.draws, "draw a d, draw b d -> draw a b")

    @property
    def alike(self) -> Bool[Tensor, "vector vector"]:
        """Which two are different instructions of one family."""
        families = [family(name) for name in self.names]
        same = torch.tensor([[one == other for other in families] for one in families])
        return same & ~torch.eye(len(families), dtype=torch.bool)

    def random(self, draws: int, seed: int) -> Float[Tensor, "draw vector d_model"]:
        """As many random unit directions, drawn evenly over all."""
        generator = torch.Generator().manual_seed(seed)
        shape = (draws, *self.units.shape)
        return normalize(torch.randn(shape, generator=generator, dtype=torch.float64), dim=-1)

    def cosines(self) -> pl.DataFrame:
        """A row for every two instructions."""
        matrix, matrices = self.matrix, self.matrices
        rows = []
        for a, b in combinations(range(len(self.names)), 2):
            found = normal_interval(float(matrix[a, b]), matrices[:, a, b], self.n, (-1.0, 1.0))
            rows.append(
                (self.layer, self.names[a], self.names[b], found.value, found.low, found.high)
            )
        columns = ["layer", "instruction_a", "instruction_b", "cosine", "low", "high"]
        return pl.DataFrame(rows, schema=columns, orient="row")

    def mean_cosine(self, *, alike: bool) -> Interval | None:
        """The mean cosine within families, or across them; None where there are no such two."""
        chosen = torch.triu(self.alike if alike else ~self.alike, diagonal=1)
        if not chosen.any():
            return None
        value = float(self.matrix[chosen].mean())
        return normal_interval(value, self.matrices[:, chosen].mean(dim=1), self.n, (-1.0, 1.0))

    def shared(self, seed: int) -> pl.DataFrame:
        """The cosine of each with the mean of the others, beside that of random directions."""
        own, drawn = shared_part(self.units), shared_part(self.draws)
        low, high = np.quantile(shared_part(self.random(len(self.draws), seed)), [0.025, 0.975])
        rows = []
        for at, name in enumerate(self.names):
            found = normal_interval(float(own[at]), drawn[:, at], self.n, (-1.0, 1.0))
            ends = (found.value, found.low, found.high)
            rows.append((name, self.layer, "the mean of the others", *ends))
            rows.append((name, self.layer, "random directions", 0.0, float(low), float(high)))
        columns = ["instruction", "layer", "comparison", "cosine", "low", "high"]
        return pl.DataFrame(rows, schema=columns, orient="row")

    def rank(self) -> Interval:
        """The effective rank of all directions."""
        value, drawn = float(effective_rank(self.units)), effective_rank(self.draws)
        return normal_interval(value, drawn, self.n, (1.0, float(len(self.units))))

    def ranks(self, seed: int) -> pl.DataFrame:
        """The effective rank, beside that of random directions."""
        found = self.rank()
        random = effective_rank(self.random(len(self.draws), seed)).numpy()
        low, high = np.quantile(random, [0.025, 0.975])
        rows = [
            (self.layer, "instructions", found.value, found.low, found.high),
            (self.layer, "random directions", float(random.mean()), float(low), float(high)),
        ]
        return pl.DataFrame(rows, schema=_CURVE, orient="row")

    def angles(self, seed: int) -> pl.DataFrame:
        """The mean principal angle of every two families, beside that of random subspaces."""
        families: dict[str, list[int]] = {}
        for at, name in enumerate(self.names):
            families.setdefault(family(name), []).append(at)
        if len(families) < 2:
            families = {name: [at] for at, name in enumerate(self.names)}
        pairs = list(combinations(families.values(), 2))
        few = min(FEW, len(self.draws))
        drawn = [_mean_angle(one, pairs) for one in self.draws[:few]]
        random = [_mean_angle(one, pairs) for one in self.random(few, seed)]
        value = _mean_angle(self.units, pairs)
        found = normal_interval(value, torch.tensor(drawn), self.n, (0.0, 90.0))
        low, high = np.quantile(random, [0.025, 0.975])
        rows = [
            (self.layer, "families of instructions", found.value, found.low, found.high),
            (self.layer, "random subspaces", float(np.mean(random)), float(low), float(high)),
        ]
        return pl.DataFrame(rows, schema=_CURVE, orient="row")


_CURVE = ["layer", "series", "value", "low", "high"]


def _mean_angle(
    units: Float[Tensor, "vector d_model"], pairs: Sequence[tuple[list[int], list[int]]]
) -> float:
    """The mean over families of the mean of their principal angles, in degrees."""
    each = [float(principal_angles(units[one], units[other]).mean()) for one, other in pairs]
    return float(np.rad2deg(np.mean(each)))


def families_by_layer(layers: Sequence[AtLayer]) -> pl.DataFrame:
    """The mean cosine within families and across them, layer by layer."""
    rows = []
    for each in layers:
        for alike, said in ((True, "one family"), (False, "two families")):
            found = each.mean_cosine(alike=alike)
            if found is not None:
                rows.append((each.layer, said, found.value, found.low, found.high))
    columns = ["layer", "comparison", "cosine", "low", "high"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def placed(layers: Sequence[AtLayer]) -> pl.DataFrame:
    """All directions on the two axes along which they vary most."""
    units = rearrange([each.units for each in layers], "layer vector d -> (layer vector) d")
    try:
        from sklearn.decomposition import PCA
    except ImportError:
        raise RunError(
            "a map needs scikit-learn, which is not installed; pip install 'interp_steer[geometry]'"
        ) from None
    pca = PCA(2, svd_solver="full")
    where = pca.fit_transform(units.numpy())
    return pl.DataFrame(
        {
            "instruction": [name for each in layers for name in each.names],
            "label": [family(name) for each in layers for name in each.names],
            "layer": [each.layer for each in layers for _ in each.names],
            "x": where[:, 0],
            "y": where[:, 1],
            "explained": float(pca.explained_variance_ratio_.sum()),
        }
    ).sort("layer", maintain_order=True)


def neighbours(layers: Sequence[AtLayer]) -> tuple[Interval | None, float]:
    """How often the nearest direction of another instruction is of the same family, and by chance.

    Of instructions that have a family; instructions are resampled, with all their layers.
    """
    units = rearrange([each.units for each in layers], "layer vector d -> (layer vector) d")
    names = np.array([name for each in layers for name in each.names])
    families = np.array([family(name) for name in names])
    others = names[:, None] != names
    kin = others & (families[:, None] == families)
    cosines = einsum(units, units, "a d, b d -> a b").numpy()
    nearest = np.where(others, cosines, -np.inf).argmax(axis=1)
    known = kin.any(axis=1)
    if not known.any():
        return None, 0.0
    hits = kin[np.arange(len(names)), nearest][known].astype(float)
    chance = (kin.sum(axis=1) / others.sum(axis=1))[known].mean()
    return bootstrap_mean(hits.tolist(), names[known].tolist()), float(chance)


def family(name: str) -> str:
    """What stands before the colon of an instruction's id."""
    return instruction_id(name).partition(":")[0]


def numbers(here: AtLayer, seed: int) -> dict[str, object]:
    """What the set is like at one layer."""
    found: dict[str, object] = {"effective_rank": here.rank(), "instructions": len(here.names)}
    for alike, said in ((True, "one_family"), (False, "two_families")):
        mean = here.mean_cosine(alike=alike)
        if mean is not None:
            found[f"cosine.{said}"] = mean
    part, drawn = shared_part(here.units), shared_part(here.draws)
    found["shared"] = normal_interval(float(part.mean()), drawn.mean(dim=1), here.n, (-1.0, 1.0))
    squared = normal_interval(
        float(part.square().mean()), drawn.square().mean(dim=1), here.n, (0.0, 1.0)
    )
    found["shared.of_squared_norm"] = squared
    for name, row in zip(
        ("angle", "angle.random"), here.angles(seed).iter_rows(named=True), strict=True
    ):
        found[name] = Interval.of(row | {"n": here.n})
    return found
