"""Read finished results folders, and check them against their manifests."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from interp_steer.errors import RunError
from interp_steer.results import folders
from interp_steer.results.folders import MANIFEST, document_hash
from interp_steer.results.notebook import render_run
from interp_steer.results.summary import Number
from interp_steer.storage.bounded import check_file

LARGEST = 2**34
"""The greatest size of a file of records, in bytes."""


class Results:
    """A finished results folder, read and checked.

    Attributes:
        path: the folder.
        analysis: name of the analysis that left it.
        config: the analysis' config as plain values.
        seed: the run's seed.
        provenance: versions, model, data, commit, machine, times.
        summary: flat numbers, None where nothing was chosen; an estimate ``name`` has ``name.low``
            and ``name.high`` too.
        captions: caption of each figure by name, in the order drawn.
    """

    def __init__(self, path: Path, documents: Mapping[str, Any]) -> None:
        self.path = path
        self.analysis: str = documents["config"]["analysis"]
        self.config: dict[str, Any] = documents["config"]["config"]
        self.seed: int = documents["config"]["seed"]
        self.provenance: dict[str, Any] = documents["provenance"]
        self.summary: dict[str, Number] = documents["summary"]
        self.captions: dict[str, str] = documents["captions"]

    def _repr_html_(self) -> str:
        source = self.provenance.get("source") or {}
        facts = {
            "model": self.model,
            "seed": self.seed,
            "took": f"{self.provenance.get('wall_seconds', 0):.0f} s",
            "commit": (source.get("commit") or "")[:12],
            "folder": self.path,
        }
        return render_run(self.analysis, "finished", facts, self.summary, self.captions)

    @property
    def model(self) -> str:
        """Return the model's name as the config gives it; empty without a model."""
        return self.provenance["model"].get("name") or ""

    def records(self, name: str = "records") -> pl.DataFrame | None:
        """Return the frame written under ``name``, or None when the analysis did not write it.

        Raises:
            RunError: for a name that would leave the folder, or a file that is too large or not a
                frame.
        """
        path = folders.resolve_inside(self.path, f"{name}.parquet")
        return _read_frame(path) if path.exists() else None

    @property
    def frames(self) -> list[str]:
        """Return the names that :meth:`records` takes, first the name of the main frame."""
        names = sorted(path.stem for path in self.path.glob("*.parquet"))
        return sorted(names, key=lambda name: name != "records")

    @property
    def vectors(self) -> list[Path]:
        """Return the files of the vectors that the analysis left."""
        return sorted(self.path.glob("vectors*.safetensors"))

    def figure(self, name: str) -> Path:
        """Return the path of a figure's plotly JSON.

        Raises:
            RunError: for a name that would leave the folder.
        """
        return folders.resolve_inside(self.path / "figures", f"{name}.json")


def read(path: str | Path) -> Results:
    """Read a finished results folder, checking every file against its manifest.

    Raises:
        RunError: when the folder is missing, half-written, edited or of a later format; the
            message names the file and the fix.
    """
    path = Path(path)
    manifest = folders.check_manifest(path)
    documents = {
        "config": folders.read_json(path / "config.json"),
        "provenance": folders.read_json(path / "provenance.json"),
        "summary": folders.read_json(path / "summary.json"),
        "captions": folders.read_json(path / "figures" / "captions.json"),
    }
    if wrong := [*_list_mismatches(documents, _DOCUMENTS, "documents")]:
        raise RunError(
            f"{path} is not as a run leaves it ({', '.join(wrong):.200}); {folders.AGAIN}"
        )
    expected = manifest.get("config_hash")
    if (actual := document_hash(documents["config"])) != expected:
        raise RunError(
            f"{path / 'config.json'} is of another run (hash {actual}, manifest {expected}); "
            f"{folders.AGAIN}"
        )
    return Results(path, documents)


_NUMBER = (int, float)
"""A number that a float can hold."""
_MAYBE_NUMBER = (int, float, type(None))

_MAYBE_TEXT = (str, type(None))
_DOCUMENTS: Mapping[str, Any] = {
    "config": {"analysis": str, "config": dict, "seed": int},
    "provenance": {
        "about": str,
        "model": {"name": _MAYBE_TEXT, "fingerprint": _MAYBE_TEXT, ...: _MAYBE_TEXT},
        "data": {...: str},
        "estimates": dict,
        "undefined": list,
        "versions": {...: _MAYBE_TEXT},
        "source": {"commit": _MAYBE_TEXT, "dirty": (bool, type(None))},
        "machine": {...: (str, int, type(None))},
        "start": str,
        "end": str,
        "wall_seconds": _NUMBER,
    },
    "summary": {...: _MAYBE_NUMBER},
    "captions": {...: str},
}
"""The type of each entry of the documents; ``...`` stands for every other name."""


def _list_mismatches(value: Any, kind: Any, name: str) -> Iterator[str]:
    """Yield the names of the entries that are not of their type."""
    if kind is _MAYBE_NUMBER and value is None:
        return
    if kind in (_NUMBER, _MAYBE_NUMBER):
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not abs(value) <= sys.float_info.max:
            yield name
    elif not isinstance(kind, Mapping):
        if not isinstance(value, kind):
            yield name
    elif not isinstance(value, dict):
        yield name
    else:
        for key in dict.fromkeys((*kind, *value)):
            if key is not ... and (key in kind or ... in kind):
                yield from _list_mismatches(
                    value.get(key), kind.get(key, kind.get(...)), f"{name}.{key}"
                )


def _read_frame(path: Path) -> pl.DataFrame:
    """Read a frame with Arrow's reader.

    The reader of polars trusts the numbers in a damaged file, and a number that is too large ends
    the process.
    """
    from pyarrow import parquet

    check_file(path, RunError, LARGEST)
    try:
        with open(path, "rb") as opened:
            table = parquet.ParquetFile(opened).read()
        table.validate(full=True)
        frame = pl.from_arrow(table)
    # The readers raise errors of any type for damaged files.
    except (Exception, pl.exceptions.PanicException) as error:
        raise RunError(f"{path} is not a frame ({error}); {folders.AGAIN}") from error
    assert isinstance(frame, pl.DataFrame)  # a table of several columns always gives a frame
    return frame


def find(root: str | Path) -> Iterator[Path]:
    """Yield the paths of the finished results folders under ``root``, sorted."""
    root = Path(root)
    for manifest in sorted(root.rglob(MANIFEST)):
        hidden = any(part.startswith(".") for part in manifest.relative_to(root).parts)
        if not hidden:
            yield manifest.parent
