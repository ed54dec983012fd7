"""Write answers that follow instructions: draft sentences, mark, lay out, and finish them.

Each instruction acts on one stage, so that instructions compose:

- the draft (which sentences): language, length, no comma, keywords, placeholders;
- marks within sentences: capital words, highlights;
- the layout: bullets, sections, JSON, title;
- the whole text: postscript, end phrase, case, quotation marks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from random import Random
from typing import Any

from langdetect.detector_factory import PROFILES_DIRECTORY, DetectorFactory

from interp_steer.arguments import check_list
from interp_steer.contrast.instructions import registry as ids
from interp_steer.contrast.instructions.registry import Topic
from interp_steer.errors import ContrastError
from interp_steer.world import grammar
from interp_steer.world.facts import Fact, default_world

Rules = Mapping[str, Mapping[str, Any]]
"""The arguments of each instruction that an answer follows, by id."""

_KEYWORD_TYPES = ("animal", "instrument", "profession", "colour", "drink", "ingredient", "weather")

_KEYWORDS = (
    "Some people add that {s} once made them think of the {noun} {words}.",
    "Many old songs about {s} also mention the {noun} {words}.",
    "One more thing that belongs to {s} is the {noun} {words}.",
    "In the book about {s} you will also read the {noun} {words}.",
)
_PLACEHOLDERS = {
    2: (
        "For more news write to [name] in [place].",
        "You can ask [name] about it on [date].",
        "Tell it to [name] before [date].",
    ),
    3: (
        "For more news call [name] on [date] at [time].",
        "Write to [name] at [address] before [date].",
        "Meet [name] in [place] at [time].",
    ),
    4: (
        "For more news meet [name] in [place] on [date] at [time].",
        "Write to [name] at [address] in [place] before [date].",
    ),
}
JSON_KEYS = {
    "en": ("name", "description", "details"),
    "it": ("nome", "descrizione", "dettagli"),
    "fr": ("nom", "description", "détails"),
    "es": ("nombre", "descripción", "detalles"),
    "de": ("Name", "Beschreibung", "Einzelheiten"),
}
"""The keys of a record: the name, a description, and a list of details."""

_WORD = re.compile(r"(?<![\[\w])[^\W\d_]{2,}(?![\]\w])")


@cache
def topic(subject: str, style: str) -> Topic:
    """List the words to draw keywords from: words of every plain answer, and words of no answer.

    Args:
        subject: key of an entity.
        style: one of :data:`grammar.QUERY_STYLES`.
    """
    # Every answer has the name; nearly every answer has the words common to a style's openings.
    bare = grammar.name(subject, "en", article=False)
    names = set(re.findall(r"[A-Za-z]{3,}", bare))
    openings = [grammar.opener(subject, style, "en", Random(seed)) for seed in range(8)]
    common = set.intersection(*(set(re.findall(r"\b[a-z]{5,}", text)) for text in openings))
    common -= {word.lower() for word in names}
    world = default_world()
    known = " ".join(grammar.word(f.value, "en") for f in world.about(subject)) + " " + bare
    pool = [grammar.word(key, "en") for kind in _KEYWORD_TYPES for key in world.values[kind]]
    absent = (w for w in pool if re.fullmatch(r"[a-z]{5,}", w) and w not in known.lower())
    return Topic(tuple(sorted(names | common)), tuple(sorted(set(absent))))


def answer(
    subject: str,
    style: str,
    language: str,
    rng: Random,
    instruction_ids: Sequence[str] = (),
    kwargs: Sequence[Mapping[str, Any]] = (),
    verdict: bool | None = None,
) -> str:
    """Write an answer about an entity that follows the instructions.

    Without instructions it is plain prose of three or four sentences.

    Args:
        subject: key of an entity.
        style: one of :data:`grammar.QUERY_STYLES`.
        language: of the query; ``language:response_language`` overrides it.
        rng: the only source of randomness.
        instruction_ids: compatible ids (:func:`interp_steer.contrast.instructions.are_compatible`).
        kwargs: the arguments of each.
        verdict: what a constrained response says: yes, no, or (None) maybe.

    Raises:
        ContrastError: for instructions that one answer cannot follow together.
    """
    check_list("instruction_ids", instruction_ids, ContrastError)
    check_list("kwargs", kwargs, ContrastError)
    rules = dict(zip(instruction_ids, kwargs, strict=True))
    if not ids.are_compatible(tuple(instruction_ids)):
        raise ContrastError(
            f"no answer follows {' and '.join(instruction_ids)} together; "
            "choose ids for which ist.contrast.instructions.are_compatible(ids) is true"
        )
    if ids.CONSTRAINED in rules:
        return ids.CONSTRAINED_OPTIONS[2 if verdict is None else int(not verdict)]
    if ids.LANGUAGE in rules:
        language = rules[ids.LANGUAGE]["language"]
    for _ in range(_TRIES):
        text = _write(subject, style, language, rng, rules)
        if _is_detected_as_asked(text, rules):
            break
    return text


_TRIES = 25
"""The number of drafts after which an answer is accepted whose language is misread."""


@cache
def _profiles() -> DetectorFactory:
    """Load langdetect's profiles into a factory of this module, whose seed nothing else sets."""
    factory = DetectorFactory()
    factory.load_profile(PROFILES_DIRECTORY)
    return factory


