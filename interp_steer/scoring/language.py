"""The language of an answer, by two detectors that know nothing of each other.

- lingua (``lingua-language-detector``) is the verdict: it chooses among :data:`CANDIDATES`, and
  says nothing where two of them are nearly as likely, as in a list of names.
- langdetect is the published measure (Dynamic Activation Composition) and the one that IFEval's
  ``language:response_language`` asks. It chooses among its 55 languages, by sampling; here each
  text is sampled with a generator of its own, so that its verdict depends on nothing but the text.

Both are right about a sentence of five words or more, and neither about a word or two. On 1,500
sentences of the bundled world (5 to 20 words, five languages) lingua names the right language of
99.0%, a wrong one of none, and leaves 1.0% undetected; langdetect is right about 99.4% and wrong
about the rest. Of single words lingua names the wrong language of 14% and none of 38%, of three
names in a row none of 73%; langdetect always names one.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from interp_steer.arguments import check_list
from interp_steer.errors import ScoringError
from interp_steer.statistics.intervals import Interval, bootstrap_mean, share

if TYPE_CHECKING:
    from langdetect.detector_factory import DetectorFactory
    from lingua import LanguageDetector

CANDIDATES = ("en", "it", "fr", "es", "de", "pt", "ca", "ro", "nl", "la")
"""What lingua chooses among: languages of answers, and what they are easily taken for."""

MARGIN = 0.1
"""How much likelier than the next the language must be for lingua to name it."""

Detector = Literal["lingua", "langdetect"]


@dataclass(frozen=True)
class Detection:
    """What two detectors say about a text.

    Example:
        >>> found = detections(["La locanda è molto antica.", ""])
        >>> found[0].lingua, found[0].langdetect, found[1].lingua
        ('it', 'it', None)
    """

    lingua: str | None
    """ISO 639-1 code; None where the text is empty or does not decide it."""
    langdetect: str | None
    """ISO 639-1 code; None for a text without letters."""
    probability: Mapping[str, float]
    """langdetect's probability of each language that it gives more than 0.1, by code."""


def detect(text: str, languages: Sequence[str] = CANDIDATES) -> str | None:
    """The language of a text, by lingua.

    Args:
        text: an answer; five words or more for a verdict to trust.
        languages: ISO 639-1 codes to choose among. A text in any other language is taken for one
            of these, or for none: name the ones that it might be.

    Returns:
        One of ``languages``; None for a text that is empty, has no letters, or does not decide it.

    Raises:
        ScoringError: for fewer than two languages, or one that lingua does not know.

    Example:
        >>> detect("La locanda è molto antica."), detect("42")
        ('it', None)
    """
    check_list("languages", languages, ScoringError)
    found = _lingua(tuple(languages)).detect_language_of(text)
    return None if found is None else found.iso_code_639_1.name.lower()


def detections(texts: Iterable[str], languages: Sequence[str] = CANDIDATES) -> list[Detection]:
    """The verdicts of both detectors on many texts, in a few milliseconds each.

    Args:
        texts: answers.
        languages: what lingua chooses among, see :func:`detect`.

    Returns:
        A verdict for each text, in their order, which has no part in it.

    Raises:
        ScoringError: as :func:`detect`.
    """
    check_list("texts", texts, ScoringError)
    check_list("languages", languages, ScoringError)
    texts = list(texts)
    once = dict.fromkeys(texts)
    found = {text: _detection(text, languages) for text in once}
    return [found[text] for text in texts]


def share_in(
    found: Sequence[Detection], language: str, by: Detector = "lingua", level: float = 0.95
) -> Interval:
    """Share of texts in a language (paper B), with its Wilson interval.

    Args:
        found: verdicts.
        language: ISO 639-1 code.
        by: whose verdict counts.
        level: confidence level, in (0, 1).

    Returns:
        The share of all texts; one that is undetected is not in the language.

    Raises:
        StatisticsError: on no verdicts.
    """
    return share([getattr(one, by) == language for one in found], level)


def undetected(
    found: Sequence[Detection], by: Detector = "lingua", level: float = 0.95
) -> Interval:
    """Share of texts about which a detector says nothing, with its Wilson interval.

    Args:
        found: verdicts.
        by: which detector.
        level: confidence level, in (0, 1).

    Raises:
        StatisticsError: on no verdicts.
    """
    return share([getattr(one, by) is None for one in found], level)


def mean_probability(
    found: Sequence[Detection], language: str, level: float = 0.95, seed: int = 0
) -> Interval:
    """langdetect's mean probability of a language (Dynamic Activation Composition).

    Args:
        found: verdicts.
        language: ISO 639-1 code.
        level: confidence level, in (0, 1).
        seed: of the bootstrap.

    Returns:
        The mean over all texts with its bootstrap interval; what langdetect does not name counts 0.

    Raises:
        StatisticsError: on no verdicts.
    """
    values = [one.probability.get(language, 0.0) for one in found]
    return bootstrap_mean(values, level=level, seed=seed)


def agreement(found: Sequence[Detection], level: float = 0.95) -> Interval:
    """Share of texts on which the two detectors say the same, with its Wilson interval.

    Args:
        found: verdicts; those that either detector leaves undetected are no part of the share.
        level: confidence level, in (0, 1).

    Raises:
        StatisticsError: when there is no text about which both say something.
    """
    both = [one for one in found if one.lingua is not None and one.langdetect is not None]
    return share([one.lingua == one.langdetect for one in both], level)


def _detection(text: str, languages: Sequence[str]) -> Detection:
    probability = _langdetect_probabilities(text)
    likeliest = max(probability, key=lambda code: probability[code], default=None)
    return Detection(detect(text, languages), likeliest, MappingProxyType(probability))


def _langdetect_probabilities(text: str) -> dict[str, float]:
    from langdetect.lang_detect_exception import LangDetectException

    detector = _profiles().create()
    detector.seed = 0  # a generator of its own, seeded for this text
    detector.append(text)
    found: dict[str, float] = {}
    try:
        for one in detector.get_probabilities():  # Chinese comes as zh-cn and zh-tw
            code = one.lang.partition("-")[0]
            found[code] = found.get(code, 0.0) + one.prob
    except LangDetectException:  # no letters
        return {}
    return found


@functools.cache
def _profiles() -> DetectorFactory:
    """langdetect's profiles in a factory of our own, whose seed nobody else sets."""
    from langdetect.detector_factory import PROFILES_DIRECTORY, DetectorFactory

    factory = DetectorFactory()
    factory.load_profile(PROFILES_DIRECTORY)
    return factory


@functools.cache
def _lingua(languages: tuple[str, ...]) -> LanguageDetector:
    """Lingua in its high accuracy: 0.6 ms a text. The low one takes 0.25, and errs on six times as
    many sentences."""
    from lingua import Language, LanguageDetectorBuilder

    known = {one.iso_code_639_1.name.lower(): one for one in Language.all()}
    unknown = [code for code in languages if code not in known]
    if unknown or len(set(languages)) < 2:
        raise ScoringError(
            f"lingua cannot choose among the languages {', '.join(languages) or 'of an empty list'}"
            + (f"; it does not know {', '.join(unknown)}" if unknown else "")
            + "; give two ISO 639-1 codes or more, such as 'en' and 'it'"
        )
    builder = LanguageDetectorBuilder.from_languages(*(known[code] for code in languages))
    return builder.with_minimum_relative_distance(MARGIN).build()
