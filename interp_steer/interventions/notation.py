"""Write interventions as one line of text, and read the line.

A line has the edits in the order in which they act. Edits of neighbouring layers that are otherwise
the same are written as one::

    shift(italian@z.0-7, coefficient=1.5, schedule=diminishing(30)) + ablate(castle@resid_post.3)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from interp_steer.errors import InterventionError, SiteError
from interp_steer.interventions.operations import Operation
from interp_steer.models.sites import Site

UNSTEERED = "unsteered"
"""The line of an intervention without edits."""

NAME = r"[^\s@\[\]]([^@\[\]\n\r]*[^\s@\[\]])?"
"""The pattern of a direction's name, so that a line can hold the name."""

NAMED = "empty, begins or ends in a space, or holds one of @ [ ] or a line break"
"""For error messages: the fault of a name that does not match the pattern."""

MOST_LAYERS = 10_000
"""More layers than any model has."""

MOST_EDITS = 100_000
"""The most edits of a line, because a short line of text could otherwise fill the memory."""


@dataclass(frozen=True)
class Written:
    """The parts of an edit, as text; None for a part that the line leaves out."""

    operation: Operation
    name: str
    """The name of the direction."""
    source: Site
    site: Site
    coefficient: str | None = None
    target: str | None = None
    schedule: str | None = None
    positions: str | None = None

    def over(self, last: int) -> str:
        """Return the text of this edit, at all layers from its own to the layer ``last``."""
        read = "" if self.source == self.site else f"[{self.source}]"
        layers = "" if last == self.site.layer else f"-{last}"
        parts = [f"{self.name}{read}@{self.site}{layers}"]
        for key in ("coefficient", "target", "schedule", "positions"):
            if (value := getattr(self, key)) is not None:
                parts.append(f"{key}={value}")
        return f"{self.operation}({', '.join(parts)})"


def line(edits: Sequence[Written]) -> str:
    """Return the line of some edits."""
    ranges: list[tuple[Written, int]] = []
    for edit in edits:
        if ranges:
            first, last = ranges[-1]
            read_in_place = first.source == first.site and edit.source == edit.site
            at = Site(first.site.component, last + 1)
            if read_in_place and edit == replace(first, source=at, site=at):
                ranges[-1] = first, last + 1
                continue
        ranges.append((edit, edit.site.layer))
    return " + ".join(edit.over(last) for edit, last in ranges) or UNSTEERED


def read(text: str) -> list[Written]:
    """Return the edits of a line.

    Raises:
        InterventionError: if the line is not canonical.
    """
    if not isinstance(text, str):
        raise InterventionError(
            f"{text!r} is not the text of an intervention; give the line that str(intervention) "
            "wrote"
        )
    if text == UNSTEERED:
        return []
    edits: list[Written] = []
    place = 0
    while place < len(text) or not edits:
        match = _EDIT.match(text, place)
        if match is None:
            raise InterventionError(
                f"cannot parse {text!r} from {text[place:]!r} on; a canonical line looks like "
                "'add(name@resid_post.3, coefficient=2.0, positions=generated)', and edits are "
                "joined by ' + '"
            )
        edits.extend(_edits(text, match))
        if len(edits) > MOST_EDITS:
            raise InterventionError(
                f"{text!r:.200} stands for more than {MOST_EDITS:,} edits, and this library does "
                "not write such a line; look where the text is from"
            )
        place = match.end()
    return edits


_EDIT = re.compile(
    rf"(?:^| \+ )(?P<operation>{'|'.join(Operation)})"
    r"\((?P<name>[^@\[\]\n\r]+)(?:\[(?P<source>[a-z_]+\.[0-9]{1,9})\])?"
    r"@(?P<site>[a-z_]+\.[0-9]{1,9})(?:-(?P<last>[0-9]{1,9}))?"
    r"(?:, coefficient=(?P<coefficient>[^,()]+))?(?:, target=(?P<target>[^,()]+))?"
    r"(?:, schedule=(?P<schedule>[a-z]+(?:\([^()]+\))?))?"
    r"(?:, positions=(?P<positions>[a-z_]+(?:\(\d+\))?))?\)"
)


def _edits(text: str, match: re.Match[str]) -> Iterator[Written]:
    """Yield an edit for each layer of one part of a line."""
    operation, last = Operation(match["operation"]), match["last"]
    _check_number(operation, text, match)
    try:
        site = Site.parse(match["site"])
        source = site if match["source"] is None else Site.parse(match["source"])
    except SiteError as error:
        raise InterventionError(f"cannot parse {text!r}: {error}") from error
    if last is not None and (
        match["source"] is not None or not site.layer < int(last) < MOST_LAYERS
    ):
        raise InterventionError(
            f"{match[0]!r} in {text!r}: a range of layers rises, ends below {MOST_LAYERS}, and "
            "each direction is read where it acts"
        )
    parts = {key: match[key] for key in ("coefficient", "target", "schedule", "positions")}
    first = Written(operation, match["name"], source, site, **parts)
    yield first
    for layer in range(site.layer + 1, 1 + (site.layer if last is None else int(last))):
        at = Site(site.component, layer)
        yield replace(first, source=at, site=at)


def _check_number(operation: Operation, text: str, match: re.Match[str]) -> None:
    """Refuse a part of a line that lacks its coefficient, or has a number of another operation."""
    given = {key for key in ("coefficient", "target") if match[key] is not None}
    takes = {operation.parameter} - {None}
    # A target may be left out: then it is the direction's own.
    if not takes - {"target"} <= given <= takes:
        expected = {
            "coefficient": "takes coefficient=NUMBER, and no target",
            "target": "may take target=NUMBER, and no coefficient",
            None: "takes neither a coefficient nor a target",
        }[operation.parameter]
        raise InterventionError(f"{match[0]!r} in {text!r}: {operation} {expected}")
