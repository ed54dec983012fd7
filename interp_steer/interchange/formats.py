"""Define the class of which every format is a subclass: what a file holds, and how it is converted.

A subclass names the format and its tool in class attributes, which make its row in the table of
formats, and adds three methods: :meth:`Format.recognises`, :meth:`Format.decode` and
:meth:`Format.encode`. The checks that all formats share are in the methods of :class:`Format` and
in :mod:`interp_steer.interchange.conversion`.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from interp_steer.errors import InterchangeError
from interp_steer.interchange.checked_files import check_suffix, write_file
from interp_steer.interchange.conversion import Incoming, Outgoing, make_vector, place_directions
from interp_steer.interventions.intervention import Intervention
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.storage.bounded import add_path_to_errors
from interp_steer.vectors.steering_vector import SteeringVector

ADDS_ONLY = "heads, attn_out, mlp_out, steps, schedules, positions, projection and ablation"
"""The operations and places that a tool which adds to the residual stream does not have."""

KEEPS_DIRECTIONS = "directions (float32, bit for bit)"
"""The part of a vector that a round trip keeps in the plainest formats."""

Encoded: TypeAlias = tuple[Mapping[Path, bytes], Iterable[str]]
"""The files to be written, in their order, and what they do not hold."""

_COLUMNS = {"kept": "keeps", "lost": "loses", "refused": "refuses"}
"""The columns of the table that are called otherwise than the attribute."""


@dataclass(frozen=True, eq=False)
class OpenedFile:
    """A file of another tool, and its content."""

    path: Path
    content: Any
    """Plain values and tensors: opening the file ran nothing in it."""


class Format(ABC):
    """A format of another tool: the attributes are the row of the table, the methods convert.

    Example::

        class Mine(Format):  # one direction in a .pt
            name, called, tool, file = "mine", "mine", "my tool", ".pt of one direction"
            layers, acts = "resid_post.0", "adds after block 0, at every position"
            keeps, loses, refuses = "one direction", "the card, other layers", ADDS_ONLY
            suffixes = (".pt",)
            def recognises(self, file): return isinstance(file.content, torch.Tensor)
            def decode(self, file, model): return Incoming({0: file.content}, tool=self.name)
            def encode(self, vector, path, model):
                _, direction, lost = self.place(vector, model).only(0, "mine holds layer 0")
                return {path: torch_bytes(direction)}, lost
    """

    name: ClassVar[str]
    """The name by which :func:`~interp_steer.interchange.read` and ``write`` choose the format."""
    tool: ClassVar[str]
    """The tool that the format belongs to."""
    called: ClassVar[str]
    """The name of the tool in error messages."""
    file: ClassVar[str]
    """The kind of file."""
    layers: ClassVar[str]
    """The site that a layer's number in the file stands for."""
    acts: ClassVar[str]
    """Where and how the tool adds the direction."""
    keeps: ClassVar[str]
    """The parts of a vector that a round trip keeps."""
    loses: ClassVar[str]
    """The parts that the format does not hold, or that are not read from it."""
    refuses: ClassVar[str]
    """The operations and places that are refused with an error."""
    suffixes: ClassVar[tuple[str, ...]]
    """The endings of its files."""

    first_place: ClassVar[int] = 0
    """The first place in the residual stream that the tool can write to; 0 is the output of block
    0, and -1 the embedding (see :mod:`interp_steer.interchange.conversion`)."""

    @abstractmethod
    def recognises(self, file: OpenedFile) -> bool:
        """Return whether the content of a file is of this format."""

    @abstractmethod
    def decode(
        self, file: OpenedFile, model: HookedLM | None, *args: Any, **options: Any
    ) -> Incoming:
        """Return the directions in a file.

        Args:
            file: the file.
            model: the model that the vector belongs to.
            args, options: the options of the format for reading, which a subclass declares as
                keyword-only parameters.

        Raises:
            InterchangeError: for a content that is not of the format.
        """

    @abstractmethod
    def encode(
        self,
        vector: object,
        path: Path,
        model: HookedLM | None,
        *args: Any,
        **options: Any,
    ) -> Encoded:
        """Return the files that a vector or an intervention makes, and what they do not hold.

        Args:
            vector: the vector, whose raw directions are written, or an intervention; anything
                else is refused.
            path: the file to be written.
            model: the model, to check sizes against and to name in the file.
            args, options: the options of the format for writing, which a subclass declares as
                keyword-only parameters.

        Raises:
            InterchangeError: for a vector or an intervention that the format cannot hold.
        """

    def read(
        self,
        file: OpenedFile,
        *,
        model: HookedLM | None = None,
        name: str | None = None,
        **options: Any,
    ) -> tuple[SteeringVector, tuple[str, ...]]:
        """Make a vector of an opened file.

        Args:
            file: the file.
            model: the model that the vector belongs to; sizes are checked against it.
            name: the name of the vector; by default the card's or the file's.
            options: the options of :meth:`decode`.

        Returns:
            The vector, and what was left out of it.

        Raises:
            InterchangeError: for another suffix, unknown options, or a content that does not fit.
        """
        if file.path.suffix not in self.suffixes:
            raise InterchangeError(
                f"{file.path} ends in {file.path.suffix!r}, and files of {self.name} in "
                f"{' or '.join(self.suffixes)}; give another format"
            )
        self._check_options("read", self.decode, options)
        with add_path_to_errors(file.path):
            return make_vector(self.decode(file, model, **options), file.path, model, name)

    def write(
        self,
        vector: SteeringVector | Intervention,
        path: Path,
        *,
        model: HookedLM | None = None,
        **options: Any,
    ) -> tuple[str, ...]:
        """Write a vector, or what an intervention adds.

        Args:
            vector: the vector, whose raw directions are written, or the intervention.
            path: the file.
            model: the model, to check sizes against and to name in the file.
            options: the options of :meth:`encode`.

        Returns:
            A line for each part of the vector that the file does not hold.

        Raises:
            InterchangeError: for unknown options, what the format cannot hold, or a file that
                cannot be written.
        """
        self._check_options("write", self.encode, options)
        files, lost = self.encode(vector, path, model, **options)
        check_suffix(path, self.suffixes)
        for target, content in files.items():
            write_file(target, content)
        return tuple(lost)

    def place(self, vector: object, model: HookedLM | None) -> Outgoing:
        """Return the directions to be written, without the places that the tool cannot write to.

        Raises:
            InterchangeError: for directions that the format cannot hold, with the reason.
            BasisError: for directions of processed weights.
        """
        out = place_directions(vector, self.called, model)
        return out.without(self.find_unreachable(out), self.explain_unreachable())

    def find_unreachable(self, out: Outgoing) -> list[int]:
        """Return the places among those of a vector that the tool cannot write to."""
        return [place for place in out.places if place < self.first_place]

    def explain_unreachable(self) -> str:
        """Return the reason why some places are unreachable."""
        return f"{self.called} writes to what leaves a block"

    @property
    def row(self) -> dict[str, str]:
        """Return the row in the table of formats."""
        columns = ("name", "tool", "file", "layers", "acts", "kept", "lost", "refused")
        return {column: getattr(self, _COLUMNS.get(column, column)) for column in columns}

    def _check_options(
        self, verb: str, function: Callable[..., Any], options: Mapping[str, Any]
    ) -> None:
        parameters = inspect.signature(function).parameters.values()
        known = [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]
        if unknown := sorted(set(options) - set(known)):
            raise InterchangeError(
                f"{verb} of {self.name} does not know {', '.join(unknown)}; its options are "
                f"{', '.join(known) or 'none'}"
            )


class BlockInputFormat(Format):
    """A format of a tool that writes to the input of a block: layer ``k`` is place ``k - 1``."""

    first_place = -1

    def find_unreachable(self, out: Outgoing) -> list[int]:
        return [place for place in out.places if place == out.last]

    def explain_unreachable(self) -> str:
        return f"{self.called} writes to what enters a block, and none follows the last"
