"""Does an answer follow its instructions? lm-eval's IFEval checkers, made safe to trust.

The checkers and the strict and loose rules are those of ``lm_eval.tasks.ifeval``. Four things are
added, because a verdict must depend on nothing but the answer and its instructions:

- a missing or out-of-range argument is an error: lm-eval draws a random threshold in its place;
- ``langdetect`` is seeded anew for each verdict: unseeded, the same text may change language;
- nothing is downloaded: without NLTK's ``punkt_tab`` a splitter that needs no file is used, and the
  verdict says so (see `interp_steer.scoring.sentences`);
- ``length_constraints:number_sentences`` and ``number_words`` also take ``relation="exactly"``,
  which lm-eval does not have (needed for "exactly n sentences"; not comparable with IFEval scores).

Known readings of lm-eval that are kept: keywords are regular expressions, a text whose language
cannot be detected at all counts as being in the language asked for, and any JSON value is JSON.
"""

from __future__ import annotations

import difflib
import functools
import logging
import math
import operator
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from types import MappingProxyType
from typing import Any

from interp_steer.errors import ScoringError
from interp_steer.scoring import sentences

REQUIRED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "keywords:existence": ("keywords",),
        "keywords:frequency": ("keyword", "frequency", "relation"),
        "keywords:forbidden_words": ("forbidden_words",),
        "keywords:letter_frequency": ("letter", "let_frequency", "let_relation"),
        "language:response_language": ("language",),
        "length_constraints:number_sentences": ("num_sentences", "relation"),
        "length_constraints:number_paragraphs": ("num_paragraphs",),
        "length_constraints:number_words": ("num_words", "relation"),
        "length_constraints:nth_paragraph_first_word": (
            "num_paragraphs",
            "nth_paragraph",
            "first_word",
        ),
        "detectable_content:number_placeholders": ("num_placeholders",),
        "detectable_content:postscript": ("postscript_marker",),
        "detectable_format:number_bullet_lists": ("num_bullets",),
        "detectable_format:constrained_response": (),
        "detectable_format:number_highlighted_sections": ("num_highlights",),
        "detectable_format:multiple_sections": ("section_spliter", "num_sections"),
        "detectable_format:json_format": (),
        "detectable_format:title": (),
        "combination:two_responses": (),
        "combination:repeat_prompt": ("prompt_to_repeat",),
        "startend:end_checker": ("end_phrase",),
        "startend:quotation": (),
        "change_case:capital_word_frequency": ("capital_frequency", "capital_relation"),
        "change_case:english_capital": (),
        "change_case:english_lowercase": (),
        "punctuation:no_comma": (),
    }
)
"""Arguments without which each instruction has no verdict (lm-eval's spelling, typos included)."""

EXACTLY = ("length_constraints:number_sentences", "length_constraints:number_words")
"""Instructions that also take ``relation="exactly"``: this project's own, unknown to lm-eval."""

_RELATIONS = {"less than": operator.lt, "at least": operator.ge, "exactly": operator.eq}
_COUNTS = frozenset(
    name
    for names in REQUIRED.values()
    for name in names
    if name.startswith(("num_", "nth_")) or name.endswith("frequency")
)
_LISTS = frozenset(("keywords", "forbidden_words"))
_LANGDETECT_LOCK = threading.Lock()


