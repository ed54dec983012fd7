"""Remove the instructions from a prompt by rule, for prompts without a published query.

In paper A (section 3) a language model wrote the queries without their instructions. Without these
files, the sentences that carry an instruction are dropped: sentences with words characteristic of
one of the prompt's IFEval ids. When such a sentence is the request itself, the clause with the
instruction is cut from the sentence. The result says which rule was used, and has no text when an
instruction was not recognised or could not be removed.
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
"""The origin of a query: given with the prompt, by dropping whole sentences, by also cutting a
clause of the request, or none because the instructions could not be removed."""

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
"""Words, as regular expressions, that mark a sentence as carrying each instruction."""

_REPEATED = ("end_phrase", "postscript_marker", "section_spliter", "keyword", "first_word")
"""Arguments that the prompt repeats literally."""

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
class StrippedPrompt:
    """A prompt without its instructions.

    Example:
        >>> strip("Name a tree. Do not use commas.", ["punctuation:no_comma"]).text
        'Name a tree.'
    """

    text: str | None
    """The query; None when an instruction was not recognised, or could not be removed."""
    rule: Rule
    """The rule by which the instructions were removed."""


def strip(
    prompt: str, instruction_ids: Sequence[str], kwargs: Sequence[Mapping[str, Any]] = ()
) -> StrippedPrompt:
    """Remove the instructions from a prompt.

    Args:
        prompt: the request with its instructions.
        instruction_ids: the instructions of the prompt: keys of :data:`MARKS`.
        kwargs: the arguments of each instruction, where known; sentences that repeat an argument
            carry the instruction too.

    Returns:
        The query and the rule. When a sentence holds both the request and an instruction, the
        clause with the instruction is cut, up to the subject of the request or to the end of the
        sentence.

    Example:
        >>> strip("Write a poem and do not use commas.", ["punctuation:no_comma"])
        StrippedPrompt(text='Write a poem.', rule='clauses')
    """
    check_list("instruction_ids", instruction_ids, ContrastError)
    check_list("kwargs", kwargs, ContrastError)
    given = kwargs or [{}] * len(instruction_ids)
    marks = [_marks_pattern(name, said) for name, said in zip(instruction_ids, given, strict=True)]
    if not marks or not all(mark.search(prompt) for mark in marks):
        return StrippedPrompt(None, "none")
    rule: Rule = "sentences"
    left: list[str] = []
    dropping = False
    sentences = list(_sentences(prompt))
    plain = [one for one in sentences if not any(mark.search(one) for mark in marks)]
    asked = any(_ASKS.match(one) for one in plain)  # by a sentence that carries no instruction
    for index, sentence in enumerate(sentences):
        spans = [match.span() for mark in marks for match in mark.finditer(sentence)]
        if not spans:
            dropping = dropping and bool(_EXAMPLE.match(sentence))
            left += [] if dropping else [sentence]
            continue
        request = _ASKS.match(sentence) or (not plain and index == 0)
        cut = _without_clause(sentence, min(spans)[0], max(end for _, end in spans))
        if not request or (asked and cut is None):
            dropping = True
        else:
            rule, dropping = "clauses", False
            left.append(cut or sentence)
    text = "".join(left).strip()
    if len(text.split()) < 2 or any(mark.search(text) for mark in marks):
        return StrippedPrompt(None, "none")
    return StrippedPrompt(text, rule)


def carries_instruction(text: str, instruction_id: str) -> bool:
    """Check whether a text has words that mark an instruction; see :data:`MARKS`.

    Example:
        >>> carries_instruction("Name a tree. No commas.", "punctuation:no_comma")
        True
    """
    return bool(_marks_pattern(instruction_id, {}).search(text))


def _marks_pattern(instruction_id: str, given: Mapping[str, Any]) -> re.Pattern[str]:
    """Compile the words that mark an instruction and the arguments that a prompt repeats."""
    literal = [re.escape(given[name]) for name in _REPEATED if given.get(name)]
    return re.compile(rf"(?<!\w)(?:{'|'.join([*MARKS[instruction_id], *literal])})", re.IGNORECASE)


def _sentences(text: str) -> Iterator[str]:
    """Split a text into sentences with the white space behind them, and at the ends of lines."""
    start = 0
    for gap in _BREAK.finditer(text):
        if "\n" in gap[0] or not _ABBREVIATION.search(text[start : gap.start() + 1]):
            yield text[start : gap.end()]
            start = gap.end()
    if start < len(text):
        yield text[start:]


def _without_clause(sentence: str, begins: int, ends: int) -> str | None:
    """Cut the clause whose marks stand from ``begins`` to ``ends``; return None without one.

    A clause that is joined by "and" goes to the end of the sentence. Behind a clause that hangs on
    a noun ("in capitals") the subject of the request may follow ("about a castle"), which stays.
    """
    space = sentence[len(sentence.rstrip()) :]
    stop = "?" if sentence.rstrip().endswith("?") else "."
    for clause in (_JOINED, _HUNG_ON):
        starts = [match.start() for match in clause.finditer(sentence) if match.start() < begins]
        if starts and len(sentence[: starts[-1]].split()) >= 3:
            before = sentence[: starts[-1]].rstrip(" ,;:-")
            subject = _SUBJECT.search(sentence, ends) if clause is _HUNG_ON else None
            return before + (sentence[subject.start() :].lstrip(",") if subject else stop + space)
    return None
