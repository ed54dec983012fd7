"""The house's docstrings as Markdown: roles, literal blocks and tables of reStructuredText.

Docstrings are read in an editor first, so that they say ``:func:`fit``` and draw small tables. On
a page the roles become code, and the tables tables.
"""

from __future__ import annotations

import re
import textwrap
from typing import Any

import griffe

_ROLE = re.compile(r":(?:py:)?(?:func|class|meth|mod|data|attr|exc|obj):`~?([^`]+)`")
_RULE = re.compile(r"^\s*=+(?: +=+)+\s*$")
_SEVERAL = re.compile(r"(?m)^(?P<margin> +)(?P<names>[a-z_]\w*(?:, [a-z_]\w*)+): (?P<said>.*)$")


def markdown(text: str) -> str:
    """A docstring's prose as Markdown.

    Args:
        text: without its common indentation.
    """
    text = _ROLE.sub(lambda found: f"`{found[1]}`", text)
    lines = _tables(text.splitlines())
    return "\n".join(_literal_blocks(lines))


def _literal_blocks(lines: list[str]) -> list[str]:
    """``so::`` before an indented block becomes ``so:``; the block is code to both."""
    return [
        line[:-1] if line.rstrip().endswith("::") and _indented_next(lines, number) else line
        for number, line in enumerate(lines)
    ]


def _indented_next(lines: list[str], number: int) -> bool:
    own = len(lines[number]) - len(lines[number].lstrip())
    after = next((line for line in lines[number + 1 :] if line.strip()), "")
    return len(after) - len(after.lstrip()) > own


def _tables(lines: list[str]) -> list[str]:
    """Simple tables, between rules of ``=``, as Markdown's; what stands above a rule is a head."""
    made: list[str] = []
    while lines:
        line, *lines = lines
        if not _RULE.match(line):
            made.append(line)
            continue
        blank = next((at for at, other in enumerate(lines) if not other.strip()), len(lines))
        rules = [at for at, other in enumerate(lines[:blank]) if _RULE.match(other)]
        head = lines[: rules[0]] if len(rules) > 1 else []
        made += _table(line, head, lines[rules[-2] + 1 if len(rules) > 1 else 0 : rules[-1]])
        lines = lines[rules[-1] + 1 :]
    return made


def _table(rule: str, head: list[str], lines: list[str]) -> list[str]:
    starts = [found.start() for found in re.finditer("=+", rule)]
    margin = rule[: starts[0]]
    heads = _rows(starts, head) or [["" for _ in starts]]
    rows = [*heads, ["---" for _ in starts], *_rows(starts, lines)]
    return [f"{margin}| {' | '.join(row)} |" for row in rows]


def _rows(starts: list[int], lines: list[str]) -> list[list[str]]:
    rows: list[list[str]] = []
    for line in lines:
        ends = [*starts[1:], None]
        cells = [line[start:end].strip() for start, end in zip(starts, ends, strict=True)]
        if cells[0]:
            rows.append(cells)
        elif any(cells):  # a cell that goes on
            rows[-1] = [f"{one} {more}".strip() for one, more in zip(rows[-1], cells, strict=True)]
    return rows


def _each(found: re.Match[str]) -> str:
    """``fit, select: how many`` as an entry for each of the two, as griffe wants it."""
    first, *others = found["names"].split(", ")
    lines = [f"{found['margin']}{name}: as `{first}`." for name in others]
    return "\n".join([*lines, f"{found['margin']}{first}: {found['said']}"])


class HouseDocstrings(griffe.Extension):
    """Translates every docstring before its sections are read."""

    def on_instance(self, *, obj: Any, **_: Any) -> None:
        """Rewrite the docstring of what was just found, and of what is not an alias to it."""
        if obj.is_alias or obj.docstring is None:
            return
        said = _SEVERAL.sub(_each, markdown(textwrap.dedent(obj.docstring.value)))
        # "Example:" is a section to us; griffe knows "Examples:", whose prompts it understands.
        obj.docstring.value = re.sub(r"(?m)^Example:\s*$", "Examples:", said)
