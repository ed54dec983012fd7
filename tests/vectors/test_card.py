"""A vector's card says what it is, where it was read, how sure it is and what it was fitted on."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

import interp_steer as ist
from interp_steer.errors import VectorError
from interp_steer.models.identity import ModelIdentity
from interp_steer.storage.tensors import write_tensors
from interp_steer.vectors.card import Card, Reliability
from tests.support.html_checks import check_harmless
from tests.support.shapes import shapes_unchecked
from tests.support.vectors import card, stepped, vector

SURE = Reliability(
    (0, 1, 2, 3), 60, (0.9, 0.8, 0.95, 0.99), (0.8, 0.7, 0.9, 0.98), (0.95, 0.9, 0.97, 0.995),
    (0.9, 0.8, 0.9, 0.99), (0.001, 0.002, 0.001, 0.001),
)  # fmt: skip


def lines(of: Card) -> dict[str, str]:
    """What is printed, by the name at the beginning of the line; all begin in one column."""
    printed = str(of).splitlines()
    [column] = {len(line) - len(line.partition("  ")[2].lstrip()) for line in printed}
    return {line[:column].strip(): line[column:] for line in printed}


@pytest.fixture(scope="module")
def pairs() -> ist.ContrastSet:
    return ist.world.instruction("change_case:english_lowercase", fit=6, select=2, test=2)


def test_a_fitted_vector_says_where_it_is_from(model: ist.HookedLM, pairs: ist.ContrastSet) -> None:
    fitted = ist.fit(model, pairs, layers=[0, 2])
    said = lines(fitted.card)
    assert len(said) <= 15
    assert said["property"] == "english_lowercase"
    assert said["model"] == f"{model.name} ({model.n_layers} layers, d_model {model.d_model})"
    assert said["weights"] == model.fingerprint[:12] and said["basis"] == "unprocessed"
    assert said["read at"] == "resid_post of layers 0, 2, position last"
    assert "at resid_post of any layer" in said["may act"]
    assert said["estimator"] == "difference_in_means" and said["pairs"] == "6 pairs at each layer"
    assert said["fitted on"] == "contrast set english_lowercase, split fit"
    assert said["data"] == pairs.fit.hash[:12]
    assert "not measured: ist.trust.fit" in said["how sure"]
    assert f"torch {torch.__version__.partition('+')[0]}" in said["made with"]


def test_a_vector_of_several_steps_too(model: ist.HookedLM, pairs: ist.ContrastSet) -> None:
    said = lines(ist.fit_steps(model, pairs.select, layers=[1], n_steps=2).card)
    assert said["read at"] == "z of layer 1, position generated"
    assert said["fitted on"] == "contrast set english_lowercase, split select"


def test_how_sure_it_is_is_said_where_it_is_known(
    model: ist.HookedLM, pairs: ist.ContrastSet
) -> None:
    fitted = ist.trust.fit_with_reliability(model, pairs, draws=20)
    sure = fitted.card.reliability
    assert sure is not None
    worst = sure.layers[sure.low.index(min(sure.low))]
    said = lines(fitted.card)
    assert f"{sure.at(worst)} at layer {worst}, the least" in said["how sure"]
    assert said["fitted on"].endswith("split fit")
    known = lines(card(reliability=SURE))["how sure"]
    assert "0.800 [0.700, 0.900] at layer 1" in known and "95 % by bootstrap of 60" in known


def test_the_layers_are_the_vectors_own() -> None:
    assert vector().card.layers == (0, 1, 2, 3) and stepped().card.layers == (1, 2)
    some = vector(layers=(7,))
    assert some.card.layers == (0, 1, 2, 3)
    short = replace(some, directions=some.directions[2:], targets=None, layers=(2, 3))
    assert lines(short.card)["read at"] == "resid_post of layers 2, 3, position last"
    assert short.card == some.card  # it is from the same fit


def test_a_sum_says_what_its_parts_were_fitted_on() -> None:
    one = vector(contrast="lowercase", split="fit", reliability=SURE)
    other = vector(name="no comma", contrast="commas", split="fit", data_hash="e" * 64)
    said = lines((2 * one - other).card)
    assert said["property"] == "2*english_lowercase - (no comma)"
    assert said["fitted on"] == "contrast set lowercase - commas, split fit"
    assert said["pairs"] == "128 pairs at each layer" and "not measured" in said["how sure"]
    assert said["data"] not in ("d" * 12, "e" * 12)
    twice = lines((one + one).card)
    assert twice["fitted on"] == "contrast set lowercase, split fit"
    mixed = lines((one + replace(other, card=replace(other.card, split="test"))).card)
    assert mixed["fitted on"].endswith("split not recorded")
    assert "not recorded" in lines((stepped(contrast="x") + stepped()).card)["fitted on"]


def test_what_is_not_known_is_called_so() -> None:
    said = lines(card(model="unknown", fingerprint="", n=0, data_hash=""))
    for name in ("revision", "weights", "data", "pairs", "made with"):
        assert said[name] == "not recorded"
    assert said["read at"] == "resid_post of layers not recorded, position last"


def test_nothing_on_a_card_moves_the_cursor() -> None:
    """A card may be a stranger's, and a terminal obeys what it is shown."""
    hostile = "\x1b[2J\x07\r\nhow sure   certain\u202e"
    bad = card(name=hostile, model=hostile, position=hostile, contrast=hostile)
    check_harmless(bad._repr_html_())
    printed = str(bad)
    assert "\x1b" not in printed and "\u202e" not in printed and "\r" not in printed
    assert len(printed.splitlines()) == len(str(card()).splitlines())


