"""One line of text for what acts on a model: how edits are written, and read back.

A line has edits in the order in which they act; those of neighbouring layers that are otherwise the
same are written as one::

    shift(italian@z.0-7, coefficient=1.5, schedule=diminishing(30)) + ablate(castle@resid_post.3)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from interp_steer.errors import InterventionError, SiteError
from interp_steer.models.sites import Site

UNSTEERED = "unsteered"
"""The line of what does nothing."""

NAME = r"[^\s@\[\]]([^@\[\]\n\r]*[^\s@\[\]])?"
"""What a line may call a direction."""

NAMED = "empty, begins or ends in a space, or holds one of @ [ ] or a line break"
"""What is wrong with another name."""

MOST_LAYERS = 10_000
"""More than any model has."""

MOST_EDITS = 100_000
"""A line of text must not make as many edits as it likes."""

NUMBERS = {
    "add": ("coefficient",),
    "shift": ("coefficient",),
    "project": ("target",),
    "ablate": (),
    "transport": ("coefficient",),
    "turn": ("coefficient",),
}
"""The operations, each with the number that it may be given."""


@dataclass(frozen=True)
class Written:
    """An edit as it is written; what is not said is None."""

    operation: str
    name: str
    """Of the direction."""
    source: Site
    site: Site
    coefficient: str | None = None
    target: str | None = None
    schedule: str | None = None
    positions: str | None = None

    def over(self, last: int) -> str:
        """The text of this edit at its own layer and all up to another."""
        read = "" if self.source == self.site else f"[{self.source}]"
        layers = "" if last == self.site.layer else f"-{last}"
        said = [f"{self.name}{read}@{self.site}{layers}"]
        for key in ("coefficient", "target", "schedule", "positions"):
            if (value := getattr(self, key)) is not None:
                said.append(f"{key}={value}")
        return f"{self.operation}({', '.join(said)})"


def line(edits: Sequence[Written]) -> str:
    """The line of edits."""
    found: list[tuple[Written, int]] = []
    for edit in edits:
        if found:
            first, last = found[-1]
            here = first.source == first.site and edit.source == edit.site
            at = Site(first.site.component, last + 1)
            if here and edit == replace(first, source=at, site=at):
                found[-1] = first, last + 1
                continue
        found.append((edit, edit.site.layer))
    return " + ".join(edit.over(last) for edit, last in found) or UNSTEERED


def read(text: str) -> list[Written]:
    """The edits of a line.

    Raises:
        InterventionError: when the line is not canonical.
    """
    if not isinstance(text, str):
        raise InterventionError(f"{text!r} is no line; give the text that str(intervention) wrote")
    if text == UNSTEERED:
        return []
    found: list[Written] = []
    place = 0
    while place < len(text) or not found:
        match = _EDIT.match(text, place)
        if match is None:
            raise InterventionError(
                f"cannot parse {text!r} from {text[place:]!r} on; a canonical line looks like "
                "'add(name@resid_post.3, coefficient=2.0, positions=generated)', and edits are "
                "joined by ' + '"
            )
        found.extend(_edits(text, match))
        if len(found) > MOST_EDITS:
            raise InterventionError(
                f"{text!r:.200} stands for more than {MOST_EDITS:,} edits, which no line of ours "
                "does; look where it is from"
            )
        place = match.end()
    return found


_EDIT = re.compile(
    rf"(?:^| \+ )(?P<operation>{'|'.join(NUMBERS)})"
    r"\((?P<name>[^@\[\]\n\r]+)(?:\[(?P<source>[a-z_]+\.[0-9]{1,9})\])?"
    r"@(?P<site>[a-z_]+\.[0-9]{1,9})(?:-(?P<last>[0-9]{1,9}))?"
    r"(?:, coefficient=(?P<coefficient>[^,()]+))?(?:, target=(?P<target>[^,()]+))?"
    r"(?:, schedule=(?P<schedule>[a-z]+(?:\([^()]+\))?))?"
    r"(?:, positions=(?P<positions>[a-z_]+(?:\(\d+\))?))?\)"
)


def _edits(text: str, match: re.Match[str]) -> Iterator[Written]:
    operation, last = match["operation"], match["last"]
    given = {key for key in ("coefficient", "target") if match[key] is not None}
    needed = {"coefficient"} & {*NUMBERS[operation]}
    if not needed <= given <= {*NUMBERS[operation]}:
        raise InterventionError(
            f"{match[0]!r} in {text!r}: add, shift, transport and turn take coefficient, project "
            "may take target, and ablate takes neither"
        )
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
    said = {key: match[key] for key in ("coefficient", "target", "schedule", "positions")}
    first = Written(operation, match["name"], source, site, **said)
    yield first
    for layer in range(site.layer + 1, 1 + (site.layer if last is None else int(last))):
        at = Site(site.component, layer)
        yield replace(first, source=at, site=at)