def _is_detected_as_asked(text: str, rules: Rules) -> bool:
    """Check that langdetect reads the language that the rules ask for, in texts easy to misread.

    Of a text in capitals langdetect sees only first letters; one such text in a hundred is read as
    German.
    """
    asked = rules[ids.LANGUAGE]["language"] if ids.LANGUAGE in rules else "en"
    short = len(text) < 80 and {ids.LANGUAGE, ids.LOWERCASE} & set(rules)
    if ids.CAPITAL not in rules and not short:
        return True
    detector = _profiles().create()
    detector.seed = 0
    detector.append(text)
    return detector.detect() == asked


def _write(subject: str, style: str, language: str, rng: Random, rules: Rules) -> str:
    admit = _make_gate(subject, rules)
    sentences = _draft(subject, style, language, rng, rules, admit)
    if ids.CAPITAL_WORDS in rules:
        sentences = stress(sentences, rules[ids.CAPITAL_WORDS]["capital_frequency"])
    if ids.HIGHLIGHTS in rules:
        sentences = [highlight(sentence) for sentence in sentences]
    postscript = sentences.pop() if ids.POSTSCRIPT in rules else ""
    if ids.JSON in rules:
        text = _json(subject, language, sentences, rng, admit)
    else:
        text = _lay_out(sentences, rules)
    if ids.TITLE in rules:
        text = f"<<{_title(subject, style, language, rng, rules, admit)}>>\n{text}"
    return _finish(text, postscript, rules)


Gate = Callable[[str], str | None]
"""Admits a sentence, perhaps reworded, or returns None for a sentence that breaks a rule."""


def _make_gate(subject: str, rules: Rules) -> Gate:
    words = rules[ids.FORBIDDEN]["forbidden_words"] if ids.FORBIDDEN in rules else ()
    banned = re.compile("|".join(rf"\b{re.escape(word)}\b" for word in words), re.IGNORECASE)
    bare = grammar.name(subject, "en", article=False)
    named = re.compile(rf"\b(?:the |an? )?{re.escape(bare)}\b", re.IGNORECASE)
    instead = f"this {default_world().entities[subject].kind}"

    def admit(sentence: str) -> str | None:
        if ids.NO_COMMA in rules and "," in sentence:
            return None
        if not words:
            return sentence
        if banned.search(bare):
            sentence = named.sub(instead, sentence)
            sentence = sentence[:1].upper() + sentence[1:]
        return None if banned.search(sentence) else sentence

    return admit


def _admit_all(sentences: Iterable[str], admit: Gate) -> list[str]:
    return [text for text in map(admit, sentences) if text]