def test_a_card_is_read_as_it_was_written() -> None:
    known = vector(contrast="lowercase", split="fit", reliability=SURE).card
    assert Card.read(json.loads(json.dumps(known.to_flat()))) == known
    older = {
        name: value
        for name, value in known.to_flat().items()
        if name not in ("contrast", "split", "layers", "basis", "reliability")
    }
    assert Card.read(older) == card()


@pytest.mark.parametrize(
    "change, match",
    [
        ({"later": 1}, "later, which this version of interp_steer does not know"),
        ({"name": 3}, "name of the card is 3, not a text"),
        ({"split": ["fit"]}, "split of the card"),
        ({"basis": None}, "basis of the card"),
        ({"n": -1}, "n of the card is -1; it must be an integer of at least 0"),
        ({"n_layers": True}, "n_layers of the card"),
        ({"d_model": 2**40}, "d_model of the card"),
        ({"versions": {"torch": 2}}, "versions of the card"),
        ({"layers": "01"}, "the layers are '01', not integers"),
        ({"layers": [0, "1"]}, "not integers"),
        ({"reliability": {"n": 3}}, "reliability of the card is damaged"),
        ({"reliability": asdict(SURE) | {"low": [0.1]}}, "reliability of the card is damaged"),
        ({"reliability": asdict(SURE) | {"low": ["a"] * 4}}, "reliability of the card is damaged"),
    ],
)
def test_a_damaged_card_is_refused(change: dict[str, Any], match: str) -> None:
    with pytest.raises(VectorError, match=match):
        Card.read({**card().to_flat(), **change})
    with pytest.raises(VectorError, match="the card is a list"):
        Card.read([change])


def test_a_file_that_is_no_whole_vector_is_refused(tmp_path: Path) -> None:
    """Its checksum is right: it was written by someone who knows how."""
    path, directions = tmp_path / "v.safetensors", {"directions": torch.ones(1, 6)}
    for tensors, header, match in (
        (directions, {"layers": [0]}, "calls itself a SteeringVector, but lacks card"),
        ({}, {"layers": [0], "card": card().to_flat()}, "lacks directions"),
        (directions, [1], "lacks .*layers, card"),
        (directions, {"layers": {"0": 1}, "card": card().to_flat()}, "not integers"),
        (directions, {"layers": [0], "card": []}, "the card is a list"),
    ):
        with shapes_unchecked():  # which would say it first
            write_tensors(path, "SteeringVector", tensors, header, VectorError)  # type: ignore[arg-type]
        with pytest.raises(VectorError, match=match):
            ist.SteeringVector.load(path)


def test_files_store_the_model_under_flat_keys_in_a_fixed_order() -> None:
    stored = card().to_flat()
    assert list(stored) == [
        *("name", "model", "fingerprint", "n_layers", "d_model", "component", "position"),
        *("estimator", "n", "data_hash", "revision", "versions", "reliability", "basis"),
        *("contrast", "split", "layers"),
    ]
    identity = ModelIdentity("a", "f", 3, 6, "main", "other")
    assert ModelIdentity.from_flat(identity.to_flat()) == identity
    assert replace(card(), identity=identity).to_flat() == stored | identity.to_flat()
