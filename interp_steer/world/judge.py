"""A judge of answers about the bundled world that needs no model: it knows what is true there.

It asks what a reader would ask of any answer, whatever its format: is it about what was asked, does
it tell true things about it, nothing false, in sentences. Every verdict follows a rule that is
written here. It reads only what the grammar of the world can say (:mod:`.reading`), so that it is a
judge of the bundled models and of nobody else.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from interp_steer.errors import ScoringError
from interp_steer.scoring.fluency import REPETITION_THRESHOLD, repetition
from interp_steer.world import grammar
from interp_steer.world.chats import YES_NO
from interp_steer.world.facts import LANGUAGES, default_world
from interp_steer.world.reading import Claim, names_entity, plain_words, read_claims, unwrap

_SENTENCES = "Is it written in sentences, and not in one that comes over and over?"

_YES, _NO = ({plain_words(words[n]).rstrip(" .") for words in YES_NO.values()} for n in (0, 1))

_LAYOUT = re.compile(r"^\s*(?:[-*#>]+\s+|\d+[.)]\s+)|[*_\"“”„«»<>`#{}\[\]]", re.MULTILINE)
"""Marks of layout, which are no part of a sentence."""


class WorldJudge:
    """Judges answers to requests about the bundled world (``interp_steer.world.queries``).

    About a request for a text there are five questions: is the answer about its subject, that is,
    names it, in any of the five languages, and says of nothing else more than of it; does it say
    something true about it; two different things; does it say something about it, and nothing false
    of anything; is it written in sentences. About a yes-or-no question there are three: does it say
    the right one, or state what is so; does it say nothing false, which has no valid verdict where
    it states nothing; is it written in sentences.

    To an answer that is empty or a loop every verdict is no: whatever it says, it is no answer.

    Example:
        >>> judge = WorldJudge()
        >>> judge.questions("Tell me about the castle.")[0]
        'Is the answer about the castle?'
        >>> judge.verdicts("Tell me about the castle.", "I like tea.")
        [False, False, False, False, True]
    """

    name = "world"

    def questions(self, query: str) -> list[str]:
        """The questions about a request, of which all are answered by rule.

        Raises:
            ScoringError: for a request that is not about the bundled world.
        """
        asked = _read_request(query)
        if asked.claim is not None:
            right = "yes" if asked.claim.true else "no"
            return [
                f"Does the answer say {right}, which is right?",
                "Does it keep from saying anything false?",
                _SENTENCES,
            ]
        subject = grammar.name(asked.subject, "en")
        return [
            f"Is the answer about {subject}?",
            f"Does it say something true about {subject}?",
            f"Does it say two different things about {subject} that are true?",
            f"Does it tell of {subject} without saying anything false?",
            _SENTENCES,
        ]

    def verdicts(self, query: str, answer: str) -> list[bool | None]:
        """The verdicts about an answer, by rule.

        Raises:
            ScoringError: for a request that is not about the bundled world.
        """
        asked = _read_request(query)
        if not plain_words(answer) or repetition(answer) > REPETITION_THRESHOLD:
            return [False] * len(self.questions(query))
        said = read_claims(answer, asked.subject)
        sound = all(one.true for one in said)
        if asked.claim is not None:
            right = _affirms(answer, asked.claim, said) is asked.claim.true
            return [right, sound if said else None, is_in_sentences(answer)]
        spoken_of = Counter(one.fact.subject for one in said)
        about = names_entity(answer, asked.subject) and all(
            count <= spoken_of[asked.subject] for count in spoken_of.values()
        )
        true = {one.fact for one in said if one.true and one.fact.subject == asked.subject}
        return [
            about,
            len(true) > 0,
            len(true) > 1,
            spoken_of[asked.subject] > 0 and sound,
            is_in_sentences(answer),
        ]


@dataclass(frozen=True)
class _Request:
    """What a request is about."""

    subject: str
    claim: Claim | None = None
    """What a yes-or-no question asks about."""


@cache
def _read_request(query: str) -> _Request:
    subject = _subject_by_request().get(plain_words(query))
    if subject is not None:
        return _Request(subject)
    claims = read_claims(query) if query.rstrip().endswith("?") else []
    if len(claims) != 1:
        raise ScoringError(
            f"the request {query!r} is not about the bundled world, so that its judge has no "
            "questions to ask; give a model as the judge, at hand or behind an address"
        )
    return _Request(claims[0].fact.subject, claims[0])


@cache
def _subject_by_request() -> Mapping[str, str]:
    """The subject of every request that the grammar makes."""
    return {
        plain_words(grammar.query(subject, language, style)): subject
        for language in LANGUAGES
        for style in grammar.QUERY_STYLES
        for subject in default_world().entities
    }


def _affirms(answer: str, claim: Claim, said: list[Claim]) -> bool | None:
    """Whether an answer affirms a claim: by its first word, or by what it states; or neither."""
    first = plain_words(unwrap(answer)).removeprefix("my answer is ").partition(" ")[0]
    if first in _YES or first in _NO:
        return first in _YES
    about = {one.fact for one in said if one.fact.relation == claim.fact.relation}
    values = {fact.value for fact in about if fact.subject == claim.fact.subject}
    return claim.fact.value in values if values else None


def is_in_sentences(text: str) -> bool:
    """Whether most words of a text stand in sentences, its layout being left out.

    A sentence has three words or more and a mark at its end.

    Example:
        >>> in_sentences("* The mill is red.\\n* It is"), in_sentences("mill red old")
        (True, False)
    """
    bare = _LAYOUT.sub("", unwrap(text))
    parts = re.findall(r"[^.!?\n]+[.!?]*", bare)
    lengths = {part: len(part.split()) for part in parts}
    whole = sum(lengths[part] for part in parts if part[-1] in ".!?" and lengths[part] > 2)
    return 2 * whole > sum(lengths[part] for part in parts)
