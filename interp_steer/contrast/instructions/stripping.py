"""A prompt without its instructions, by rule, where no such text is published (paper A, section 3).

The paper had a language model write the queries without their instructions. Where its files are not
at hand the sentences that carry an instruction are dropped: those with words characteristic of one
of the prompt's IFEval ids. Where the sentence is the request itself, the clause is cut from it. The
result says which was done, and is no text when an instruction was not found or is still there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from interp_steer.arguments import check_list
from interp_steer.errors import ContrastError

Rule = Literal["given", "sentences", "clauses", "none"]
"""Where a query comes from: it was given with the prompt, whole sentences of the prompt were
dropped, a clause of the request was cut as well, or the prompt could not be stripped."""

_LANGUAGES = (
    "Arabic|Bengali|Bulgarian|English|Finnish|French|German|Gujarati|Hebrew|Hindi|Italian|Japanese|"
    "Kannada|Korean|Malayalam|Marathi|Nepali|Persian|Polish|Portuguese|Punjabi|Russian|Spanish|"
    "Swahili|Tamil|Telugu|Thai|Ukrainian|Urdu|Vietnamese"
)
_AMOUNT = r"(?:\d+|once|twice|at least|at most|(?:less|fewer|more) than|no more)"
_OF_CASE = (r"lower ?case\b", r"upper ?case\b", "capital", r"all caps\b", r"in English\b")

MARKS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "keywords:existence": (
            r"key ?words?\b",
            r"(?:includ|us|mention|contain|add)\w*\b.*\b(?:words?|phrases?)\b",
            r"(?:words?|phrases?)\b.*\b(?:includ|us|mention|contain|add)\w*\b",
        ),
        "keywords:frequency": (rf"words?\b.*\b{_AMOUNT}\b", r"times\b", "appear"),
        "keywords:forbidden_words": (
            r"(?:not|avoid|without|never|exclud\w+|refrain)\b.*\b(?:words?|us\w+|say|mention\w*)\b",
            r"(?:not|never)\b.*\b(?:includ\w+|contain|appear)\b",
            r"\w+n't\b.*\b(?:includ\w+|us\w+|say|mention|contain|words?)\b",
            r"(?:forbid\w*|key ?words?)\b",
        ),
        "keywords:letter_frequency": (r"letters?\b", r"times\b", "appear"),
        "language:response_language": (
            r"languages?\b",
            rf"(?:in|into|using|only) (?:the )?(?:{_LANGUAGES})\b",
        ),
        "length_constraints:number_sentences": (r"sentences?\b",),
        "length_constraints:number_paragraphs": (r"paragraphs?\b", r"\*\*\*", r"dividers?\b"),
        "length_constraints:number_words": (
            rf"{_AMOUNT}\b.*\bwords?\b",
            r"\d+\+? ?-?words?\b",
            r"words? or (?:more|less)\b",
        ),
        "length_constraints:nth_paragraph_first_word": (
            r"paragraphs?\b",
            r"new ?lines?\b",
            r"line breaks?\b",
        ),
        "detectable_content:number_placeholders": (
            r"placeholders?\b",
            r"square brackets?\b",
            r"\[\w+\]",
        ),
        "detectable_content:postscript": (r"post ?script\b", r"P\.\s?(?:P\.\s?)?S\b"),
        "detectable_format:number_bullet_lists": (r"bullet", r"\* "),
        "detectable_format:constrained_response": (
            r"my answer is\b",
            r"one of the following\b",
            r"choose (?:from|one)\b",
            r"exact phrases?\b",
        ),
        "detectable_format:number_highlighted_sections": (
            "highlight",
            "italic",
            r"\*[^*\n]+\*",
        ),
        "detectable_format:multiple_sections": (r"sections?\b",),
        "detectable_format:json_format": (r"JSON\b", "```", r"markdown ticks?\b"),
        "detectable_format:title": (r"titles?\b", r"ang(?:ular|le) brackets?\b", "<<"),
        "combination:two_responses": (
            r"(?:two|2) (?:different |distinct )?(?:responses|answers)\b",
            r"asterisks?\b",
            r"\*{6}",
        ),
        "combination:repeat_prompt": ("repeat", r"word for word\b"),
        "startend:end_checker": (
            r"(?:end|ends|ending|finish|conclude|last)\b",
            r"no other words\b",
            r"nothing (?:else|after)\b",
        ),
        "startend:quotation": (r"quotation\b", r"(?:double )?quotes?\b"),
        "change_case:capital_word_frequency": _OF_CASE[1:4],
        "change_case:english_capital": _OF_CASE,
        "change_case:english_lowercase": _OF_CASE,
        "punctuation:no_comma": (r"commas?\b",),
    }
)
"""Words, as regular expressions, that tell a sentence which carries each instruction."""

_SAID_AS = ("end_phrase", "postscript_marker", "section_spliter", "keyword", "first_word")
"""Arguments that stand in the prompt as they are."""

_BREAK = re.compile(r"""[.!?]["'”’)\]]*[.!?]?\s+|\s*\n\s*""")
_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|vs|mr|mrs|dr|st|[a-z])\.$", re.IGNORECASE)
_ASKS = re.compile(
    r"(?:please,? )?(?:(?:can|could|would|will) you|i (?:want|need|would like) (?:you )?to|help|"
    r"write|create|compose|generate|make(?! sure)|give(?! (?:two|2|it|your|the|each)\b)|tell|"
    r"explain|describe|summari[sz]e|rewrite|rephrase|paraphrase|elaborate|list|provide|design|"
    r"draft|develop|propose|brainstorm|critique|invent|translate|compare|suggest|discuss|imagine|"
    r"name|find|take|expand|come up|what|why|how|who|when|where|which|is|are|was|do(?! not|n't)|"
    r"does|did|should|given)\b",
    re.IGNORECASE,
)
_EXAMPLE = re.compile(
    r"""[*\-•\[<{}`"'“”(]|\.\.\.|\d+[.)]|(?:for example|section|paragraph|my answer is)\b""",
    re.IGNORECASE,
)
_JOINED = re.compile(
    r",? (?:and|but|then|while) (?:please |also |then )?(?:wrap|end|finish|make sure|ensure|do not|"
    r"don't|use|put|include|highlight|avoid|refrain|answer|respond|conclude|mark|add|mention|keep|"
    r"write|give|place|enclose|format|limit|not|without|with|in|has|have|contain|includes?)\b",
    re.IGNORECASE,
)
_HUNG_ON = re.compile(
    r",? (?:all |only |entirely )?(?:in|with|using|without(?: using)?|that|which|of|as|by|for)\b",
    re.IGNORECASE,
)
_SUBJECT = re.compile(r",? (?:about|on|for) ", re.IGNORECASE)


