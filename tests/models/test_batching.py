"""A batch that does not fit in memory is run in parts, with the same results and a warning."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch

from interp_steer.capture.activations import capture_moments
from interp_steer.capture.options import CaptureOptions
from interp_steer.generation.answer_scores import logprobs
from interp_steer.generation.completions import GenerationOptions, generate
from interp_steer.interventions.intervention import Direction
from interp_steer.models.batching import OutOfMemory, SmallerBatch
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.sites import Site
from interp_steer.scoring.fluency import perplexity

PROMPTS = ["Tell me about the sea.", "List five things.", "Sea?", "Two kings met.", "A", "b c d"]


def on_cuda() -> RuntimeError:
    return torch.OutOfMemoryError("CUDA out of memory")


def on_cpu() -> RuntimeError:
    return RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"
    )


@contextmanager
def room_for(
    model: HookedLM, rows: int, error: Callable[[], RuntimeError] = on_cuda, after: int = 0
) -> Iterator[None]:
    """Let the last block run out of memory when it is given more rows, after so many passes."""
    passes = 0

    def refuse(_: object, args: tuple[torch.Tensor, ...]) -> None:
        nonlocal passes
        passes += 1
        if passes > after and args[0].shape[0] > rows:
            raise error()

    block, _ = model.module_of(Site("resid_post", model.n_layers - 1))
    handle = block.register_forward_pre_hook(refuse)
    try:
        yield
    finally:
        handle.remove()


def steering(model: HookedLM) -> list:
    vector = torch.randn(model.d_model, generator=torch.Generator().manual_seed(0))
    at = Site("resid_post", 1)
    d = Direction(vector, 6.0, "d", at, at, model.name, model.n_layers, model.d_model)
    return [d.add(0.5 * row, positions="generated") for row in range(len(PROMPTS))]


@pytest.mark.parametrize("after", [0, 1, 4])
@pytest.mark.parametrize("error", [on_cuda, on_cpu])
@pytest.mark.parametrize("use_cache", [True, False])
def test_answers_are_the_same_when_the_batch_shrinks(
    model: HookedLM, error: Callable[[], RuntimeError], after: int, use_cache: bool
) -> None:
    each = steering(model)
    whole = generate(model, PROMPTS, each, max_new_tokens=8)
    with (
        room_for(model, 3, error, after),
        pytest.warns(
            SmallerBatch, match="6 rows did not fit in the memory of cpu; continuing with 3"
        ),
    ):
        parts = generate(
            model, PROMPTS, each, max_new_tokens=8, options=GenerationOptions(use_cache=use_cache)
        )
    assert parts == whole


def test_moments_and_rows_are_the_same_in_parts(model: HookedLM, tmp_path) -> None:
    whole = capture_moments(model, PROMPTS, positions="all", keep_rows=True)
    with room_for(model, 2), pytest.warns(SmallerBatch):
        parts = capture_moments(
            model,
            PROMPTS,
            positions="all",
            keep_rows=True,
            options=CaptureOptions(checkpoint=tmp_path / "moments"),
        )
    assert parts.prompts == whole.prompts and torch.equal(parts.count, whole.count)
    assert whole.rows is not None and parts.rows is not None
    assert torch.equal(parts.rows.prompt, whole.rows.prompt)
    for site in whole.sites:
        torch.testing.assert_close(parts.mean[site], whole.mean[site], atol=1e-4, rtol=0)
        torch.testing.assert_close(
            parts.rows.values[site], whole.rows.values[site], atol=1e-4, rtol=0
        )
    # The checkpoint of a pass that went in parts is the one that a whole pass looks for.
    assert capture_moments(
        model,
        PROMPTS,
        positions="all",
        keep_rows=True,
        options=CaptureOptions(checkpoint=tmp_path / "moments"),
    ).prompts == len(PROMPTS)


def test_scores_are_the_same_in_parts(model: HookedLM) -> None:
    answers = [f"{prompt} And so on." for prompt in PROMPTS]
    whole = logprobs(model, PROMPTS, answers, steering(model))
    surprise = perplexity(model, PROMPTS)
    with room_for(model, 1), pytest.warns(SmallerBatch):
        parts = logprobs(model, PROMPTS, answers, steering(model))
        assert perplexity(model, PROMPTS) == pytest.approx(surprise, rel=1e-5)
    for one, other in zip(parts, whole, strict=True):
        torch.testing.assert_close(one.logprobs, other.logprobs, atol=1e-4, rtol=0)


def test_a_single_row_that_does_not_fit_is_an_error_with_the_mend(model: HookedLM) -> None:
    for run in (
        lambda: generate(model, PROMPTS, max_new_tokens=4),
        lambda: capture_moments(model, PROMPTS),
        lambda: logprobs(model, PROMPTS, PROMPTS),
    ):
        with (
            room_for(model, 0),
            pytest.warns(SmallerBatch),
            pytest.raises(OutOfMemory, match=r"single row .* memory of cpu; shorten the prompt"),
        ):
            run()


def test_other_errors_pass_through(model: HookedLM) -> None:
    with (
        room_for(model, 0, lambda: RuntimeError("shapes")),
        pytest.raises(RuntimeError, match="shapes"),
    ):
        generate(model, PROMPTS, max_new_tokens=4)
