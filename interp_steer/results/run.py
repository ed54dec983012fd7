"""What an analysis leaves: a results folder, whole or absent, that says where its numbers are from.

``results/<analysis>/<model>/<config hash>/`` holds ``config.json``, ``provenance.json``,
``records.parquet``, ``vectors*.safetensors``, ``figures/``, ``summary.json`` and, written last,
``manifest.json`` with the checksum of every file. A `Run` is a folder being written, aside from its
final place; `Results` is a finished one, checked as it is read.
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
from interp_steer.results.folders import MANIFEST, Lock, document_hash, folder_name, mended
from interp_steer.results.notebook import run_card
from interp_steer.results.summary import Summary, print_tables
from interp_steer.storage.atomic import write_atomically


@runtime_checkable
class Drawable(Protocol):
    """A figure with its caption, that can write itself: `figures.Drawing` is one."""

    @property
    def caption(self) -> str: ...

    def write(self, folder: Path, name: str) -> Sequence[Path]: ...


@runtime_checkable
class Saveable(Protocol):
    """A vector, or anything else that is stored as one safetensors file."""

    def save(self, path: Path, /) -> Any: ...


class Run:
    """A results folder while an analysis fills it. Made by `open_run`.

    Everything is written to a hidden folder beside the final one, which `finish` moves into place
    when it is whole: an earlier result of the same config stays readable until then, and a run that
    stops half-way leaves nothing that could be taken for a result.

    Attributes:
        path: where the finished folder will be.
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
        self._document = {"analysis": analysis, "config": _plain(config), "seed": seed}
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
        with mended(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()
        try:
            with mended(self.path):
                if self._replaced.exists() and not self.path.exists():
                    # A run was killed between the two renames of `_move_into_place`.
                    os.replace(self._replaced, self.path)
            self._refuse_foreign(overwrite)
            with mended(self.path):
                self._clear()
                (self._aside / "figures").mkdir(parents=True, exist_ok=True)
                (self._aside / "partial").mkdir(exist_ok=True)
            self._write_json("config.json", self._document)
        except BaseException:
            self._lock.release()
            raise
        self._start = provenance.now()

    def _refuse_foreign(self, overwrite: bool) -> None:
        if not self.path.exists():
            return
        if not overwrite:
            raise RunError(
                f"{self.path} already holds the results of this config; read them with "
                "Run.read(path), or run again with --overwrite to replace them."
            )
        if self.path.is_dir() and not any(self.path.iterdir()):
            return
        try:
            there = document_hash(folders.read_json(self.path / "config.json"))
        except RunError as error:
            raise RunError(
                f"{self.path} is in the way and is no results folder ({error}); move it "
                "elsewhere, or choose another results root."
            ) from None
        if there != self.config_hash:
            raise RunError(
                f"{self.path} holds the results of another config (hash {there}, not "
                f"{self.config_hash}); move it elsewhere, or choose another results root."
            )

    def _clear(self) -> None:
        """Remove what a stopped run of the same config left, but for its partial work."""
        if self._aside.exists():
            for entry in self._aside.iterdir():
                if entry.name == "partial":
                    continue
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    def _repr_html_(self) -> str:
        if self._results is not None:
            return self._results._repr_html_()
        facts = {"model": self._provenance["model"]["name"], "seed": self.seed, "folder": self.path}
        return run_card(self.analysis, "under way", facts, self._summary.numbers, self._captions)

    @property
    def partial(self) -> Path:
        """A folder for work that can be taken up again; it outlives a crash and not the finish.

        Its owner must check that what lies there was made by the same model and settings.
        """
        return self._aside / "partial"

    @property
    def answers(self) -> Path:
        """Where a :class:`interp_steer.generation.ledger.Ledger` keeps the answers of all runs of this root.

        It outlives the run: one that was stopped goes on, one with another config reuses what is
        the same. It may be deleted at any time.
        """
        return self.root / ".answers" / f"{self._home.name}.jsonl"

    def file(self, name: str) -> Path:
        """Path for a further file of the analysis' own, moved into place with the rest.

        Raises:
            RunError: when ``name`` would leave the folder.
        """
        path = folders.inside(self._aside, name)
        with mended(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def used(self, *things: Any) -> None:
        """Put models and contrast sets into the provenance.

        Args:
            things: each with a ``fingerprint`` (a model: name, revision, device and dtype are kept
                too) or with a ``hash`` (data, kept under its ``name`` and ``split``).

        Raises:
            RunError: for a thing that has neither.
        """
        for thing in things:
            if getattr(thing, "fingerprint", None):
                read = ("name", "revision", "device", "dtype")
                self._provenance["model"] |= {
                    "fingerprint": thing.fingerprint,
                    **{k: str(v) for k in read if (v := getattr(thing, k, None)) is not None},
                }
            elif getattr(thing, "hash", None):
                name = "/".join(
                    str(part) for k in ("name", "split") if (part := getattr(thing, k, None))
                )
                self._provenance["data"][name or type(thing).__name__] = thing.hash
            else:
                raise RunError(
                    f"run.used() cannot tell where {type(thing).__name__} is from: it has neither "
                    "a fingerprint (a model) nor a hash (data)."
                )

    def write_records(self, records: pl.DataFrame, name: str = "records") -> None:
        """Write ``<name>.parquet``, a row per completion or per cell.

        Raises:
            RunError: for what is no frame, or a name that would leave the folder.
        """
        if not isinstance(records, pl.DataFrame):
            raise RunError(f"records are a {type(records).__name__}; give a polars DataFrame.")
        with (
            mended(self.path / f"{name}.parquet"),
            write_atomically(self.file(f"{name}.parquet")) as path,
        ):
            records.write_parquet(path)

    def leave(
        self,
        vector: Saveable | None = None,
        name: str = "vectors",
        summary: Mapping[str, Any] | None = None,
    ) -> None:
        """Leave a vector, summary numbers, or both; may be called any number of times.

        Args:
            vector: stored as ``vectors.safetensors``, or ``vectors.<name>.safetensors`` for a name
                of its own; its card's fingerprint and data hash go into the provenance.
            name: tells several vectors apart.
            summary: numbers, or `Interval` for an estimate, which leaves ``name``, ``name.low`` and
                ``name.high``. A number that is not finite is kept out of ``summary.json`` and
                listed as undefined in the provenance.

        Raises:
            RunError: for a name left twice, a value that is no number, or what cannot save itself.
        """
        if not isinstance(vector, Saveable | None):
            raise RunError(f"a {type(vector).__name__} cannot be left; give what has save(path).")
        if not isinstance(summary, Mapping | None):
            raise RunError(f"the summary is a {type(summary).__name__}; give numbers by name.")
        if vector is not None:
            file = "vectors" if name == "vectors" else f"vectors.{folder_name(name)}"
            path = self.file(f"{file}.safetensors")
            if path.exists():
                raise RunError(f"vectors named {name!r} were already left; give each a name.")
            with mended(self.path / path.name):
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
        """Write a figure under ``figures/`` and keep its caption.

        PDF, SVG and PNG are made for all figures together by `finish`.

        Raises:
            RunError: for a name drawn twice, or what is no figure.
        """
        name = folder_name(name)
        if not isinstance(drawing, Drawable):
            raise RunError(
                f"a {type(drawing).__name__} cannot be drawn; give what figures.* returns, which "
                "has a caption and write(folder, name)."
            )
        if name in self._captions:
            raise RunError(f"figure {name!r} was already drawn; give each a name.")
        with mended(self.path / "figures" / name):
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
        end = provenance.now()
        self._provenance |= {
            "estimates": self._summary.estimates,
            "undefined": self._summary.undefined,
            "seed": self.seed,
            "versions": provenance.versions(),
            "source": provenance.revision(),
            "machine": provenance.machine(),
            "start": self._start.isoformat(timespec="seconds"),
            "end": end.isoformat(timespec="seconds"),
            "wall_seconds": round((end - self._start).total_seconds(), 3),
        }
        self._write_json("figures/captions.json", self._captions)
        self._write_json("summary.json", self._summary.numbers)
        self._write_json("provenance.json", self._provenance)
        if self._export is not None and self._captions:  # what it prints says where it is from
            with mended(self.path / "figures"):
                self._export(self._aside / "figures")
        with mended(self.path):
            shutil.rmtree(self.partial, ignore_errors=True)
            manifest = folders.manifest(
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
        with mended(self.path):
            shutil.rmtree(self._replaced, ignore_errors=True)
            if self.path.exists():
                os.replace(self.path, self._replaced)
            os.replace(self._aside, self.path)
            shutil.rmtree(self._replaced, ignore_errors=True)

    def _write_json(self, name: str, value: Any) -> None:
        with mended(self.path / name), write_atomically(self._aside / name) as path:
            path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if kind is None:
            self.finish()
            print(self.path, flush=True)
        self.close()

    def close(self) -> None:
        """Let go of the folder, finished or not; what stands in `partial` is kept."""
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
    the folder. After an error the final folder is untouched and ``run.partial`` is kept.

    Args:
        analysis: name of the analysis.
        config: its config, a dataclass or a mapping.
        root: the results root.
        model: the model (anything with a ``name``) or its name; ``config.model`` when None.
        seed: seed of the run; a part of the config hash.
        overwrite: whether results of the same config are replaced; refused otherwise.
        about: what the analysis asks and does, for the report.
        export: called once by `Run.finish` with the figures folder to make its static files.

    Raises:
        RunError: when the folder cannot be written, belongs to something else, or is being
            written by another process.

    Example:
        >>> with open_run("layer_sweep", config, seed=0) as run:  # doctest: +SKIP
        ...     run.leave(summary={"accuracy": wilson(18, 24)})
    """
    if model is None:
        named = _plain(config)
        model = named.get("model") or "+".join(map(folder_name, named.get("models") or ()))
    name = model if isinstance(model, str) else getattr(model, "name", str(model))
    run = Run(analysis, config, root=Path(root), model=name, seed=seed, about=about, export=export)
    run._open(overwrite)
    if getattr(model, "fingerprint", None):
        run.used(model)
    return run


def _plain(config: Any) -> dict[str, Any]:
    """The config as JSON values, so that its hash does not depend on Python types."""
    if isinstance(config, Mapping):
        return folders.json_values(dict(config))
    if is_dataclass(config) and not isinstance(config, type):
        return folders.json_values(asdict(config))
    raise RunError(f"the config is {config!r:.200}; give a dataclass or a mapping.")
