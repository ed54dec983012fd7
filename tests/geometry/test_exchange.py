"""Exchanges that are what TransformerLens patches, parts that sum to the whole, known shares."""

from __future__ import annotations

import pandas as pd
import polars as pl
import pytest
import torch
from transformer_lens.patching import generic_activation_patch

import interp_steer as ist
from figures.style.interval_dots import interval_dots
from interp_steer.errors import FigureError, InterventionError
from interp_steer.geometry.exchange import (
    capture_last_tokens,
    displacement_along,
    exchange_activations,
)
from interp_steer.models.sites import Site
from tests.support.exchanges import (
    ANSWERS,
    LAYER,
    llama,  # noqa: F401  a fixture
    pairs,  # noqa: F401  a fixture
    scores,
)
from tests.support.shapes import shapes_unchecked


@pytest.fixture(scope="module", params=["llama3", "gemma2", "gpt2"])
def read(request, tiny, pairs):
    """A model, its vector, and the last tokens of the sides with the property and without."""
    model = tiny(request.param)
    return model, ist.fit(model, pairs), capture_last_tokens(model, pairs)


# ------------------------------------------------------------------ exchanges
def test_the_whole_exchanged_is_what_transformer_lens_patches(read, pairs):
    model, vector, (present, absent) = read
    layers = range(model.n_layers)
    mine = torch.stack(
        [
            scores(
                model,
                pairs.absent,
                exchange_activations(
                    vector.at(k), *(s[Site("resid_post", k)] for s in (present, absent))
                ),
            )
            for k in layers
        ]
    )

    def from_the_end(activation, _, clean):
        activation[:, -1] = clean[:, -1]
        return activation

    for row, (answer, *sides) in enumerate(zip(ANSWERS, pairs.present, pairs.absent, strict=True)):
        clean, corrupted = (torch.tensor([row]) for row in model.tokenize(sides))
        _, cache = model.bridge.run_with_cache(clean)
        theirs = generic_activation_patch(
            model.bridge,
            corrupted,
            cache,
            lambda logits, answer=answer: logits[0, -1].log_softmax(-1)[answer[0]],
            from_the_end,
            "resid_post",
            index_df=pd.DataFrame({"layer": list(layers)}),
        )
        torch.testing.assert_close(mine[:, row], theirs, atol=1e-4, rtol=1e-4)


def test_the_parts_of_an_exchange_sum_to_the_whole(read, pairs):
    model, vector, (present, absent) = read
    site, direction = Site("resid_post", LAYER), vector.at(LAYER)
    whole, component, rest = (
        exchange_activations(direction, present[site], absent[site], part)
        for part in ("whole", "component", "rest")
    )
    both = [one + other for one, other in zip(component, rest, strict=True)]
    longer = [[10, 11, 12], [13, 14], [15, 16, 17]]
    together, apart = (scores(model, pairs.absent, each, longer) for each in (both, whole))
    torch.testing.assert_close(together, apart, atol=1e-4, rtol=1e-4)
    plain = scores(model, pairs.absent, ist.unsteered, longer)
    assert (scores(model, pairs.absent, component, longer) - plain).abs().max() > 1e-3


def test_after_the_last_layer_the_donor_predicts(read, pairs):
    model, vector, (present, absent) = read
    last = model.n_layers - 1
    site = Site("resid_post", last)
    patched = scores(
        model, pairs.absent, exchange_activations(vector.at(last), present[site], absent[site])
    )
    told = scores(model, pairs.present, ist.unsteered)
    torch.testing.assert_close(patched, told, atol=1e-4, rtol=1e-4)


def test_an_exchange_with_oneself_does_nothing(llama, pairs):
    model, vector, (_, absent) = llama
    rows = absent[Site("resid_post", LAYER)]
    plain = scores(model, pairs.absent, ist.unsteered)
    for part in ("whole", "component", "rest"):
        same = scores(model, pairs.absent, exchange_activations(vector.at(LAYER), rows, rows, part))
        torch.testing.assert_close(same, plain, atol=1e-5, rtol=1e-5)


def test_exchanges_of_a_batch_are_those_of_its_rows(llama, pairs):
    model, vector, (present, absent) = llama
    site = Site("resid_post", LAYER)
    steering = exchange_activations(vector.at(LAYER), present[site], absent[site])
    together = scores(model, pairs.absent, steering)
    alone = torch.cat(
        [
            scores(model, [prompt], edit, [answer])
            for prompt, edit, answer in zip(pairs.absent, steering, ANSWERS, strict=True)
        ]
    )
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


def test_a_control_moves_a_prompt_as_far(llama):
    _, vector, (present, absent) = llama
    site, direction = Site("resid_post", LAYER), vector.at(LAYER)
    far = displacement_along(direction, present[site], absent[site])
    by_hand = (present[site].double() - absent[site].double()) @ direction.unit.double()
    torch.testing.assert_close(far, by_hand)
    # In the mean the exchange is the vector: that is what a difference in means is.
    assert float(far.mean()) == pytest.approx(float(vector.norms[LAYER]), rel=1e-5)


@pytest.mark.parametrize(
    ("cut", "part", "match"),
    [
        (lambda rows: rows, "half", "whole, component, rest"),
        (lambda rows: (rows[0], rows[1][:2]), "whole", "row for each prompt"),
        (lambda rows: (rows[0][:, :5], rows[1][:, :5]), "whole", "of their shape"),
    ],
)
def test_what_cannot_be_exchanged_is_refused(llama, cut, part, match):
    _, vector, (present, absent) = llama
    site = Site("resid_post", LAYER)
    with shapes_unchecked(), pytest.raises(InterventionError, match=match):
        exchange_activations(vector.at(LAYER), *cut((present[site], absent[site])), part=part)


# ------------------------------------------------------------------ figures
def effects_frame() -> pl.DataFrame:
    rows = [
        (group, panel, label, setting, value, value - 0.1, value + 0.1)
        for group, labels in (("necessity", ["zero", "mean"]), ("sufficiency", ["steer"]))
        for panel, more in (("lowercase", 0.0), ("title", 0.2))
        for label in labels
        for setting, value in (("vector", 0.6 + more), ("random", 0.05))
    ]
    columns = ["group", "panel", "label", "setting", "value", "low", "high"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def test_a_dot_for_each_estimate_and_none_twice():
    frame = effects_frame()
    drawing = interval_dots(frame, "share", group="group")
    assert sum(len(trace.x) for trace in drawing.figure.data) == frame.height
    assert "0.80 [0.70, 0.90] (title)" in drawing.caption and "0.05" in drawing.caption
    cut = interval_dots(frame, "share", group="group", span=(0.0, 0.7)).figure.data
    arrows = [mark for trace in cut for mark in trace.marker.symbol if mark == "triangle-right"]
    assert len(arrows) == 3 and all(max(trace.x) <= 0.7 for trace in cut)
    assert sorted(text.strip() for trace in cut for text in trace.text if text) == ["0.8"] * 3
    with pytest.raises(FigureError, match="occur twice"):
        interval_dots(pl.concat([frame, frame]), "share", group="group")
    with pytest.raises(FigureError, match="undefined"):
        interval_dots(frame.with_columns(pl.lit(float("nan")).alias("high")), "share")