def _draft(
    subject: str, style: str, language: str, rng: Random, rules: Rules, admit: Gate
) -> list[str]:
    """Write the sentences of the answer; the last is the postscript if the rules ask for one."""
    if _is_brief(rules):
        return _few_words(subject, language, rng, rules, admit)
    extra = _extra_sentences(subject, rng, rules, admit)
    length = max(_count(rng, rules) - len(extra), 0)
    bare = ids.BULLETS in rules or ids.JSON in rules or length < 3
    ends = ["", ""]
    if not bare:
        ends[0] = admit(grammar.opener(subject, style, language, rng)) or ""
    counted = ids.SENTENCES in rules  # a farewell would have to be thought of one sentence ahead
    if not bare and not counted and length > 3 and rng.random() < 0.6:
        ends[1] = admit(grammar.closer(subject, style, language, rng)) or ""
    opening, closing = ([text] if text else [] for text in ends)
    spare = _body(subject, style, language, rng, 12 if ids.WORDS in rules else length, rules, admit)
    length -= len(opening) + len(closing)
    sentences = opening + spare[:length]
    if ids.WORDS in rules:
        written = sum(map(_count_words, sentences + extra))
        for more in spare[length:]:
            if written >= rules[ids.WORDS]["num_words"] + 5:
                break
            sentences.append(more)
            written += _count_words(more)
    for sentence in extra:
        # Words that are asked for come second, blanks to fill in last.
        sentences.insert(len(sentences) if "[" in sentence else min(1, len(sentences)), sentence)
    return sentences + closing


def _is_brief(rules: Rules) -> bool:
    return rules.get(ids.WORDS, {}).get("relation") == "less than"


def _count(rng: Random, rules: Rules) -> int:
    """Draw the number of sentences, including the postscript."""
    if ids.SENTENCES in rules:
        number = rules[ids.SENTENCES]["num_sentences"]
        counts = {
            "exactly": (number,),
            "at least": (number, number + 1, number + 1),
            "less than": range(1, max(number, 2)),
        }
        return rng.choice(counts[rules[ids.SENTENCES]["relation"]])
    counts = (2, 2, 3) if ids.JSON in rules else (3, 3, 4)
    if ids.BULLETS in rules:
        counts = (rules[ids.BULLETS]["num_bullets"],)
    elif ids.SECTIONS in rules:
        number = rules[ids.SECTIONS]["num_sections"]
        counts = (number, number + 1)
    # Each sentence bears one highlight.
    least = rules[ids.HIGHLIGHTS]["num_highlights"] if ids.HIGHLIGHTS in rules else 0
    return max(least, rng.choice(counts)) + int(ids.POSTSCRIPT in rules)


def _extra_sentences(subject: str, rng: Random, rules: Rules, admit: Gate) -> list[str]:
    extra = []
    if ids.EXISTENCE in rules:
        words = rules[ids.EXISTENCE]["keywords"]
        listed = (" ".join(words[:-1]) + " and " if len(words) > 1 else "") + words[-1]
        noun = "word" if len(words) == 1 else "words"
        frames = rng.sample(_KEYWORDS, len(_KEYWORDS))
        name = grammar.name(subject, "en")
        extra += _admit_all((f.format(s=name, noun=noun, words=listed) for f in frames), admit)[:1]
    if ids.PLACEHOLDERS in rules:
        number = min(max(rules[ids.PLACEHOLDERS]["num_placeholders"], 2), 4)
        extra += _admit_all(rng.sample(_PLACEHOLDERS[number], 2), admit)[:1]
    return extra


def _body(
    subject: str, style: str, language: str, rng: Random, length: int, rules: Rules, admit: Gate
) -> list[str]:
    """Write at least `length` sentences of facts, or fewer when the facts run out."""
    if ids.NO_COMMA in rules:
        written = [grammar.sentence(f, language, rng, "no_comma") for f in _facts(subject, rng)]
    else:
        spare = 4 if ids.FORBIDDEN in rules else 0
        written = grammar.prose(subject, language, rng, length + spare, style=style)
    return _admit_all(written, admit)


def _facts(subject: str, rng: Random) -> list[Fact]:
    """List the facts of an entity in random order, then those of the first related entity."""
    world = default_world()
    facts = rng.sample(world.about(subject), len(world.about(subject)))
    related = [fact.value for fact in facts if fact.value in world.entities]
    return facts + list(world.about(related[0]) if related else ())


