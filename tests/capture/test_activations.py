"""Captured moments against plain Hugging Face activations and numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from interp_steer.capture.activations import capture_moments
from interp_steer.capture.moments import Moments, SiteRows, mean_of, moments_of
from interp_steer.capture.options import CaptureOptions
from interp_steer.errors import CaptureError, SiteError
from interp_steer.models.batching import batches_by_length
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.sites import COMPONENTS, Site
from tests.support.checkpoints import ARCHITECTURES

PROMPTS = [
    "Tell me about the castle.",
    "What is a whale? Answer in lowercase, and use at most three commas, please.",
    "Sea.",
    "Write a short story about the puppet in two sentences. Do not use any commas.",
    "List five things.",
]
TOLERANCE = 1e-4  # between one batch and another, in float32

every_architecture = pytest.mark.parametrize("model", ARCHITECTURES, indirect=True)


def everywhere(model: HookedLM) -> list[Site]:
    return [site for component in COMPONENTS for site in model.sites(component)]


def plain_values(model: HookedLM, tokens: list[int]) -> dict[Site, Tensor]:
    """What forward hooks on the plain model's modules see, for one prompt alone: [pos, *shape]."""
    seen: dict[Site, Tensor] = {}
    handles = []

    def keep(site: Site, value: Tensor | tuple[Tensor, ...]) -> None:
        value = value[0] if isinstance(value, tuple) else value
        shape = site.shape(model.n_heads, model.d_head, model.d_model)
        seen[site] = value.detach()[0].reshape(-1, *shape)

    for site in everywhere(model):
        module, side = model.module_of(site)
        if side == "input":
            handles.append(
                module.register_forward_pre_hook(
                    lambda _, args, kwargs, site=site: keep(
                        site, args[0] if args else kwargs["hidden_states"]
                    ),
                    with_kwargs=True,
                )
            )
        else:
            handles.append(
                module.register_forward_hook(lambda _, args, out, site=site: keep(site, out))
            )
    with torch.no_grad():
        model.plain(torch.tensor([tokens]))
    for handle in handles:
        handle.remove()
    return seen


@every_architecture
def test_batched_rows_are_the_plain_models_alone(model: HookedLM) -> None:
    """Every component and layer, the last layer's resid_post (before the final norm) included."""
    moments = capture_moments(
        model, PROMPTS, everywhere(model), keep_rows=True, options=CaptureOptions(batch_size=3)
    )
    assert moments.rows is not None
    for index, tokens in enumerate(model.tokenize(PROMPTS)):
        for site, expected in plain_values(model, tokens).items():
            found = moments.rows.values[site][index]
            torch.testing.assert_close(found, expected[-1], atol=TOLERANCE, rtol=TOLERANCE)


