"""Map the activation differences of single prompt pairs, whose mean is a steering vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl
import torch
from einops import einsum
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

import figures
import interp_steer as ist
from interp_steer.contrast import Pair, plain_text
from interp_steer.errors import OptionError
from interp_steer.statistics import Interval, share

PERPLEXITY = 30.0
"""Perplexity of a t-SNE: roughly how many neighbours a point has. It is lower where there are few
points."""


@dataclass(frozen=True)
class Separation:
    """Measure of how well labels separate: nearest neighbours in the space of the model."""

    accuracy: Interval
    """The share of differences whose nearest neighbour has the same label."""
    chance: float
    """The same share for neighbours drawn at random."""


@dataclass(frozen=True)
class Differences:
    """Activation difference of each pair of labelled contrast sets, at one layer."""

    rows: Float[Tensor, "row d_model"]
    """``h_i - h'_i``: activation with the property minus activation without, at the last prompt
    token."""
    labels: tuple[str, ...]
    """The name of the contrast set of each row."""
    pairs: tuple[Pair, ...]
    """The pair of each row."""

    @classmethod
    def of(
        cls, model: ist.HookedLM, sets: Mapping[str, ist.ContrastSet], layer: int
    ) -> Differences:
        """Run both sides of every pair and subtract the activations (paper A, section 2).

        Args:
            model: the model whose ``resid_post`` is read.
            sets: the pairs by label.
            layer: the layer that is read.
        """
        site = ist.Site("resid_post", layer)
        rows = []
        for pairs in sets.values():
            present, absent = (
                ist.capture.capture_moments(model, prompts, [site], keep_rows=True).rows
                for prompts in (pairs.present, pairs.absent)
            )
            assert present is not None and absent is not None
            rows.append(present.values[site].float() - absent.values[site].float())
        return cls(
            rows=torch.cat(rows),
            labels=tuple(label for label, pairs in sets.items() for _ in pairs),
            pairs=tuple(pair for pairs in sets.values() for pair in pairs),
        )

    def separation(self) -> Separation | None:
        """Measure whether the nearest neighbour of a difference, in cosine, has the same label.

        A row is compared only with rows that share neither its query nor its phrasing. Otherwise
        the words of a prompt would reveal the label, rather than the property that the prompt asks
        for.

        Returns:
            None when no row has another to be compared with.
        """
        unit = normalize(self.rows.double(), dim=-1)
        cosines = einsum(unit, unit, "a d_model, b d_model -> a b")
        same = {
            what: _equal([plain_text(getattr(pair, what)) for pair in self.pairs])
            for what in ("query", "phrasing")
        }
        others = ~(same["query"] | same["phrasing"])
        known = others.any(dim=1)
        if not known.any():
            return None
        alike = _equal(self.labels)
        nearest = cosines.masked_fill(~others, -torch.inf).argmax(dim=1)
        hits = alike.gather(1, nearest[:, None])[:, 0]
        by_chance = (alike & others).sum(dim=1) / others.sum(dim=1).clamp(min=1)
        return Separation(share(hits[known].tolist()), float(by_chance[known].double().mean()))

    def embedding(self, seed: int) -> pl.DataFrame:
        """Map the differences by t-SNE (van der Maaten and Hinton 2008), on cosine distance.

        Neighbours on the map are neighbours in the space of the model. The distances between groups
        and the sizes of groups carry no information.

        Args:
            seed: seed of the gradient descent.

        Returns:
            Columns ``x``, ``y`` and ``label``, with one row for each difference.

        Raises:
            OptionError: without scikit-learn, or for fewer than four differences.
        """
        n = len(self.rows)
        if n < 4:
            raise OptionError(f"{n} differences are too few for a map; fit on four pairs or more")
        try:
            from sklearn.manifold import TSNE
        except ImportError:
            raise OptionError(
                "a t-SNE map needs scikit-learn, which is not installed; "
                "pip install 'interp_steer[geometry]'"
            ) from None
        tsne = TSNE(
            perplexity=min(PERPLEXITY, (n - 1) / 3),
            metric="cosine",
            init="pca",
            random_state=seed,
        )
        points = tsne.fit_transform(self.rows.numpy())
        return pl.DataFrame({"x": points[:, 0], "y": points[:, 1], "label": self.labels})


def map_differences(
    run: ist.Run, model: ist.HookedLM, sets: Mapping[str, ist.ContrastSet], layer: int
) -> None:
    """Map the differences of labelled sets, and record how well their labels separate.

    Args:
        run: the run that receives the map (as ``embedding``), its figure, and the numbers.
        model: the model that is read.
        sets: the pairs by label.
        layer: the layer that is read.
    """
    differences = Differences.of(model, sets, layer)
    separation, embedded = differences.separation(), differences.embedding(run.seed)
    run.write_records(embedded, "embedding")
    run.leave(summary={"layer.embedding": layer})
    if separation is None:
        run.draw("differences", figures.embedding_map(embedded))
    else:
        run.leave(
            summary={
                "nearest_alike": separation.accuracy,
                "nearest_alike.chance": separation.chance,
            }
        )
        drawing = figures.embedding_map(
            embedded, nearest=separation.accuracy, chance=separation.chance
        )
        run.draw("differences", drawing)


def _equal(values: Sequence[str]) -> Bool[Tensor, "row row"]:
    """Return which two of the values are equal."""
    numbers = {value: number for number, value in enumerate(dict.fromkeys(values))}
    index = torch.tensor([numbers[value] for value in values])
    return index[:, None] == index[None, :]
