"""Split an answer into sentences and words, with NLTK's trained model where it is installed.

lm-eval counts sentences and words with NLTK's ``punkt_tab``, a download. Scoring must neither
download files nor fail without a network. A machine without the model therefore uses the same Punkt
algorithm with a short fixed list of abbreviations. The two differ only at the period of a rarer
abbreviation or of an initial; every verdict names the splitter.
"""

from __future__ import annotations

import functools
from typing import Literal

Splitter = Literal["punkt_tab", "regex"]

_ABBREVIATIONS = """
mr mrs ms messrs dr prof sr jr st mt ft gen col capt cpt lt sgt cpl maj rev hon gov sen rep pres
inc ltd co corp bros dept univ assn vs etc approx est fig figs vol pp ed eds al cf viz
e.g i.e u.s u.k u.n d.c a.m p.m b.c a.d ph.d m.d b.a m.a
jan feb mar apr jun jul aug sept sep oct nov dec
"""
# After an abbreviation or an ellipsis a capital letter alone does not begin a sentence
# ("Dr. Smith"); these words, when capitalised, do ("... and so on, etc. The rest").
_STARTERS = """
the a an this that these those there here he she it they we you i his her its their our my your
but and or so yet however then thus when while where after before if in on at for from with as by
to what who why how all some many most each every no not is are was were do does did let
"""


@functools.cache
def splitter() -> Splitter:
    """Return the name of this machine's sentence splitter, determined once per process.

    Returns:
        ``"punkt_tab"`` when NLTK's trained English model is installed (lm-eval's own counts), or
        ``"regex"``: Punkt's rules with a fixed list of abbreviations, for machines without it. To
        install the trained model: ``python -m nltk.downloader punkt_tab``.
    """
    import nltk

    try:
        nltk.data.find("tokenizers/punkt_tab/english")
    except LookupError:
        return "regex"
    return "punkt_tab"


@functools.cache
def sentence_tokenizer():
    """Return NLTK's Punkt sentence tokenizer: trained where it is installed, else with rules."""
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer, PunktTokenizer

    if splitter() == "punkt_tab":
        return PunktTokenizer("english")
    parameters = PunktParameters()
    parameters.abbrev_types = set(_ABBREVIATIONS.split())
    parameters.sent_starters = set(_STARTERS.split())
    return PunktSentenceTokenizer(parameters)


def count_sentences(text: str) -> int:
    """Count the sentences in a text, with lm-eval's counter where its model is installed.

    Args:
        text: any text; line breaks do not end a sentence.

    Returns:
        The count, 0 for blank text.
    """
    return len(sentence_tokenizer().tokenize(text))


def words(text: str) -> list[str]:
    """Return the Treebank word tokens of a text, split by sentence first, as in ``nltk``.

    Args:
        text: any text.

    Returns:
        Tokens in order; each punctuation mark is a token.
    """
    import nltk

    return [
        token
        for sentence in sentence_tokenizer().tokenize(text)
        for token in nltk.word_tokenize(sentence, preserve_line=True)
    ]