@dataclass(frozen=True)
class Stripped:
    """What is left of a prompt without its instructions.

    Example:
        >>> strip("Name a tree. Do not use commas.", ["punctuation:no_comma"]).text
        'Name a tree.'
    """

    text: str | None
    """The query; None when an instruction was not found, or could not be taken out."""
    rule: Rule
    """What was done."""


def strip(
    prompt: str, instruction_ids: Sequence[str], kwargs: Sequence[Mapping[str, Any]] = ()
) -> Stripped:
    """Take the instructions out of a prompt.

    Args:
        prompt: the request with its instructions.
        instruction_ids: which instructions it carries: keys of :data:`MARKS`.
        kwargs: the arguments of each, where known; they too tell the sentences.

    Returns:
        The query and the rule. Of a sentence that asks and instructs at once, the clause with the
        instruction is cut, up to what the request is about or to the end of the sentence.

    Example:
        >>> strip("Write a poem and do not use commas.", ["punctuation:no_comma"])
        Stripped(text='Write a poem.', rule='clauses')
    """
    check_list("instruction_ids", instruction_ids, ContrastError)
    check_list("kwargs", kwargs, ContrastError)
    given = kwargs or [{}] * len(instruction_ids)
    marks = [_mark(name, said) for name, said in zip(instruction_ids, given, strict=True)]
    if not marks or not all(mark.search(prompt) for mark in marks):
        return Stripped(None, "none")
    rule: Rule = "sentences"
    kept: list[str] = []
    dropping = False
    sentences = list(_sentences(prompt))
    plain = [one for one in sentences if not any(mark.search(one) for mark in marks)]
    asked = any(_ASKS.match(one) for one in plain)  # by a sentence that carries no instruction
    for index, sentence in enumerate(sentences):
        found = [match.span() for mark in marks for match in mark.finditer(sentence)]
        if not found:
            dropping = dropping and bool(_EXAMPLE.match(sentence))
            kept += [] if dropping else [sentence]
            continue
        request = _ASKS.match(sentence) or (not plain and index == 0)
        cut = _without_clause(sentence, min(found)[0], max(end for _, end in found))
        if not request or (asked and cut is None):
            dropping = True
        else:
            rule, dropping = "clauses", False
            kept.append(cut or sentence)
    text = "".join(kept).strip()
    if len(text.split()) < 2 or any(mark.search(text) for mark in marks):
        return Stripped(None, "none")
    return Stripped(text, rule)


def carries(text: str, instruction_id: str) -> bool:
    """Whether a text has words that tell an instruction; see :data:`MARKS`.

    Example:
        >>> carries("Name a tree. No commas.", "punctuation:no_comma")
        True
    """
    return bool(_mark(instruction_id, {}).search(text))


def _mark(instruction_id: str, given: Mapping[str, Any]) -> re.Pattern[str]:
    """The words that tell an instruction, and those of its arguments that a prompt repeats."""
    said = [re.escape(given[name]) for name in _SAID_AS if given.get(name)]
    return re.compile(rf"(?<!\w)(?:{'|'.join([*MARKS[instruction_id], *said])})", re.IGNORECASE)


def _sentences(text: str) -> Iterator[str]:
    """Sentences with the white space behind them; the end of a line always ends one."""
    start = 0
    for found in _BREAK.finditer(text):
        if "\n" in found[0] or not _ABBREVIATION.search(text[start : found.start() + 1]):
            yield text[start : found.end()]
            start = found.end()
    if start < len(text):
        yield text[start:]


def _without_clause(sentence: str, begins: int, ends: int) -> str | None:
    """The sentence without the clause whose marks stand from ``begins`` to ``ends``, if it has one.

    A clause that is joined by "and" goes to the end of the sentence; one that hangs on a noun ("in
    capitals") may have the subject of the request ("about a castle") behind it, which stays.
    """
    space = sentence[len(sentence.rstrip()) :]
    stop = "?" if sentence.rstrip().endswith("?") else "."
    for clause in (_JOINED, _HUNG_ON):
        starts = [found.start() for found in clause.finditer(sentence) if found.start() < begins]
        if starts and len(sentence[: starts[-1]].split()) >= 3:
            kept = sentence[: starts[-1]].rstrip(" ,;:-")
            subject = _SUBJECT.search(sentence, ends) if clause is _HUNG_ON else None
            return kept + (sentence[subject.start() :].lstrip(",") if subject else stop + space)
    return None