@every_architecture
def test_resid_pre_is_hidden_states(model: HookedLM) -> None:
    moments = capture_moments(model, PROMPTS, model.sites("resid_pre"), "all", keep_rows=True)
    assert moments.rows is not None
    for index, tokens in enumerate(model.tokenize(PROMPTS)):
        with torch.no_grad():
            states = model.plain(torch.tensor([tokens]), output_hidden_states=True).hidden_states
        mine = moments.rows.prompt == index
        for site in moments.sites:
            found = moments.rows.values[site][mine]
            torch.testing.assert_close(found, states[site.layer][0], atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("positions", ["last", 0, 1, -2, "all", "generated"])
def test_moments_are_numpys_whatever_the_order_and_batches(
    model: HookedLM, positions: str | int
) -> None:
    sites = [Site("resid_post", 1), Site("z", 2)]
    options = {"second_moments": True, "keep_rows": True, "max_new_tokens": 4}
    moments = capture_moments(model, PROMPTS, sites, positions, **options)
    rows = moments.rows
    assert rows is not None
    for site in sites:
        for position in range(len(moments.count)):
            values = rows.values[site][rows.position == position].double().numpy()
            assert len(values) == moments.count[position]
            np.testing.assert_allclose(
                moments.mean[site][position].numpy(), values.mean(0), rtol=1e-12, atol=1e-12
            )
            shift = values - values.mean(0)
            np.testing.assert_allclose(
                moments.scatter[site][position].numpy(),
                np.einsum("n...a,n...b->...ab", shift, shift),
                rtol=1e-10,
                atol=1e-12,
            )
    turned = capture_moments(
        model, PROMPTS[::-1], sites, positions, options=CaptureOptions(batch_size=2), **options
    )
    assert turned.count.tolist() == moments.count.tolist()
    for site in sites:
        torch.testing.assert_close(
            turned.mean[site], moments.mean[site], atol=TOLERANCE, rtol=TOLERANCE
        )


@every_architecture
def test_neighbours_and_padding_change_nothing(model: HookedLM) -> None:
    sites = everywhere(model)
    alone = capture_moments(model, PROMPTS[2:3], sites)
    crowded = capture_moments(
        model, PROMPTS, sites, keep_rows=True, options=CaptureOptions(batch_size=5)
    )
    assert crowded.rows is not None
    for site in sites:
        torch.testing.assert_close(
            crowded.rows.values[site][2].double(),
            alone.mean[site][0],
            atol=TOLERANCE,
            rtol=TOLERANCE,
        )


def test_positions_count_the_prompts_own_tokens(model: HookedLM) -> None:
    site = Site("resid_pre", 0)  # the token embeddings, so that a token tells its place
    embed = model.plain.get_input_embeddings().weight.detach()
    tokens = model.tokenize(PROMPTS)
    for place in (0, 2, -1, -3):
        rows = capture_moments(model, PROMPTS, [site], place, keep_rows=True).rows
        assert rows is not None
        torch.testing.assert_close(rows.values[site], embed[[row[place] for row in tokens]])
    moments = capture_moments(model, PROMPTS, [site], "all", keep_rows=True)
    assert moments.rows is not None
    torch.testing.assert_close(
        moments.rows.values[site], embed[[token for row in tokens for token in row]]
    )
    assert int(moments.count) == sum(map(len, tokens))
    assert moments.rows.prompt.tolist() == [i for i, row in enumerate(tokens) for _ in row]


@pytest.mark.parametrize("model", ["llama3", "gemma2", "gpt2"], indirect=True)
def test_generated_steps_emit_the_greedy_answer(model: HookedLM) -> None:
    """Unembedding what step i holds gives generated token i, that plain greedy decoding gives."""
    site = Site("resid_post", model.n_layers - 1)
    moments = capture_moments(model, PROMPTS, [site], "generated", max_new_tokens=5, keep_rows=True)
    rows = moments.rows
    assert rows is not None
    for index, prompt in enumerate(model.tokenize(PROMPTS)):
        answer: list[int] = []
        with torch.no_grad():
            while len(answer) < 5 and not (answer and answer[-1] in model.stop_ids):
                answer.append(
                    int(model.plain(torch.tensor([prompt + answer])).logits[0, -1].argmax())
                )
        mine = rows.prompt == index
        assert rows.position[mine].tolist() == list(range(len(answer)))
        expected = plain_values(model, prompt + answer[:-1])[site][len(prompt) - 1 :]
        torch.testing.assert_close(
            rows.values[site][mine], expected, atol=TOLERANCE, rtol=TOLERANCE
        )


def test_given_answers_are_read_at_the_positions_that_emit_them(model: HookedLM) -> None:
    site = Site("resid_pre", 0)
    embed = model.plain.get_input_embeddings().weight.detach()
    answers = ["The castle is old.", "A whale."]
    rows = capture_moments(
        model, PROMPTS[:2], [site], "generated", answers=answers, keep_rows=True
    ).rows
    assert rows is not None
    for index, (prompt, answer) in enumerate(
        zip(model.tokenize(PROMPTS[:2]), answers, strict=True)
    ):
        said = model.tokenizer(answer, add_special_tokens=False)["input_ids"]
        torch.testing.assert_close(
            rows.values[site][rows.prompt == index], embed[[prompt[-1], *said[:-1]]]
        )


@pytest.mark.parametrize("model", ["llama3", "gemma2", "gpt2"], indirect=True)
@pytest.mark.parametrize("site", [Site("resid_post", 1), Site("resid_post", 3), Site("z", 0)])
def test_nothing_runs_past_the_last_site(model: HookedLM, site: Site) -> None:
    ran: list[str] = []
    blocks = [model.module_of(one)[0] for one in model.sites("resid_post")]
    watched = {f"block {layer}": block for layer, block in enumerate(blocks)}
    watched["head"] = model.plain.get_output_embeddings()
    handles = [
        module.register_forward_pre_hook(lambda *_, name=name: ran.append(name))
        for name, module in watched.items()
    ]
    try:
        capture_moments(model, PROMPTS, [site])
    finally:
        for handle in handles:
            handle.remove()
    assert ran == [f"block {layer}" for layer in range(site.layer + 1)]


def test_capture_leaves_no_hooks(model: HookedLM) -> None:
    capture_moments(model, PROMPTS, model.sites())
    assert not any(point.fwd_hooks for point in model.bridge.hook_dict.values())


def test_capture_sees_edits(model: HookedLM) -> None:
    site = Site("resid_post", 1)
    before = capture_moments(model, PROMPTS, [site]).mean[site]
    with model.bridge.hooks(fwd_hooks=[(site.hook_name, lambda value, hook: value + 1.0)]):
        after = capture_moments(model, PROMPTS, [site]).mean[site]
    torch.testing.assert_close(after, before + 1.0, atol=1e-5, rtol=0)


# ------------------------------------------------------------------ moments: merge, save, resume

SITE = Site("resid_post", 0)


def moments_from(values: Tensor, position: Tensor, **changes: object) -> Moments:
    n_positions = int(position.max()) + 1
    mean, scatter = moments_of(values, position, n_positions)
    fields = {
        "count": torch.bincount(position, minlength=n_positions),
        "mean": {SITE: mean},
        "scatter": {SITE: scatter},
        "rows": SiteRows({SITE: values}, torch.arange(len(values)), position),
        "prompts": len(values),
        "positions": "generated",
        "model": "some",
        "fingerprint": "f",
        "source": "s",
    }
    return Moments(**{**fields, **changes})  # type: ignore[arg-type]


@st.composite
def samples(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Some values, and the position that each counts in."""
    n = draw(st.integers(1, 12))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    scale, offset = draw(st.sampled_from([(1.0, 0.0), (100.0, -30.0), (1e-3, 5.0)]))
    values = torch.randn(n, 2, 3, generator=generator, dtype=torch.float64) * scale + offset
    return values, torch.randint(0, 3, (n,), generator=generator)


def close(a: Moments, b: Moments) -> bool:
    assert a.count.tolist() == b.count.tolist()
    for mine, theirs in ((a.mean, b.mean), (a.scatter, b.scatter)):
        assert mine is not None and theirs is not None
        bound = max(1.0, float(theirs[SITE].abs().max()))
        assert float((mine[SITE] - theirs[SITE]).abs().max()) <= 1e-12 * bound
    return True


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(samples(), min_size=3, max_size=3))
def test_merging_is_associative_and_equals_one_pass(parts: list[tuple[Tensor, Tensor]]) -> None:
    a, b, c = (moments_from(*part) for part in parts)
    merged = (a + b) + c
    assert close(merged, a + (b + c))
    assert merged.rows is not None
    assert close(merged, moments_from(merged.rows.values[SITE], merged.rows.position))
    assert merged.rows.prompt.tolist() == list(range(merged.prompts))
    turned = c + (b + a)
    assert close(merged, turned)
    pooled = merged.pooled()
    assert close(
        pooled,
        moments_from(merged.rows.values[SITE], torch.zeros(merged.prompts, dtype=torch.long)),
    )
    if merged.prompts > 1:
        by_numpy = np.stack(
            [np.cov(merged.rows.values[SITE][:, lead].numpy(), rowvar=False) for lead in range(2)]
        )
        bound = max(1.0, float(np.abs(by_numpy).max()))
        np.testing.assert_allclose(
            pooled.covariance(SITE)[0].numpy(), by_numpy, rtol=0, atol=1e-11 * bound
        )


def test_captures_merge_to_the_capture_of_all(model: HookedLM) -> None:
    sites, options = [Site("resid_post", 2), Site("z", 1)], {"second_moments": True}
    whole = capture_moments(model, PROMPTS, sites, options=CaptureOptions(batch_size=1), **options)
    parts = [
        capture_moments(model, PROMPTS[at], sites, options=CaptureOptions(batch_size=1), **options)
        for at in (slice(0, 2), slice(2, 5))
    ]
    merged = parts[0] + parts[1]
    assert merged.prompts == 5
    for site in sites:
        torch.testing.assert_close(merged.mean[site], whole.mean[site], atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(
            merged.scatter[site], whole.scatter[site], atol=1e-12, rtol=1e-10
        )


def identical(a: Moments, b: Moments) -> bool:
    assert (a.sites, a.prompts, a.positions, a.source) == (
        b.sites,
        b.prompts,
        b.positions,
        b.source,
    )
    assert torch.equal(a.count, b.count)
    for site in a.sites:
        assert torch.equal(a.mean[site], b.mean[site])
        if a.scatter is not None and b.scatter is not None:
            assert torch.equal(a.scatter[site], b.scatter[site])
        if a.rows is not None and b.rows is not None:
            assert torch.equal(a.rows.values[site], b.rows.values[site])
            assert torch.equal(a.rows.prompt, b.rows.prompt)
    return (a.scatter is None, a.rows is None) == (b.scatter is None, b.rows is None)


def test_moments_load_as_they_were_saved(model: HookedLM, tmp_path: Path) -> None:
    moments = capture_moments(
        model, PROMPTS, everywhere(model), second_moments=True, keep_rows=True
    )
    moments.save(tmp_path / "moments.safetensors")
    assert identical(Moments.load(tmp_path / "moments.safetensors"), moments)


@pytest.mark.parametrize("keep_rows", [False, True])
def test_an_interrupted_pass_goes_on_to_the_same_bits(
    model: HookedLM, tmp_path: Path, keep_rows: bool
) -> None:
    def arguments(**options: Any) -> dict[str, Any]:
        sites, options = [Site("resid_post", 1)], {"batch_size": 2, **options}
        return {"sites": sites, "keep_rows": keep_rows, "options": CaptureOptions(**options)}

    path = tmp_path / "moments.safetensors"
    whole = capture_moments(model, PROMPTS, **arguments())
    passes = 0

    def interrupt(*_: object) -> None:
        nonlocal passes
        passes += 1
        if passes == 2:
            raise KeyboardInterrupt

    block, _ = model.module_of(Site("resid_post", 0))
    handle = block.register_forward_pre_hook(interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            capture_moments(model, PROMPTS, **arguments(checkpoint=path, checkpoint_seconds=0.0))
        assert Moments.load(path).prompts == 2
        resumed = capture_moments(
            model, PROMPTS, **arguments(checkpoint=path, checkpoint_seconds=0.0)
        )
        assert passes == 4  # two batches were left
        assert identical(resumed, whole)
        assert identical(capture_moments(model, PROMPTS, **arguments(checkpoint=path)), whole)
        assert passes == 4  # nothing was left to run
    finally:
        handle.remove()
    with pytest.raises(CaptureError, match="another pass"):
        capture_moments(model, PROMPTS[:2], **arguments(checkpoint=path))


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(1, 8), st.integers(1, 90))
def test_batches_keep_to_their_bounds(lengths: list[int], size: int, tokens: int) -> None:
    order, batches = batches_by_length(lengths, size, tokens)
    assert sorted(order) == list(range(len(lengths)))
    assert [row for batch in batches for row in order[batch]] == order
    for batch in batches:
        rows = [lengths[row] for row in order[batch]]
        assert len(rows) <= size
        assert len(rows) == 1 or len(rows) * max(rows) <= tokens


def test_mean_of_nothing_is_zero() -> None:
    values, position = torch.ones(2, 3, dtype=torch.float64), torch.tensor([0, 2])
    assert mean_of(values, position, 3)[1].tolist() == [0, 0, 0]


# ------------------------------------------------------------------ errors


def test_errors_say_what_to_do(model: HookedLM, tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="prompts to capture is empty"):
        capture_moments(model, [])
    with pytest.raises(CaptureError, match="sites to capture is empty"):
        capture_moments(model, PROMPTS, [])
    with pytest.raises(SiteError, match="from 0 to 3"):
        capture_moments(model, PROMPTS, [Site("resid_post", 4)])
    with pytest.raises(CaptureError, match="'first' are unknown"):
        capture_moments(model, PROMPTS, positions="first")
    with pytest.raises(CaptureError, match=r"prompt 0 has \d+ tokens and no position 400"):
        capture_moments(model, PROMPTS, positions=400)
    with pytest.raises(CaptureError, match="1 answers were given with 5 prompts"):
        capture_moments(model, PROMPTS, positions="generated", answers=["a"])
    with pytest.raises(CaptureError, match="answer 1 has no tokens"):
        capture_moments(model, PROMPTS[:2], positions="generated", answers=["a", ""])
    with pytest.raises(CaptureError, match="lower max_new_tokens"):
        capture_moments(model, PROMPTS, positions="generated", max_new_tokens=10_000)
    with pytest.raises(CaptureError, match="batch_size is 0"):
        capture_moments(model, PROMPTS, options=CaptureOptions(batch_size=0))


def test_moments_that_do_not_fit_are_refused(model: HookedLM, tmp_path: Path) -> None:
    one, site = capture_moments(model, PROMPTS[:1]), Site("resid_post", 0)
    with pytest.raises(CaptureError, match="do not merge"):
        one + capture_moments(model, PROMPTS[:1], [site])
    with pytest.raises(CaptureError, match="positions last and all"):
        one + capture_moments(model, PROMPTS[:1], positions="all")
    with pytest.raises(CaptureError, match="only one of the two"):
        one + capture_moments(model, PROMPTS[:1], keep_rows=True)
    with pytest.raises(CaptureError, match="second_moments=True"):
        one.covariance(site)
    with pytest.raises(CaptureError, match="two tokens"):
        capture_moments(model, PROMPTS[:1], [site], second_moments=True).covariance(site)
    with pytest.raises(CaptureError, match="missing or damaged"):
        Moments.load(tmp_path / "none.safetensors")


@pytest.mark.parametrize("name", ["batch_size", "batch_tokens", "pairs_at_once"])
def test_options_below_one_are_refused(name: str) -> None:
    with pytest.raises(CaptureError, match=f"{name} is 0"):
        CaptureOptions(**{name: 0})
