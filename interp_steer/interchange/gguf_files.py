"""GGUF files of directions, which four of the formats are: tensors ``direction.k`` and some keys.

They are read and written by the ``gguf`` package, whose reader is bounded here: by itself it takes
the counts of a file at their word, and a file of a few bytes can keep it busy for years.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsInt

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp_steer.errors import InterchangeError
from interp_steer.interchange.checked_files import parse_json, real, regular, write_file
from interp_steer.interchange.conversion import Outgoing, card_of, card_text
from interp_steer.vectors.card import Card

if TYPE_CHECKING:
    from gguf import GGUFReader

CARD = "interp_steer.card"
"""The key under which our own files say more. Other tools read the keys that they know."""

FORMAT = "interp_steer.format"
"""The key under which our own files say which format they are of."""

_READS = 2**14
"""The most pieces that the header of a file of directions is read in; it has some hundreds."""


@dataclass(frozen=True, eq=False)
class Directions:
    """What a GGUF file of directions holds."""

    keys: Mapping[str, Any]
    """Strings and numbers by key; other values are not taken."""
    kinds: Mapping[str, str]
    """The type of each, as ``gguf`` names it."""
    directions: Mapping[int, Float[Tensor, " d_model"]]
    path: Path
    """Where it stands, for error messages."""

    def text(self, key: str, otherwise: str) -> str:
        """What the file says under a key, where that is a text."""
        said = self.keys.get(key)
        return said if isinstance(said, str) and said else otherwise

    @property
    def card(self) -> Card | None:
        """The card, in our own files.

        Raises:
            InterchangeError: for a damaged one.
        """
        if CARD not in self.keys:
            return None
        said = parse_json(self.text(CARD, ""), f"the card in {self.path}")
        return card_of(said, str(self.path))


def read_gguf(path: Path) -> Directions:
    """Read a GGUF file of directions.

    Raises:
        InterchangeError: for a file that is too large, damaged, or holds other tensors than
            directions in F32 or F16.
    """
    regular(path)
    try:
        reader = _bounded_reader()(path)
        keys, kinds = {}, {}
        for name, field in reader.fields.items():
            # An array is not among what these formats hold.
            if len(field.types) == 1:
                keys[name], kinds[name] = field.contents(), field.types[0].name
        held = [(each.name, each.tensor_type.name, each.data) for each in reader.tensors]
        directions = {}
        for name, kind, data in held:
            if not (found := re.fullmatch(r"direction\.(0|[1-9][0-9]{0,3})", name)):
                raise InterchangeError(
                    f"{path} has a tensor {name[:80]!r}; a file of directions has direction.0, "
                    "direction.1 and so on: look what it is"
                )
            if kind not in ("F32", "F16"):
                raise InterchangeError(
                    f"{path} has {name} in {kind}; directions are read in F32 and F16, so write it "
                    "again unquantised"
                )
            native = data.astype(data.dtype.newbyteorder("="))
            directions[int(found[1])] = real(torch.from_numpy(native), f"{name} of {path}")
    except InterchangeError:
        raise
    except Exception as error:  # whatever a damaged file made the reader stumble over
        raise InterchangeError(
            f"{path} is no GGUF file, or a damaged one ({type(error).__name__}: {error}); make it "
            "again, or copy it again from where it came"
        ) from error
    return Directions(keys, kinds, directions, path)


def write_gguf(
    out: Outgoing, path: Path, *, format: str, architecture: str, keys: Mapping[str, str]
) -> None:
    """Write directions in F32, place ``k`` as ``direction.k``.

    Args:
        out: the directions.
        path: the file.
        format: our name of the format.
        architecture: ``general.architecture``, before which the other keys stand.
        keys: more texts, by key.

    Raises:
        InterchangeError: when the file cannot be written, or ``gguf`` is not installed.
    """
    gguf = _gguf()
    with tempfile.TemporaryDirectory() as folder:
        aside = Path(folder) / "directions.gguf"
        writer = gguf.GGUFWriter(aside, architecture)
        for key, said in keys.items():
            writer.add_string(f"{architecture}.{key}", said)
        # An i32 would say that it is of llama.cpp's generator, whose measuring is one layer off.
        writer.add_uint32(f"{architecture}.layer_count", len(out.places))
        writer.add_string(FORMAT, format)
        if out.card is not None:
            writer.add_string(CARD, json.dumps(card_text(out.card), sort_keys=True))
        for place, direction in out.places.items():
            writer.add_tensor(f"direction.{place}", direction.numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        write_file(path, aside.read_bytes(), (".gguf",))


def _gguf() -> Any:
    try:
        import gguf
    except ImportError as error:
        raise InterchangeError(
            "GGUF files need the package gguf; install it: pip install 'interp_steer[interchange]'"
        ) from error
    return gguf


@cache
def _bounded_reader() -> type[GGUFReader]:
    class Bounded(_gguf().GGUFReader):
        """A reader that stops at the end of the file, and after so many pieces."""

        reads = 0

        def _get(
            self,
            offset: SupportsInt,
            dtype: Any,
            count: SupportsInt = 1,
            override_order: Any = None,
        ) -> Any:
            offset, count = int(offset), int(count)
            self.reads += 1
            end = offset + count * np.dtype(dtype).itemsize
            if count < 0 or offset < 0 or end > len(self.data):
                raise ValueError(f"it ends at byte {len(self.data)}, and byte {end} is wanted")
            if self.reads > _READS:
                raise ValueError(f"its header has more than {_READS} pieces")
            return super()._get(offset, dtype, count, override_order)

    return Bounded
