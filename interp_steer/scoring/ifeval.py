"""Verify that an answer follows its instructions, with lm-eval's IFEval checkers made reproducible.

The checkers and the strict and loose rules are those of ``lm_eval.tasks.ifeval``. Four changes make
a verdict depend on the answer and its instructions only:

- a missing or out-of-range argument is an error: lm-eval draws a random threshold in its place;
- ``langdetect`` is seeded for each verdict: unseeded, the detected language of a text may change;
- nothing is downloaded: without NLTK's ``punkt_tab`` a splitter without a file is used, and the
  verdict names it (see :mod:`interp_steer.scoring.sentences`);
- ``length_constraints:number_sentences`` and ``number_words`` also take ``relation="exactly"``,
  which lm-eval does not have (needed for "exactly n sentences"; not comparable with IFEval scores).

Three properties of lm-eval's checkers are kept: keywords are regular expressions, a text whose
language cannot be detected counts as being in the requested language, and any JSON value is JSON.
"""

from __future__ import annotations

import functools
import logging
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from interp_steer.arguments import check_list
from interp_steer.contrast.instructions.arguments import (
    _RELATIONS,
    REQUIRED,
    check_arguments,
    lm_eval_instructions,
    nearest_instructions,
)
from interp_steer.errors import ScoringError
from interp_steer.scoring import sentences

_LANGDETECT_LOCK = threading.Lock()


@dataclass(frozen=True)
class Verdict:
    """The verdict on an answer: does it follow its instructions?

    Example:
        >>> verify("all in lowercase.", ["punctuation:no_comma"], [{}]).strict
        True
    """

    strict: bool
    """Every instruction is followed by the answer as it stands."""
    loose: bool
    """Every instruction is followed by the answer or by one of its loose variants."""
    each_strict: tuple[bool, ...]
    """The strict outcome of each instruction, in the order given."""
    each_loose: tuple[bool, ...]
    """The loose outcome of each instruction, in the order given."""
    splitter: sentences.Splitter
    """The splitter that counted sentences and words: ``"punkt_tab"`` (lm-eval's) or ``"regex"``."""


def verify(
    answer: str,
    instruction_ids: Sequence[str],
    kwargs: Sequence[Mapping[str, Any]],
    *,
    prompt: str = "",
) -> Verdict:
    """Check an answer against IFEval instructions (IFEval; paper A, format experiments).

    The loose rule is lm-eval's: an instruction is followed when any of eight variants of the answer
    follows it: the answer unchanged, without its first line, without its last line, or without
    both; each also without asterisks. A blank answer or variant follows no instruction.

    Args:
        answer: the completion's text.
        instruction_ids: IFEval ids such as ``"change_case:english_lowercase"``; see
            :data:`REQUIRED`.
        kwargs: one mapping per id with the arguments that :data:`REQUIRED` names; entries that are
            ``None``, of which the IFEval dataset has many, are dropped.
        prompt: the query; ``combination:repeat_prompt`` compares the answer with it when
            ``prompt_to_repeat`` is not given.

    Returns:
        The :class:`Verdict`. It depends on the arguments alone, not on the order of calls, the
        network, or the random state, which does not change.

    Raises:
        ScoringError: for no instruction, an unknown id (naming the nearest), a missing, unknown or
            impossible argument, a keyword that is not a regular expression, or one text or mapping
            in place of a list.
    """
    check_list("instruction_ids", instruction_ids, ScoringError)
    check_list("kwargs", kwargs, ScoringError)
    if not instruction_ids:
        raise ScoringError("no instruction to verify: give at least one id, see ifeval.REQUIRED")
    if len(instruction_ids) != len(kwargs):
        raise ScoringError(
            f"{len(instruction_ids)} instructions {list(instruction_ids)} but {len(kwargs)} "
            "mappings of arguments; give one per instruction, empty where it takes none"
        )
    checkers = [
        _build_checker(instruction_id, given, prompt)
        for instruction_id, given in zip(instruction_ids, kwargs, strict=True)
    ]
    variants = _loose_variants(answer)
    each_strict, each_loose = [], []
    with _seeded_langdetect():
        for checker in checkers:
            follows = _follows(checker, answer)
            each_strict.append(follows)
            each_loose.append(follows or any(_follows(checker, text) for text in variants))
    return Verdict(
        strict=all(each_strict),
        loose=all(each_loose),
        each_strict=tuple(each_strict),
        each_loose=tuple(each_loose),
        splitter=sentences.splitter(),
    )


