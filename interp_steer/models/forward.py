"""Run forward passes under hooks, by the plain twin or through TransformerLens' hook points."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, TypeAlias, get_args

from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from interp_steer.errors import GenerationError
from interp_steer.models.batching import PaddedBatch
from interp_steer.models.hooked_lm import HookedLM, Hooks
from interp_steer.models.kv_cache import DecodingCache

Through: TypeAlias = Literal["plain", "hook_points"]
"""The model that runs a pass: the plain twin with forward hooks on its modules, or the
TransformerLens model, whose hook points define what steering means. Both compute the same; the twin
is faster. A ``HookedTransformer`` has no twin."""

Forward: TypeAlias = Callable[
    [PaddedBatch, DecodingCache | None, int], Float[Tensor, "batch kept vocabulary"] | None
]
"""Runs a pass. The arguments are the tokens (with a mask that also covers the columns of the
cache), the cache, which the pass reads and extends, and the number of last positions whose logits
are returned. With 0 the head is not run and None is returned."""


@contextmanager
def forward_under(
    model: HookedLM, hooks: Hooks, through: Through | None = None
) -> Iterator[Forward]:
    """Run passes of a model under hooks, which are removed afterwards.

    Args:
        model: the model.
        hooks: as :func:`interp_steer.interventions.intervention.row_hooks` makes them.
        through: ``"plain"`` or ``"hook_points"``. None chooses the twin where the model has a twin,
            unless hook points have hooks already (``with model.steered(...)``), which the twin
            would not run.

    Yields:
        The function that runs a pass.

    Raises:
        GenerationError: for another ``through``.
        ModelError: for ``"plain"`` where the model has no twin.
    """
    if through is None:
        through = "plain" if model.has_twin and not model.has_hooks else "hook_points"
    if through not in get_args(Through):
        raise GenerationError(
            f"through is {through!r}; give one of {', '.join(map(repr, get_args(Through)))}"
        )
    if through == "hook_points":
        with model.steered(hooks):
            yield model.wrapped.forward
    else:
        with model.steered_plain(hooks) as plain:
            yield partial(_run_twin, plain)


def _run_twin(
    plain: PreTrainedModel, batch: PaddedBatch, cache: DecodingCache | None, keep: int
) -> Float[Tensor, "batch kept vocabulary"] | None:
    arguments: dict[str, Any] = {
        "input_ids": batch.tokens,
        "attention_mask": batch.attention_mask,
        "position_ids": batch.position_ids,
        "past_key_values": cache,
        "use_cache": cache is not None,
    }
    if keep:
        return plain(**arguments, logits_to_keep=keep).logits
    plain.base_model(**arguments)
    return None
