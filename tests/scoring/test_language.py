"""The language of a text: right about sentences, silent about names, and the same every time."""

from __future__ import annotations

import subprocess
import sys
from random import Random

import langdetect
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interp_steer.errors import ScoringError, StatisticsError
from interp_steer.scoring import ifeval
from interp_steer.scoring.language import (
    Detection,
    agreement,
    detect,
    detect_all,
    mean_probability,
    share_in,
    share_undetected,
)
from interp_steer.world import grammar
from interp_steer.world.facts import LANGUAGES, default_world

WORLD = default_world()
FACTS = Random(1).sample(WORLD.facts, 60)
SENTENCES = [
    (language, grammar.sentence(fact, language, Random(n)))
    for n, fact in enumerate(FACTS)
    for language in LANGUAGES
]
FOUND = detect_all(text for _, text in SENTENCES)
SILENT = ["", "  \n", "42", "1234 + 5 = ?", "... !!"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_sentences_are_read_right(language: str) -> None:
    mine = [found for (said, _), found in zip(SENTENCES, FOUND, strict=True) if said == language]
    for by in ("lingua", "langdetect"):
        assert share_in(mine, language, by).value >= 0.95, by
    assert mean_probability(mine, language).value > 0.95
    others = [found.lingua for found in mine if found.lingua not in (language, None)]
    assert len(others) <= 1


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(12)), st.integers())
def test_a_verdict_depends_on_its_text_alone(order: list[int], seed: int) -> None:
    texts = [text for _, text in SENTENCES[:9]] + ["Alma Bruno Carla", "no", "gatto sole"]
    before = langdetect.DetectorFactory.seed
    langdetect.DetectorFactory.seed = seed % 2**32  # nobody else's seed has a part in it
    try:
        langdetect.detect("Ein Satz, der vorher kam.")
        found = detect_all([texts[index] for index in order])
    finally:
        langdetect.DetectorFactory.seed = before
    assert found == [detect_all([texts[index]])[0] for index in order]


def test_langdetect_says_what_ifeval_says() -> None:
    for (_, text), found in list(zip(SENTENCES, FOUND, strict=True))[::10]:
        assert found.langdetect is not None
        for code in LANGUAGES:
            kwargs = [{"language": code}]
            verdict = ifeval.verify(text, ["language:response_language"], kwargs)
            assert verdict.each_strict == (found.langdetect == code,), text


@pytest.mark.parametrize("text", SILENT)
def test_a_text_without_letters_has_no_language(text: str) -> None:
    assert detect(text) is None
    [found] = detect_all([text])
    assert found == Detection(None, None, {})


def test_names_alone_are_mostly_undetected() -> None:
    people = [entity.key for entity in WORLD.entities.values() if entity.kind == "person"]
    texts = [
        " ".join(grammar.name(key, "en") for key in Random(n).sample(people, 3)) for n in range(60)
    ]
    found = detect_all(texts)
    assert share_undetected(found).value > 0.5
    assert share_undetected(FOUND).value < 0.05
    assert share_undetected(found, "langdetect").value == 0.0  # which is why it is not the verdict


def test_the_candidates_are_what_is_chosen_among() -> None:
    text = "O moinho fica perto da velha ponte e toda a gente o conhece."
    assert detect(text) == "pt"
    assert detect(text, ("en", "it")) in ("it", "en", None)
    assert detect(text, ("pt", "nl")) == "pt"
    for refused in ((), ("it",), ("it", "it"), ("it", "xx"), ("it", "ITA")):
        with pytest.raises(ScoringError, match="lingua cannot choose"):
            detect(text, refused)


def test_shares_count_what_is_undetected() -> None:
    found = [
        Detection("it", "it", {"it": 0.9}),
        Detection("it", "es", {"es": 0.6, "it": 0.3}),
        Detection(None, "it", {"it": 0.6}),
        Detection("en", None, {}),
    ]
    share = share_in(found, "it")
    assert (share.value, share.n) == (0.5, 4) and share.low < 0.5 < share.high
    assert share_in(found, "it", "langdetect").value == 0.5
    assert share_undetected(found).value == share_undetected(found, "langdetect").value == 0.25
    assert mean_probability(found, "it").value == pytest.approx((0.9 + 0.3 + 0.6) / 4)
    both = agreement(found)
    assert (both.value, both.n) == (0.5, 2)
    with pytest.raises(StatisticsError):
        agreement(found[2:])
    assert agreement(FOUND).value > 0.97


def test_detectors_are_imported_when_a_text_is_read() -> None:
    code = (
        "import sys, interp_steer.scoring.language;"
        "assert not {'lingua', 'langdetect', 'torch'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
