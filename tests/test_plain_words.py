"""Read every docstring, message, comment and name of the source, and hold them to plain English."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path
    for package in ("interp_steer", "analyses", "figures")
    for path in (ROOT / package).rglob("*.py")
    if "lexicon" not in path.parts
)

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

_VERBS = """
    accept add address admit advance aggregate align allow animate annotate announce answer
    append apply approximate ask assemble assert assess assign attach average balance batch
    bind blend block bootstrap bound break bring build cache calculate calibrate call
    capture carry cast catch center centre change check choose clamp clean clear clip close
    code collect colour combine compare compile complete compose compress compute
    concatenate condition configure connect consume contain continue contrast convert copy
    correct correlate count cover create cross cut damp deal decide declare decode
    deduplicate define delete deliver describe destroy detach detect determine discard
    discover dispatch display distribute divide do download draw drop dump duplicate edit
    embed emit empty enable encode end ensure enter enumerate escape establish estimate
    evaluate examine exchange exclude execute exit expand explain explore export express
    extend extract fail fall feed fetch fill filter find finish fit fix flag flatten fold
    follow force forget form format forward free gather generate get give go grade group
    grow guard guess halve handle hash hide highlight hold identify ignore implement import
    include increase index inform initialise insert inspect install interleave interpolate
    interrupt intervene invert invoke iterate join judge keep know label launch lay lead
    learn leave lengthen let level limit line link list listen load locate lock log look
    lower make manage map mark mask match measure merge mix model modify monitor move
    multiply name narrow normalise note notify number obey observe offer open optimise order
    orthogonalise override pack pad pair parse partition pass paste patch perform permute
    phrase pick place plan play plot point pool pop post predict prefix prepare present
    preserve press prevent print probe process produce project promise propagate propose
    prove provide publish pull push put quantise query quote raise randomise rank rate reach
    read rearrange recall receive recognise recompute record recover reduce refer refill
    refit refuse register reject relate release reload remember remove rename render reopen
    repair repeat replace reply report represent request require rerun resample rescale
    reserve reset reshape resize resolve respond restart restore restrict result resume
    retain retrieve return reuse reverse rewrite rotate round route run sample save say
    scale scan schedule score search seed select send separate serve set settle shift
    shorten show shrink shuffle signal skip slice smooth sort span speak specify spell split
    spread stack stamp start state steer step stop store stream stretch strip style subtract
    suggest sum summarise supply support swap sweep switch tabulate take tally tell test
    throw tile time tokenise trace track train transform translate transport treat trim
    truncate try turn type undo unfold unify unite unpack update upload use validate vary
    verify view visit wait walk warn watch weigh weight whiten wire work wrap write yield
"""
VERBS = frozenset(_VERBS.split())
"""The verbs that a docstring may begin with; add the verb that you need."""

HARD_TO_READ = {
    "is none, is no X": re.compile(
        r"(?<![Tt]here )\b(?:is|are|was|were) (?:none\b|no (?!longer\b|more\b)[a-z])"
    ),
    "a sentence that starts with What": re.compile(r"(?:^|[.;:!?] +)What\b(?![^.!?]*\?)"),
}
PRIVATE_WORDS = frozenset({"said", "told", "found", "kept", "one", "each"})


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), filename=str(path))


def place(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def docstrings(path: Path) -> Iterator[tuple[ast.AST, int, str]]:
    """Yield (thing, line, docstring) for the module, its classes and its functions."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield node, getattr(node, "lineno", 1), text


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of every string with a blank in it and every comment."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.JoinedStr):
            parts = (p.value if isinstance(p, ast.Constant) else "X" for p in node.values)
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, " ".join(node.value.split())
    with path.open("rb") as file:
        for token in tokenize.tokenize(io.BytesIO(file.read()).readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string.lstrip("# ")


def bound_names(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, name) of what lives longer than a comprehension or a lambda."""
    short_lived: set[int] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            short_lived |= {id(name) for part in node.generators for name in ast.walk(part.target)}
        if isinstance(node, ast.Lambda):
            short_lived |= {id(argument) for argument in ast.walk(node.args)}
    for node in ast.walk(tree_of(path)):
        if id(node) in short_lived:
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.lineno, node.name.lstrip("_")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_docstring_begins_with_a_verb(path: Path) -> None:
    """A class may begin with its noun, but not with a question word."""
    wrong = []
    for node, line, text in docstrings(path):
        word = re.split(r"[^\w'-]", text, maxsplit=1)[0]
        if isinstance(node, ast.ClassDef):
            if word in {"What", "Whether", "That", "How", "Which", "Where", "When", "Whose", "Who"}:
                wrong.append(f"{place(path, line)} {text.splitlines()[0]}")
        elif word.lower() not in VERBS:
            wrong.append(f"{place(path, line)} {text.splitlines()[0]}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_text_is_hard_to_read(path: Path) -> None:
    wrong = [
        f"{place(path, line)} {rule}: {text[:160]}"
        for line, text in texts(path)
        for rule, pattern in HARD_TO_READ.items()
        if pattern.search(text)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_are_nouns_of_the_field(path: Path) -> None:
    wrong = [
        f"{place(path, line)} {name}" for line, name in bound_names(path) if name in PRIVATE_WORDS
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_page_is_hard_to_read(page: Path) -> None:
    prose = re.sub(r"(?ms)^```.*?^```", "", page.read_text("utf-8"))
    lines = [line for line in prose.splitlines() if not line.startswith(("|", "#"))]
    wrong = [
        f"{page.name} {rule}: {sentence[:160]}"
        for sentence in re.split(r"(?<=[.!?])\s+", " ".join(lines))
        for rule, pattern in HARD_TO_READ.items()
        if pattern.search(sentence)
    ]
    assert not wrong, "\n".join(wrong)
