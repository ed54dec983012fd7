"""Write the results folder of an analysis: complete or absent, with the origin of its numbers.

``results/<analysis>/<model>/<config hash>/`` holds ``config.json``, ``provenance.json``,
``records.parquet``, ``vectors*.safetensors``, ``figures/``, ``summary.json`` and, written last,
``manifest.json`` with the checksum of every file. A :class:`Run` is a folder that is being written,
in another place than the final one; :class:`Results` is a finished folder, checked as it is read.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import polars as pl

from interp_steer.errors import RunError
from interp_steer.results import folders, provenance
from interp_steer.results.finished import Results, read
from interp_steer.results.folders import (
    MANIFEST,
    Lock,
    document_hash,
    explain_write_errors,
    folder_name,
)
from interp_steer.results.notebook import render_run
from interp_steer.results.summary import Summary, print_tables
from interp_steer.storage.atomic import write_atomically


@runtime_checkable
class Drawable(Protocol):
    """A figure with a caption and a method that writes the figure, such as ``figures.Drawing``."""

    @property
    def caption(self) -> str: ...

    def write(self, folder: Path, name: str) -> Sequence[Path]: ...


@runtime_checkable
class Saveable(Protocol):
    """A vector, or another object that is stored as one safetensors file."""

    def save(self, path: Path, /) -> Any: ...


class Run:
    """A results folder while an analysis fills it. Made by :func:`open_run`.

    All files are written to a hidden folder next to the final one, which :meth:`finish` moves into
    place when it is complete. An earlier result of the same config stays readable until then, and a
    run that stops early leaves nothing that could be mistaken for a result.

    Attributes:
        path: the path of the finished folder.
        root: the results root.
        seed: the run's seed, for every sampler of the analysis.
    """

    def __init__(
        self,
        analysis: str,
        config: Any,
        *,
        root: Path,
        model: str,
        seed: int,
        about: str,
        export: Callable[[Path], Sequence[Path]] | None,
    ) -> None:
        self.analysis = analysis
        self.root = root
        self.seed = seed
        self._document = {"analysis": analysis, "config": _to_json(config), "seed": seed}
        self.config_hash = document_hash(self._document)
        self._home = home = root / folder_name(analysis) / folder_name(model or "no-model")
        self.path = home / self.config_hash
        self._aside = home / f".{self.config_hash}.unfinished"
        self._replaced = home / f".{self.config_hash}.replaced"
        self._export = export
        self._summary = Summary()
        self._captions: dict[str, str] = {}
        self._provenance: dict[str, Any] = {
            "about": about,
            "model": {"name": model or None, "fingerprint": None},
            "data": {},
        }
        self._results: Results | None = None
        self._lock = Lock(home / f".{self.config_hash}.lock")

    def _open(self, overwrite: bool) -> None:
        with explain_write_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()
        try:
            with explain_write_errors(self.path):
                if self._replaced.exists() and not self.path.exists():
                    # A run was killed between the two renames of _move_into_place.
                    os.replace(self._replaced, self.path)
            self._refuse_foreign(overwrite)
            with explain_write_errors(self.path):
                self._clear()
                (self._aside / "figures").mkdir(parents=True, exist_ok=True)
                (self._aside / "partial").mkdir(exist_ok=True)
            self._write_json("config.json", self._document)
        except BaseException:
            self._lock.release()
            raise
        self._start = provenance.read_clock()

    def _refuse_foreign(self, overwrite: bool) -> None:
        if not self.path.exists():
            return
        if not overwrite:
            raise RunError(
                f"{self.path} already holds the results of this config; read them with "
                "Run.read(path), or run again with --overwrite to replace them"
            )
        if self.path.is_dir() and not any(self.path.iterdir()):
            return
        try:
            existing = document_hash(folders.read_json(self.path / "config.json"))
        except RunError as error:
            raise RunError(
                f"{self.path} is in the way and is not a results folder ({error}); move it "
                "elsewhere, or choose another results root"
            ) from None
        if existing != self.config_hash:
            raise RunError(
                f"{self.path} holds the results of another config (hash {existing}, not "
                f"{self.config_hash}); move it elsewhere, or choose another results root"
            )

    def _clear(self) -> None:
        """Remove the files of a stopped run of the same config, except its partial work."""
        if self._aside.exists():
            for entry in self._aside.iterdir():
                if entry.name == "partial":
                    continue
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    def _repr_html_(self) -> str:
        if self._results is not None:
            return self._results._repr_html_()
        facts = {"model": self._provenance["model"]["name"], "seed": self.seed, "folder": self.path}
        return render_run(self.analysis, "under way", facts, self._summary.numbers, self._captions)

    @property
    def partial(self) -> Path:
        """Return a folder for unfinished work; it survives a crash and is removed at the finish.

        The analysis must check that the files in it were made by the same model and settings.
        """
        return self._aside / "partial"

    @property
    def answers(self) -> Path:
        """Return the file for the answers of all runs of this results root.

        A :class:`interp_steer.generation.ledger.Ledger` there survives the run: a run that was
        stopped goes on, and a run with another config reuses equal answers. The file may be deleted
        at any time.
        """
        return self.root / ".answers" / f"{self._home.name}.jsonl"

    def file(self, name: str) -> Path:
        """Return the path for a further file, which is moved into place with the rest.

        Raises:
            RunError: for a name that leads out of the folder.
        """
        path = folders.resolve_inside(self._aside, name)
        with explain_write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def used(self, *things: Any) -> None:
        """Put models and contrast sets into the provenance.

        Args:
            things: objects with a ``fingerprint`` (a model, whose name, revision, device and dtype
                are stored too) or with a ``hash`` (data, stored under its ``name`` and ``split``).

        Raises:
            RunError: for an object that has neither.
        """
        for thing in things:
            if getattr(thing, "fingerprint", None):
                names = ("name", "revision", "device", "dtype")
                self._provenance["model"] |= {
                    "fingerprint": thing.fingerprint,
                    **{k: str(v) for k in names if (v := getattr(thing, k, None)) is not None},
                }
            elif getattr(thing, "hash", None):
                name = "/".join(
                    str(part) for k in ("name", "split") if (part := getattr(thing, k, None))
                )
                self._provenance["data"][name or type(thing).__name__] = thing.hash
            else:
                raise RunError(
                    f"run.used() cannot record {type(thing).__name__}, which has neither a "
                    "fingerprint nor a hash; give a model or a contrast set"
                )

    def write_records(self, records: pl.DataFrame, name: str = "records") -> None:
        """Write ``<name>.parquet``, a row per completion or per cell.

        Raises:
            RunError: for records that are not a frame, or a name that leads out of the folder.
        """
        if not isinstance(records, pl.DataFrame):
            raise RunError(f"records are a {type(records).__name__}; give a polars DataFrame")
        with (
            explain_write_errors(self.path / f"{name}.parquet"),
            write_atomically(self.file(f"{name}.parquet")) as path,
        ):
            records.write_parquet(path)

    def leave(
        self,
        vector: Saveable | None = None,
        name: str = "vectors",
        summary: Mapping[str, Any] | None = None,
    ) -> None:
        """Store a vector, summary numbers, or both; may be called any number of times.

        Args:
            vector: stored as ``vectors.safetensors``, or as ``vectors.<name>.safetensors`` for
                another name; the fingerprint and the data hash of its card go into the provenance.
            name: the name that distinguishes several vectors.
            summary: numbers, or :class:`~interp_steer.statistics.intervals.Interval` for an
                estimate, which stores ``name``, ``name.low`` and ``name.high``. A number that is
                not finite is left out of ``summary.json`` and listed as undefined in the
                provenance.

        Raises:
            RunError: for a name used twice, a value that is not a number, or an object without
                ``save``.
        """
        if not isinstance(vector, Saveable | None):
            raise RunError(f"a {type(vector).__name__} cannot be left; give what has save(path)")
        if not isinstance(summary, Mapping | None):
            raise RunError(f"the summary is a {type(summary).__name__}; give numbers by name")
        if vector is not None:
            file = "vectors" if name == "vectors" else f"vectors.{folder_name(name)}"
            path = self.file(f"{file}.safetensors")
            if path.exists():
                raise RunError(f"vectors named {name!r} were already left; give each a name")
            with explain_write_errors(self.path / path.name):
                vector.save(path)
            self._remember_card(vector, name)
        for key, value in (summary or {}).items():
            self._summary.add(key, value)

    def _remember_card(self, vector: Any, name: str) -> None:
        card = getattr(vector, "card", None)
        if fingerprint := getattr(card, "fingerprint", None):
            self._provenance["model"]["fingerprint"] = str(fingerprint)
        if data := getattr(card, "data_hash", None):
            self._provenance["data"][name] = str(data)

    def draw(self, name: str, drawing: Drawable) -> None:
        """Write a figure under ``figures/`` and store its caption.

        :meth:`finish` makes PDF, SVG and PNG for all figures together.

        Raises:
            RunError: for a name used twice, or an object that is not a figure.
        """
        name = folder_name(name)
        if not isinstance(drawing, Drawable):
            raise RunError(
                f"a {type(drawing).__name__} cannot be drawn; give what figures.* returns, which "
                "has a caption and write(folder, name)"
            )
        if name in self._captions:
            raise RunError(f"figure {name!r} was already drawn; give each a name")
        with explain_write_errors(self.path / "figures" / name):
            drawing.write(self._aside / "figures", name)
        self._captions[name] = drawing.caption

    def finish(self) -> Results:
        """Write the summary, provenance and manifest, and move the folder into its place.

        Prints the summary as a table. A second call returns the same results and prints nothing.

        Returns:
            The finished folder, read back from disk with its checksums.
        """
        if self._results is not None:
            return self._results
        end = provenance.read_clock()
        self._provenance |= {
            "estimates": self._summary.estimates,
            "undefined": self._summary.undefined,
            "seed": self.seed,
            "versions": provenance.list_versions(),
            "source": provenance.find_revision(),
            "machine": provenance.describe_machine(),
            "start": self._start.isoformat(timespec="seconds"),
            "end": end.isoformat(timespec="seconds"),
            "wall_seconds": round((end - self._start).total_seconds(), 3),
        }
        self._write_json("figures/captions.json", self._captions)
        self._write_json("summary.json", self._summary.numbers)
        self._write_json("provenance.json", self._provenance)
        # The export stamps each file with its origin, which it reads from the documents above.
        if self._export is not None and self._captions:
            with explain_write_errors(self.path / "figures"):
                self._export(self._aside / "figures")
        with explain_write_errors(self.path):
            shutil.rmtree(self.partial, ignore_errors=True)
            manifest = folders.make_manifest(
                self._aside, analysis=self.analysis, config_hash=self.config_hash
            )
        self._write_json(MANIFEST, manifest)
        self._move_into_place()
        self._results = Run.read(self.path)
        self._lock.release()
        title = f"{self.analysis}, {self._results.model or 'no model'}"
        print_tables(self._results.summary, title)
        return self._results

    def _move_into_place(self) -> None:
        with explain_write_errors(self.path):
            shutil.rmtree(self._replaced, ignore_errors=True)
            if self.path.exists():
                os.replace(self.path, self._replaced)
            os.replace(self._aside, self.path)
            shutil.rmtree(self._replaced, ignore_errors=True)

    def _write_json(self, name: str, value: Any) -> None:
        with explain_write_errors(self.path / name), write_atomically(self._aside / name) as path:
            path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if kind is None:
            self.finish()
            print(self.path, flush=True)
        self.close()

    def close(self) -> None:
        """Release the folder, finished or not; the files in :attr:`partial` stay."""
        self._lock.release()

    read = staticmethod(read)


def open_run(
    analysis: str,
    config: Any,
    *,
    root: str | Path = "results",
    model: Any = None,
    seed: int = 0,
    overwrite: bool = True,
    about: str = "",
    export: Callable[[Path], Sequence[Path]] | None = None,
) -> Run:
    """Open the results folder of an analysis; use it in a ``with`` block.

    Leaving the block without an error finishes the run and prints, as the last line, the path of
    the folder. After an error the final folder is unchanged and ``run.partial`` stays.

    Args:
        analysis: the name of the analysis.
        config: the config of the analysis, a dataclass or a mapping.
        root: the results root.
        model: the model (an object with a ``name``) or its name; by default ``config.model``.
        seed: the seed of the run, which is a part of the config hash.
        overwrite: whether results of the same config are replaced; otherwise they are an error.
        about: a text for the report: the question of the analysis and its method.
        export: called once by :meth:`Run.finish` with the figures folder, to make static files.

    Raises:
        RunError: when the folder cannot be written, belongs to something else, or is being
            written by another process.

    Example::

        with open_run("layer_sweep", config, seed=0) as run:
            run.leave(summary={"accuracy": wilson(18, 24)})
    """
    if model is None:
        named = _to_json(config)
        model = named.get("model") or "+".join(map(folder_name, named.get("models") or ()))
    name = model if isinstance(model, str) else getattr(model, "name", str(model))
    run = Run(analysis, config, root=Path(root), model=name, seed=seed, about=about, export=export)
    run._open(overwrite)
    if getattr(model, "fingerprint", None):
        run.used(model)
    return run


def _to_json(config: Any) -> dict[str, Any]:
    """Return the config as JSON values, so that its hash does not depend on Python types."""
    if isinstance(config, Mapping):
        return folders.to_json_values(dict(config))
    if is_dataclass(config) and not isinstance(config, type):
        return folders.to_json_values(asdict(config))
    raise RunError(f"the config is {config!r:.200}; give a dataclass or a mapping")
