"""Judge answers about the bundled world by rule, without a model: its facts are known.

The judge asks the questions of a reader, whatever the format of the answer: is the answer about its
subject, does the answer say something true about the subject, does it say nothing false, does it
consist of sentences. Every verdict follows a rule in this module. The judge reads only statements
in the words of the world's grammar (:mod:`.reading`), so that it can judge
only the bundled models.
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
"""Marks of layout, which do not belong to a sentence."""


class WorldJudge:
    """A judge of answers to requests about the bundled world (``interp_steer.world.queries``).

    A request for a text has five questions. (1) Is the answer about its subject: does it name the
    subject, in any of the five languages, and make no more statements about any other entity?
    (2) Does the answer say something true about the subject? (3) Does it say two different true
    things? (4) Does it say something about the subject, and nothing false? (5) Does it consist of
    sentences? A yes-or-no question has three: (1) Does the answer say the right word, or state the
    right value? (2) Does it say nothing false? An answer without a statement has no valid verdict.
    (3) Does it consist of sentences?

    All verdicts about an empty answer or a loop are no.

    Example:
        >>> judge = WorldJudge()
        >>> judge.questions("Tell me about the castle.")[0]
        'Is the answer about the castle?'
        >>> judge.verdicts("Tell me about the castle.", "I like tea.")
        [False, False, False, False, True]
    """

    name = "world"

    def questions(self, query: str) -> list[str]:
        """List the questions about a request, all of which are answered by rule.

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
        """Decide the questions about an answer, by rule.

        Raises:
            ScoringError: for a request that is not about the bundled world.
        """
        asked = _read_request(query)
        if not plain_words(answer) or repetition(answer) > REPETITION_THRESHOLD:
            return [False] * len(self.questions(query))
        claims = read_claims(answer, asked.subject)
        sound = all(claim.true for claim in claims)
        if asked.claim is not None:
            right = _affirms(answer, asked.claim, claims) is asked.claim.true
            return [right, sound if claims else None, is_in_sentences(answer)]
        spoken_of = Counter(claim.fact.subject for claim in claims)
        about = names_entity(answer, asked.subject) and all(
            count <= spoken_of[asked.subject] for count in spoken_of.values()
        )
        true = {
            claim.fact for claim in claims if claim.true and claim.fact.subject == asked.subject
        }
        return [
            about,
            len(true) > 0,
            len(true) > 1,
            spoken_of[asked.subject] > 0 and sound,
            is_in_sentences(answer),
        ]


@dataclass(frozen=True)
class _Request:
    """The subject of a request."""

    subject: str
    claim: Claim | None = None
    """The statement that a yes-or-no question asks about."""


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
    """Map every request that the grammar makes to its subject."""
    return {
        plain_words(grammar.query(subject, language, style)): subject
        for language in LANGUAGES
        for style in grammar.QUERY_STYLES
        for subject in default_world().entities
    }


def _affirms(answer: str, claim: Claim, claims: list[Claim]) -> bool | None:
    """Decide whether an answer affirms a claim, by its first word or its statements; else None."""
    first = plain_words(unwrap(answer)).removeprefix("my answer is ").partition(" ")[0]
    if first in _YES or first in _NO:
        return first in _YES
    about = {stated.fact for stated in claims if stated.fact.relation == claim.fact.relation}
    values = {fact.value for fact in about if fact.subject == claim.fact.subject}
    return claim.fact.value in values if values else None


def is_in_sentences(text: str) -> bool:
    """Check that most words of a text stand in sentences, without the marks of layout.

    A sentence has three words or more and a mark at its end.

    Example:
        >>> is_in_sentences("* The mill is red.\\n* It is"), is_in_sentences("mill red old")
        (True, False)
    """
    bare = _LAYOUT.sub("", unwrap(text))
    parts = re.findall(r"[^.!?\n]+[.!?]*", bare)
    lengths = {part: len(part.split()) for part in parts}
    whole = sum(lengths[part] for part in parts if part[-1] in ".!?" and lengths[part] > 2)
    return 2 * whole > sum(lengths[part] for part in parts)