def _loose_variants(answer: str) -> list[str]:
    """Return the seven variants of the answer, without blank and repeated ones."""
    lines = answer.split("\n")
    trimmed = ["\n".join(lines[cut]).strip() for cut in (slice(1, None), slice(-1), slice(1, -1))]
    shapes = [answer, *trimmed]
    candidates = dict.fromkeys([*trimmed, *(shape.replace("*", "") for shape in shapes)])
    return [text for text in candidates if text != answer and text.strip()]


def _follows(checker: Any, text: str) -> bool:
    if not text.strip():
        return False
    try:
        return bool(checker.check_following(text))
    except RecursionError:  # json.loads on a run of brackets, a common degenerate output
        return False
    except re.error as error:
        raise ScoringError(
            f"{checker.id}: {checker.get_instruction_args()} is read as a regular expression by "
            f"lm-eval and is not one ({error}); escape it with re.escape"
        ) from error


def _build_checker(instruction_id: str, given: Mapping[str, Any], prompt: str) -> Any:
    """Return a checker with all its arguments set, so that lm-eval draws none at random."""
    if instruction_id not in REQUIRED:
        raise ScoringError(
            f"unknown instruction {instruction_id!r}; the nearest known are "
            f"{', '.join(nearest_instructions(instruction_id))} (all of them: ifeval.REQUIRED)"
        )
    arguments = {name: value for name, value in given.items() if value is not None}
    if instruction_id == "combination:repeat_prompt" and prompt:
        arguments.setdefault("prompt_to_repeat", prompt)
    check_arguments(instruction_id, arguments)
    checker = _checkers()[instruction_id](instruction_id)
    checker.build_description(**arguments)
    return checker


@contextmanager
def _seeded_langdetect() -> Iterator[None]:
    """Seed langdetect while the block runs; each detection draws from its own generator."""
    from langdetect import DetectorFactory

    with _LANGDETECT_LOCK:
        before = DetectorFactory.seed
        DetectorFactory.seed = 0
        try:
            yield
        finally:
            DetectorFactory.seed = before


@functools.cache
def _checkers() -> dict[str, Any]:
    """Return the checker class of each id: lm-eval's, or a refined class for a few ids."""
    instructions = lm_eval_instructions()
    from lm_eval.tasks.ifeval.instructions_registry import INSTRUCTION_DICT

    # lm-eval logs an error for every text without a language.
    logging.getLogger(instructions.__name__).setLevel(logging.CRITICAL)

    class Counted(instructions.Instruction):
        """A checker that compares a count with the argument named ``threshold``."""

        threshold = ""

        def build_description(self, **arguments):
            self.arguments = arguments

        def get_instruction_args(self):
            return self.arguments

        def count(self, text):
            raise NotImplementedError

        def check_following(self, value):
            relation = next(v for k, v in self.arguments.items() if k.endswith("relation"))
            return _RELATIONS[relation](self.count(value), self.arguments[self.threshold])

    class Sentences(Counted):
        threshold = "num_sentences"

        def count(self, text):
            return sentences.count_sentences(text)

    class Words(Counted):
        threshold = "num_words"

        def count(self, text):
            return instructions.instructions_util.count_words(text)

    class CapitalWords(Counted):
        threshold = "capital_frequency"

        def count(self, text):
            return sum(word.isupper() for word in sentences.words(text))

    class Letters(Counted):
        threshold = "let_frequency"  # IFEval asks for "!" too, for which lm-eval draws a letter

        def count(self, text):
            return text.lower().count(self.arguments["letter"].lower())

    return {
        **INSTRUCTION_DICT,
        "length_constraints:number_sentences": Sentences,
        "length_constraints:number_words": Words,
        "change_case:capital_word_frequency": CapitalWords,
        "keywords:letter_frequency": Letters,
    }