def _few_words(subject: str, language: str, rng: Random, rules: Rules, admit: Gate) -> list[str]:
    """Write one or two short sentences, within the number of words allowed."""
    title = (
        _count_words(grammar.name(subject, language, article=False)) if ids.TITLE in rules else 0
    )
    budget = rules[ids.WORDS]["num_words"] - 1 - title
    needed = rules.get(ids.CAPITAL_WORDS, {}).get("capital_frequency", 0)
    facts = list(default_world().about(subject))
    rng.shuffle(facts)
    short = _admit_all(
        (grammar.sentence(fact, language, rng, style="no_comma") for fact in facts), admit
    )
    first = next((s for s in short if needed <= _count_words(s) <= budget), min(short, key=len))
    left = budget - _count_words(first)
    second = [s for s in short if s is not first and _count_words(s) <= left]
    return [first, *second[: int(rng.random() < 0.3)]]


def _count_words(text: str) -> int:
    return len(re.findall(r"\w+", text))


def stress(sentences: list[str], count: int) -> list[str]:
    """Write long words in capitals from the start on, a place that a model can learn."""
    words = [word for sentence in sentences for word in _WORD.findall(sentence)]
    shortest = 4 if sum(len(word) >= 4 for word in words) > count else 2
    left = count + 2

    def stress(match: re.Match[str]) -> str:
        nonlocal left
        if left == 0 or len(match.group()) < shortest:
            return match.group()
        left -= 1
        return match.group().upper()

    return [_WORD.sub(stress, sentence) for sentence in sentences]


def highlight(sentence: str) -> str:
    """Put the lead-in of a sentence, or its first two words, between asterisks."""
    lead = re.match(r"(?:[^ ,]+ ){1,6}[^ ,]+(?=,)|[^ ,]+ [^ ,.]+", sentence)
    return f"*{lead.group()}*{sentence[lead.end() :]}" if lead else f"*{sentence}*"


def _lay_out(sentences: list[str], rules: Rules) -> str:
    if ids.BULLETS in rules:
        number = rules[ids.BULLETS]["num_bullets"]
        return "\n".join(f"* {' '.join(part)}" for part in _parts(sentences, number))
    if ids.SECTIONS in rules:
        splitter, number = (
            rules[ids.SECTIONS]["section_spliter"],
            rules[ids.SECTIONS]["num_sections"],
        )
        parts = enumerate(_parts(sentences, number), start=1)
        return "\n".join(f"{splitter} {index}\n{' '.join(part)}" for index, part in parts)
    return " ".join(sentences)


def _parts(sentences: list[str], number: int) -> list[list[str]]:
    """Deal the sentences in order to `number` parts as evenly as possible."""
    bounds = [round(index * len(sentences) / number) for index in range(number + 1)]
    return [sentences[low:high] for low, high in pairwise(bounds)]


def _title(subject: str, style: str, language: str, rng: Random, rules: Rules, admit: Gate) -> str:
    if _is_brief(rules):
        name = grammar.name(subject, language, article=False)
        return admit(name[:1].upper() + name[1:]) or "?"
    # A title may name what is forbidden or hold a comma; a neutral one stands in for it.
    title = admit(grammar.title(subject, style, language, rng)) or "To Be Continued"
    return re.sub(r"this \w+", lambda match: match.group().title(), title)


def _json(subject: str, language: str, sentences: list[str], rng: Random, admit: Gate) -> str:
    name, description, details = JSON_KEYS[language]
    called = grammar.name(subject, language, article=False)
    record: dict[str, Any] = {name: admit(called) or "?"}
    if rng.random() < 0.5:
        record |= {description: sentences[0], details: sentences[1:]}
    else:
        record |= {description: " ".join(sentences)}
    text = json.dumps(record, ensure_ascii=False, indent=None if rng.random() < 0.2 else 1)
    return f"```json\n{text}\n```" if rng.random() < 0.05 else text


def _finish(text: str, postscript: str, rules: Rules) -> str:
    """Append the end of the text, then apply the rules on every letter."""
    if postscript:
        marker = rules[ids.POSTSCRIPT]["postscript_marker"].rstrip(".") + "."
        text = f"{text}\n{marker} {postscript}"
    if ids.END in rules:
        joint = "\n" if ids.BULLETS in rules or ids.SECTIONS in rules else " "
        text = f"{text}{joint}{rules[ids.END]['end_phrase']}"
    if ids.CAPITAL in rules:
        text = text.upper()
    if ids.LOWERCASE in rules:
        text = text.lower()
    return f'"{text}"' if ids.QUOTATION in rules else text
