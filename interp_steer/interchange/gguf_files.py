"""Read and write GGUF files of directions, the files of four formats.

Such a file has tensors ``direction.k`` and some keys. The ``gguf`` package reads and writes it.
Its reader is bounded here: the reader trusts the counts in a file, so that without bounds a file of
a few bytes could keep it busy for years.
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
from interp_steer.interchange.checked_files import check_file, check_tensor, parse_json
from interp_steer.interchange.conversion import Outgoing, card_to_json, parse_card
from interp_steer.vectors.card import Card

if TYPE_CHECKING:
    from gguf import GGUFReader

CARD = "interp_steer.card"
"""The key of the card in our own files. Other tools ignore keys that they do not know."""

FORMAT = "interp_steer.format"
"""The key of the format's name in our own files."""

_READS = 2**14
"""The most reads of the header of a file; a file of directions takes some hundreds."""


@dataclass(frozen=True, eq=False)
class Directions:
    """The content of a GGUF file of directions."""

    keys: Mapping[str, Any]
    """Strings and numbers by key, without other values."""
    kinds: Mapping[str, str]
    """The type of each value, as ``gguf`` names it."""
    directions: Mapping[int, Float[Tensor, " d_model"]]
    path: Path
    """The file, for error messages."""

    def text(self, key: str, otherwise: str) -> str:
        """Return the text under a key, or another text where the file has none."""
        value = self.keys.get(key)
        return value if isinstance(value, str) and value else otherwise

    @property
    def card(self) -> Card | None:
        """Return the card, in our own files; None in others.

        Raises:
            InterchangeError: for a damaged card.
        """
        if CARD not in self.keys:
            return None
        value = parse_json(self.text(CARD, ""), f"the card in {self.path}")
        return parse_card(value, str(self.path))


def read_gguf(path: Path) -> Directions:
    """Read a GGUF file of directions.

    Raises:
        InterchangeError: for a file that is too large, damaged, or holds other tensors than
            directions in F32 or F16.
    """
    check_file(path)
    try:
        reader = _bounded_reader()(path)
        keys, kinds = {}, {}
        for name, field in reader.fields.items():
            # None of these formats holds arrays.
            if len(field.types) == 1:
                keys[name], kinds[name] = field.contents(), field.types[0].name
        tensors = [(each.name, each.tensor_type.name, each.data) for each in reader.tensors]
        directions = {}
        for name, kind, data in tensors:
            if not (match := re.fullmatch(r"direction\.(0|[1-9][0-9]{0,3})", name)):
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
            directions[int(match[1])] = check_tensor(torch.from_numpy(native), f"{name} of {path}")
    except InterchangeError:
        raise
    except Exception as error:  # a damaged file can make the reader raise anything
        raise InterchangeError(
            f"{path} is not a GGUF file, or is damaged ({type(error).__name__}: {error}); make it "
            "again, or copy it again from where it came"
        ) from error
    return Directions(keys, kinds, directions, path)


def gguf_bytes(out: Outgoing, format: str, architecture: str, keys: Mapping[str, str]) -> bytes:
    """Return a file of directions in F32, place ``k`` as ``direction.k``.

    Args:
        out: the directions.
        format: our name of the format.
        architecture: ``general.architecture``, with which the names of the other keys begin.
        keys: more texts, by key.

    Raises:
        InterchangeError: when ``gguf`` is not installed, or for a name that could not be read back.
    """
    gguf = _import_gguf()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "directions.gguf"
        writer = gguf.GGUFWriter(path, architecture)
        for key, text in keys.items():
            writer.add_string(f"{architecture}.{key}", text)
        # An i32 would mark the file as one of llama.cpp's generator, which counts one layer off.
        writer.add_uint32(f"{architecture}.layer_count", len(out.places))
        writer.add_string(FORMAT, format)
        if out.card is not None:
            writer.add_string(CARD, json.dumps(card_to_json(out.card), sort_keys=True))
        for place, direction in out.places.items():
            writer.add_tensor(f"direction.{place}", direction.numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()


def _import_gguf() -> Any:
    try:
        import gguf
    except ImportError as error:
        raise InterchangeError(
            "GGUF files need the package gguf; install it: pip install 'interp_steer[interchange]'"
        ) from error
    return gguf


@cache
def _bounded_reader() -> type[GGUFReader]:
    # A function, since the base class comes with an optional package.
    class Bounded(_import_gguf().GGUFReader):
        """A reader that stops at the end of the file, and after so many reads."""

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
                raise ValueError(f"the file ends at byte {len(self.data)}, before byte {end}")
            if self.reads > _READS:
                raise ValueError(f"the header has more than {_READS} pieces")
            return super()._get(offset, dtype, count, override_order)

    return Bounded
