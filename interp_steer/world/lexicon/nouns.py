"""Nouns with their articles: definite, indefinite, contracted with prepositions, declined.

A cell of the vocabulary (`l'orso:m`, `der Bär~Bären`, `castle@in`) is parsed by :func:`noun`, and
:func:`phrase` gives the form that a sentence needs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

VOWELS = "aeiouàâáéèêëîïíóôúûœ"

_ARTICLES = {
    "en": (),
    "it": ("il", "lo", "la", "i", "gli", "le", "l'"),
    "fr": ("le", "la", "les", "l'"),
    "es": ("el", "la", "los", "las"),
    "de": ("der", "die", "das"),
}
_IT_JOINED = {
    "di": "de",
    "a": "a",
    "da": "da",
    "in": "ne",
    "su": "su",
}
_IT_ENDINGS = {
    "il": "l ",
    "lo": "llo ",
    "la": "lla ",
    "i": "i ",
    "gli": "gli ",
    "le": "lle ",
    "l'": "ll'",
}
_DE_JOINED = {
    ("von", "dem"): "vom",
    ("in", "dem"): "im",
    ("an", "dem"): "am",
    ("zu", "dem"): "zum",
    ("zu", "der"): "zur",
    ("bei", "dem"): "beim",
}
_DE_A_ACCUSATIVE = {"m": "einen", "f": "eine", "n": "ein"}


@dataclass(frozen=True)
class Noun:
    """A noun of one language: its text without article, and what its forms depend on.

    `article` is the definite article ("" for a proper name), `gender` one of m, f, n, `oblique` the
    German accusative and dative, `at` the preposition of the place where one is.
    """

    text: str
    article: str
    gender: str
    plural: bool
    oblique: str
    at: str


def proper(name: str, gender: str) -> Noun:
    """A proper name, which takes no article in any of the languages."""
    return Noun(name, "", gender, False, name, "in")


def noun(cell: str, language: str, plural: bool = False) -> Noun:
    """Parse a cell of the vocabulary; an English cell has no article, since it is always "the"."""
    match = re.fullmatch(r"([^:~@]+)(?::([mf]))?(?:~([^@]+))?(?:@(.+))?", cell.strip())
    if match is None:
        raise ValueError(
            f"cannot read the vocabulary cell {cell!r}; write article noun:gender~oblique@prep"
        )
    text, gender, oblique, at = match.groups()
    article = "the" if language == "en" else ""
    for candidate in _ARTICLES[language]:
        head = candidate if candidate.endswith("'") else candidate + " "
        if text.startswith(head):
            article, text = candidate, text[len(head) :]
            break
    if gender is None:
        gender = _gender(article, language)
    many = (
        plural
        or article in ("i", "gli", "les", "los", "las")
        or (article, language) == ("le", "it")
    )
    return Noun(text, article, gender, many, oblique or text, at or "in")


def _gender(article: str, language: str) -> str:
    if language == "en":
        return "n"
    if language == "de":
        return {"der": "m", "die": "f", "das": "n"}.get(article, "m")
    if (article, language) in (
        ("la", "it"),
        ("le", "it"),
        ("la", "fr"),
        ("la", "es"),
        ("las", "es"),
    ):
        return "f"
    return "m"


def starts_with_vowel(text: str) -> bool:
    return text[:1].lower() in VOWELS


def phrase(item: Noun, language: str, form: str) -> str:
    """The noun in a form.

    Args:
        item: the noun.
        language: one of en, it, fr, es, de.
        form: "" (with definite article), bare, a (indefinite), acc, dat, a_acc, some (French
            partitive), of, to, from, about, in (where one is); German also has away (by
            von, where "from" is aus) and for (für).
    """
    if form == "bare":
        return item.text
    return _BY_LANGUAGE[language](item, form)


def _english(item: Noun, form: str) -> str:
    the = f"the {item.text}" if item.article else item.text
    if form == "a":
        if item.plural:
            return item.text
        return f"{'an' if starts_with_vowel(item.text) else 'a'} {item.text}"
    if form == "in":
        return f"{item.at} {the}"
    if form in ("of", "to", "from", "about"):
        return f"{form} {the}"
    return the


def _italian(item: Noun, form: str) -> str:
    preposition = {"of": "di", "to": "a", "from": "da", "about": "su"}.get(form, item.at)
    if not item.article:
        if form in ("in", "to"):
            return f"{'ad' if item.text[0] in 'Aa' else 'a'} {item.text}"
        return f"{preposition} {item.text}" if form in ("of", "from", "about") else item.text
    if form in ("of", "to", "from", "about", "in"):
        return _IT_JOINED[preposition] + _IT_ENDINGS[item.article] + item.text
    if form == "a":
        return _italian_indefinite(item)
    return _joined(item.article, item.text)


def _italian_indefinite(item: Noun) -> str:
    if item.gender == "f":
        return f"un'{item.text}" if item.article == "l'" else f"una {item.text}"
    return f"uno {item.text}" if item.article == "lo" else f"un {item.text}"


def _french(item: Noun, form: str) -> str:
    if not item.article:
        if form in ("of", "from"):
            return f"d'{item.text}" if starts_with_vowel(item.text) else f"de {item.text}"
        if form in ("in", "to"):
            return f"à {item.text}"
        return f"sur {item.text}" if form == "about" else item.text
    the = _joined(item.article, item.text)
    if form in ("of", "from", "some"):
        return {"le": f"du {item.text}", "les": f"des {item.text}"}.get(item.article, f"de {the}")
    if form == "to" or (form == "in" and item.at == "à"):
        return {"le": f"au {item.text}", "les": f"aux {item.text}"}.get(item.article, f"à {the}")
    if form == "in":
        return f"{item.at} {the}"
    if form == "about":
        return f"sur {the}"
    if form == "a":
        return f"{'une' if item.gender == 'f' else 'un'} {item.text}"
    return the


def _spanish(item: Noun, form: str) -> str:
    the = _joined(item.article, item.text)
    if form in ("of", "to", "from"):
        preposition = "a" if form == "to" else "de"
        if item.article == "el":
            return f"{preposition}l {item.text}"
        return f"{preposition} {the}"
    if form == "in":
        return f"en {the}"
    if form == "about":
        return f"sobre {the}"
    if form == "a":
        feminine = item.gender == "f" and item.article != "el"
        return f"{'una' if feminine else 'un'} {item.text}"
    return the


def _german(item: Noun, form: str) -> str:
    preposition = {"of": "von", "from": "von", "away": "von", "to": "zu", "in": item.at,
                   "about": "über", "for": "für"}.get(form)  # fmt: skip
    if not item.article:
        preposition = {"from": "aus", "to": "nach"}.get(form, preposition)
        return f"{preposition} {item.text}" if preposition else item.text
    dative = "den" if item.plural else {"m": "dem", "f": "der", "n": "dem"}[item.gender]
    if form == "of":
        return _german_genitive(item)
    if form in ("from", "away", "to", "in"):
        joined = _DE_JOINED.get((str(preposition), dative), f"{preposition} {dative}")
        return f"{joined} {item.oblique}"
    if form == "dat":
        return f"{dative} {item.oblique}"
    if form in ("acc", "about", "for"):
        accusative = "den" if item.gender == "m" and not item.plural else item.article
        text = item.text if item.plural else item.oblique
        return f"{preposition} {accusative} {text}" if preposition else f"{accusative} {text}"
    if form == "a":
        return f"{'eine' if item.gender == 'f' else 'ein'} {item.text}"
    if form == "a_acc":
        return f"{_DE_A_ACCUSATIVE[item.gender]} {item.oblique}"
    if form == "a_dat":
        return f"{'einer' if item.gender == 'f' else 'einem'} {item.oblique}"
    return f"{item.article} {item.text}"


def _german_genitive(item: Noun) -> str:
    if item.plural or item.gender == "f":
        return f"der {item.text}"
    if item.oblique != item.text:
        return f"des {item.oblique}"
    hissing = item.text.endswith(("s", "ß", "x", "z", "sch", "st"))
    return f"des {item.text}{'es' if hissing else 's'}"


def _joined(article: str, text: str) -> str:
    if not article:
        return text
    return f"{article}{text}" if article.endswith("'") else f"{article} {text}"


_BY_LANGUAGE = {"en": _english, "it": _italian, "fr": _french, "es": _spanish, "de": _german}
