"""Resample examples and compute their vectors without running the examples again."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor

import interp_steer as ist
from interp_steer.models import Site
from interp_steer.statistics import Interval


@dataclass(frozen=True, eq=False)
class Examples:
    """Activations of each example of a contrast at each step; any choice of examples has a vector.

    Args:
        present: activations of each example with the property; zero after its answer has ended.
        absent: activations of each example without the property.
        present_runs: 1 where the answer with the property was still running.
        absent_runs: 1 where the answer without the property was still running.
    """

    present: Float[Tensor, "example step width"]
    absent: Float[Tensor, "example step width"]
    present_runs: Float[Tensor, "example step"]
    absent_runs: Float[Tensor, "example step"]

    @classmethod
    def read(
        cls, model: ist.HookedLM, pairs: ist.ContrastSet, n_steps: int, component: str = "z"
    ) -> Examples:
        """Run the fit split once and keep the activations of each example.

        Args:
            model: the model whose activations are read.
            pairs: the contrast set, whose ``fit`` split is used.
            n_steps: the maximum number of steps.
            component: one of :data:`interp_steer.models.sites.COMPONENTS`.
        """
        sites = [Site(component, layer) for layer in range(model.n_layers)]
        sides = []
        for prompts in (pairs.fit.present, pairs.fit.absent):
            moments = ist.capture.capture_moments(
                model, prompts, sites, "generated", max_new_tokens=n_steps, keep_rows=True
            )
            assert moments.rows is not None
            rows = moments.rows
            width = sum(rows.values[site][0].numel() for site in sites)
            activations = torch.zeros(len(prompts), n_steps, width)
            runs = torch.zeros(len(prompts), n_steps)
            flat = [rearrange(rows.values[site].float(), "row ... -> row (...)") for site in sites]
            activations[rows.prompt, rows.position] = torch.cat(flat, dim=1)
            runs[rows.prompt, rows.position] = 1
            sides.append((activations, runs))
        (present, present_runs), (absent, absent_runs) = sides
        return cls(present, absent, present_runs, absent_runs)

    def __len__(self) -> int:
        return len(self.present)

    def vector(self, times: Float[Tensor, " example"]) -> Float[Tensor, "step width"]:
        """Return the vector of weighted examples; steps that no answer reaches are zero."""
        sides = [
            einsum(times, kept, "example, example step width -> step width")
            / einsum(times, runs, "example, example step -> step").clamp(min=1)[:, None]
            for kept, runs in (
                (self.present, self.present_runs),
                (self.absent, self.absent_runs),
            )
        ]
        reached = [
            (times[:, None] * runs).any(dim=0) for runs in (self.present_runs, self.absent_runs)
        ]
        return (sides[0] - sides[1]) * (reached[0] & reached[1])[:, None]

    def first(self, n: int, like: ist.SteppedVector) -> ist.SteppedVector:
        """Return the vector of the first ``n`` examples.

        Args:
            n: the number of examples.
            like: a vector of the same model and component, which gives the shape and the card.
        """
        times = (torch.arange(len(self)) < n).float()
        steps = self.vector(times)[: like.n_steps]
        runs = torch.stack([side[:n].sum(dim=0) for side in (self.present_runs, self.absent_runs)])
        return replace(
            like,
            directions=steps.reshape(len(steps), *like.directions.shape[1:]),
            counts=runs[:, : len(steps)].long(),
            card=replace(like.card, n=n, name=f"{like.name}, {n} examples"),
        )

    def stability(self, n: int, draws: int, seed: int) -> Interval:
        """Measure the cosine of a vector of ``n`` examples with the vector of all, by a bootstrap.

        Examples are drawn with replacement. Steps, layers and heads are treated as one long vector.

        Args:
            n: the number of examples.
            draws: the number of vectors that are drawn.
            seed: seed of the draws.

        Returns:
            The mean cosine, and the range that holds 95 % of the draws.
        """
        rng = np.random.default_rng([seed, n])
        whole = self.vector(torch.ones(len(self)))
        cosines = []
        for _ in range(draws):
            times = np.bincount(rng.integers(0, len(self), n), minlength=len(self))
            resampled = self.vector(torch.from_numpy(times).float())
            reached = resampled.any(dim=1)  # few examples may all end early
            cosines.append(
                float(
                    torch.cosine_similarity(
                        resampled[reached].flatten(), whole[reached].flatten(), 0
                    )
                )
            )
        low, high = np.quantile(cosines, [0.025, 0.975])
        return Interval(float(np.mean(cosines)), float(low), float(high), draws, "bootstrap")
