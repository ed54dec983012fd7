"""How many examples a vector needs: vectors of resampled examples, without running them again."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor

import interp_steer as ist
from interp_steer.models.sites import Site
from interp_steer.statistics.intervals import Interval


@dataclass(frozen=True, eq=False)
class Examples:
    """What each example of a contrast leaves at each step, so that any choice of them has a vector.

    Args:
        present: activations of each example with the property; zero after its answer has ended.
        absent: of each without it.
        present_runs: 1 where the answer was still running.
        absent_runs: the same of the other side.
    """

    present: Float[Tensor, "example step width"]
    absent: Float[Tensor, "example step width"]
    present_runs: Float[Tensor, "example step"]
    absent_runs: Float[Tensor, "example step"]

    @classmethod
    def read(
        cls, model: ist.HookedLM, pairs: ist.ContrastSet, n_steps: int, component: str = "z"
    ) -> Examples:
        """Run the fit split once and keep what each example left.

        Args:
            model: whose activations are read.
            pairs: of which the ``fit`` split is used.
            n_steps: the most steps.
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
            kept = torch.zeros(len(prompts), n_steps, width)
            runs = torch.zeros(len(prompts), n_steps)
            flat = [rearrange(rows.values[site].float(), "row ... -> row (...)") for site in sites]
            kept[rows.prompt, rows.position] = torch.cat(flat, dim=1)
            runs[rows.prompt, rows.position] = 1
            sides.append((kept, runs))
        (present, present_runs), (absent, absent_runs) = sides
        return cls(present, absent, present_runs, absent_runs)

    def __len__(self) -> int:
        return len(self.present)

    def vector(self, times: Float[Tensor, " example"]) -> Float[Tensor, "step width"]:
        """The vector of examples that count so many times; steps that none reaches are zero."""
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
        """The vector of the first ``n`` examples.

        Args:
            n: how many.
            like: a vector of the same model and component, whose shape and card it takes.
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
        """How alike the vector of ``n`` examples is to the vector of all: a bootstrap interval.

        Examples are drawn with replacement; steps, layers and heads are taken as one long vector.

        Args:
            n: how many examples.
            draws: how many vectors are drawn.
            seed: of the draws.

        Returns:
            The mean cosine, and the range that holds 95 % of the draws.
        """
        rng = np.random.default_rng([seed, n])
        whole = self.vector(torch.ones(len(self)))
        alike = []
        for _ in range(draws):
            times = np.bincount(rng.integers(0, len(self), n), minlength=len(self))
            drawn = self.vector(torch.from_numpy(times).float())
            reached = drawn.any(dim=1)  # few examples may all end early
            alike.append(
                float(
                    torch.cosine_similarity(drawn[reached].flatten(), whole[reached].flatten(), 0)
                )
            )
        low, high = np.quantile(alike, [0.025, 0.975])
        return Interval(float(np.mean(alike)), float(low), float(high), draws, "bootstrap")