@dataclass(frozen=True)
class Verdict:
    """Whether one answer follows its instructions.

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
    """What counted sentences and words: ``"punkt_tab"`` (lm-eval's own) or ``"regex"``."""


def verify(
    answer: str,
    instruction_ids: Sequence[str],
    kwargs: Sequence[Mapping[str, Any]],
    *,
    prompt: str = "",
) -> Verdict:
    """Check an answer against IFEval instructions (IFEval; paper A, format experiments).

    Loose, as in lm-eval: an instruction is followed when any of eight variants of the answer
    follows it: as it is, without its first line, last line, or both; each also without asterisks.
    A blank answer, or a blank variant, follows nothing.

    Args:
        answer: the completion's text.
        instruction_ids: IFEval ids such as ``"change_case:english_lowercase"``; see `REQUIRED`.
        kwargs: one mapping per id with the arguments that `REQUIRED` names; ``None`` entries, of
            which the IFEval dataset is full, are dropped.
        prompt: the query; ``combination:repeat_prompt`` compares with it when its own
            ``prompt_to_repeat`` is not given.

    Returns:
        The `Verdict`. It depends on the arguments alone, not on the order of calls, on the random
        state, which is left as it was, or on the network.

    Raises:
        ScoringError: on no instruction, an unknown id (naming the nearest), a missing, unknown or
            impossible argument, or a keyword that is no regular expression.
    """
    if not instruction_ids:
        raise ScoringError("no instruction to verify: give at least one id, see ifeval.REQUIRED")
    if len(instruction_ids) != len(kwargs):
        raise ScoringError(
            f"{len(instruction_ids)} instructions {list(instruction_ids)} but {len(kwargs)} "
            "mappings of arguments; give one per instruction, empty where it takes none"
        )
    checkers = [
        _build(instruction_id, given, prompt)
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
    """The seven variants beside the answer itself, blank and repeated ones left out."""
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


def _build(instruction_id: str, given: Mapping[str, Any], prompt: str) -> Any:
    """A checker with its arguments set, none of which lm-eval could have drawn at random."""
    if instruction_id not in REQUIRED:
        raise ScoringError(
            f"unknown instruction {instruction_id!r}; the nearest known are "
            f"{', '.join(_nearest(instruction_id))} (all of them: ifeval.REQUIRED)"
        )
    arguments = {name: value for name, value in given.items() if value is not None}
    if instruction_id == "combination:repeat_prompt" and prompt:
        arguments.setdefault("prompt_to_repeat", prompt)
    check_arguments(instruction_id, arguments)
    checker = _checkers()[instruction_id](instruction_id)
    checker.build_description(**arguments)
    return checker


def check_arguments(instruction_id: str, arguments: Mapping[str, Any]) -> None:
    """Refuse arguments with which an instruction has no verdict.

    Args:
        instruction_id: one of `REQUIRED`.
        arguments: its arguments, none of them None.

    Raises:
        ScoringError: naming what is missing, unknown or impossible.
    """
    required = REQUIRED[instruction_id]
    missing = [name for name in required if name not in arguments]
    if missing:
        raise ScoringError(
            f"{instruction_id} needs {', '.join(missing)} and was given {dict(arguments)}; without "
            f"it the threshold would be drawn at random: pass {', '.join(required)} in kwargs"
        )
    unknown = [name for name in arguments if name not in required]
    if unknown:
        raise ScoringError(
            f"{instruction_id} does not take {', '.join(unknown)}; it takes "
            f"{', '.join(required) or 'no arguments'}"
        )
    for name, value in arguments.items():
        problem = _problem(instruction_id, name, value, arguments)
        if problem:
            raise ScoringError(f"{instruction_id}: {name}={value!r} {problem}")


def _problem(instruction_id: str, name: str, value: Any, arguments: Mapping[str, Any]) -> str:
    """What is wrong with an argument, "" when nothing is."""
    if name in _COUNTS:
        if not _is_whole(value):
            return "is not a whole number"
        if value < 0:
            return "is negative; lm-eval would draw a random number: pass 0 or more"
        most = arguments.get("num_paragraphs", math.inf)
        if name == "nth_paragraph" and _is_whole(most) and not 1 <= value <= most:
            return f"is not in 1..num_paragraphs ({most})"
    elif name.endswith("relation"):
        relations = [r for r in _RELATIONS if r != "exactly" or instruction_id in EXACTLY]
        if value not in relations:
            return f"is not one of {', '.join(map(repr, relations))}"
    elif name in _LISTS:
        listed = isinstance(value, (list, tuple)) and value
        if not listed or not all(isinstance(word, str) and word for word in value):
            return "is not a non-empty list of words"
    elif not isinstance(value, str) or not value.strip():
        return "is not a non-empty text"
    elif name == "letter" and len(value) != 1:
        return "is not a single character"
    elif name == "language":
        codes = lm_eval_instructions().instructions_util.LANGUAGE_CODES
        if value not in codes:
            return f"is not a language code that IFEval knows; known: {', '.join(codes)}"
    return ""


def _is_whole(value: Any) -> bool:
    known = isinstance(value, Real) and not isinstance(value, bool)
    return known and value % 1 == 0  # which it is not for nan and infinities


def _nearest(instruction_id: str) -> list[str]:
    wanted = instruction_id.lower().rpartition(":")[2]
    by_name = {known.rpartition(":")[2]: known for known in REQUIRED}
    inside = [known for name, known in by_name.items() if wanted and wanted in name]
    close = [by_name[n] for n in difflib.get_close_matches(wanted, by_name, n=3, cutoff=0.0)]
    return list(dict.fromkeys([*inside, *close]))[:3]


@contextmanager
def _seeded_langdetect() -> Iterator[None]:
    """Seed langdetect while the block runs; each detection draws from a generator of its own."""
    from langdetect import DetectorFactory

    with _LANGDETECT_LOCK:
        before = DetectorFactory.seed
        DetectorFactory.seed = 0
        try:
            yield
        finally:
            DetectorFactory.seed = before


@functools.cache
def lm_eval_instructions() -> Any:
    """The module ``lm_eval.tasks.ifeval.instructions``, imported without touching the network.

    lm-eval looks for ``punkt_tab`` when this module is imported and downloads it when it is not
    there, which waits or fails on a machine without a network. While the import runs, and only
    then, that one look-up is answered with a yes; whether the file is there is
    `interp_steer.scoring.sentences.splitter`'s to say.
    """
    import lm_eval.tasks  # noqa: F401  the heavy part, before anything is set aside
    import nltk

    find = nltk.data.find

    def found(resource: str, *args: Any, **options: Any) -> Any:
        return resource if resource == "tokenizers/punkt_tab" else find(resource, *args, **options)

    nltk.data.find = found
    try:
        from lm_eval.tasks.ifeval import instructions
    finally:
        nltk.data.find = find
    return instructions


@functools.cache
def _checkers() -> dict[str, Any]:
    """Checker class per id: lm-eval's, with the few that cannot be used as they are refined."""
    instructions = lm_eval_instructions()
    from lm_eval.tasks.ifeval.instructions_registry import INSTRUCTION_DICT

    # A text without a language is a known reading, see above, and no error in every other line.
    logging.getLogger(instructions.__name__).setLevel(logging.CRITICAL)

    class Counted(instructions.Instruction):
        """Compares a count with ``threshold``; subclasses name the argument and count."""

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
