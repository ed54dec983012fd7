"""Hold pairs of prompts, with a property and without it, in splits that share nothing."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from itertools import combinations
from pathlib import Path
from typing import Any, overload

from interp_steer import notebook
from interp_steer.contrast.pair import (
    SPLITS,
    Pair,
    Prompt,
    canonical_json,
    check_types,
    encode_utf8,
    sha256,
    shorten,
)
from interp_steer.errors import ContrastError
from interp_steer.interventions.notation import NAME, NAMED
from interp_steer.storage.atomic import write_atomically
from interp_steer.storage.bounded import add_path_to_errors, read_json_lines


@dataclass(frozen=True)
class ContrastSet:
    """Pairs of prompts in the splits ``fit``, ``select`` and ``test``.

    The splits share no query and no phrasing (compared without regard to case and white space), so
    that results on ``test`` come from texts on which nothing was fitted or chosen. This is checked
    whenever a set is made.

    Raises:
        ContrastError: for a name that a vector cannot have, for an empty set, when two pairs have
            the same key, or when splits share a query or a phrasing, which the message then names.

    Example:
        >>> pairs = ist.world.instruction("change_case:english_lowercase", seed=0)
        >>> len(pairs.fit), len(pairs.select), len(pairs.test)
        (64, 24, 48)
    """

    name: str
    """The property that the pairs differ in, such as an IFEval id; vectors take this name."""
    pairs: tuple[Pair, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(NAME, self.name):
            raise ContrastError(
                f"the name of contrast set {self.name!r}, which vectors take, is {NAMED}; give "
                "another"
            )
        if not self.pairs:
            raise ContrastError(f"contrast set {self.name!r} is empty; give at least one pair")
        for pair in self.pairs:
            if not isinstance(pair, Pair):
                raise ContrastError(
                    f"contrast set {self.name!r} has {pair!r:.80} among its pairs; give each as "
                    "ist.contrast.Pair(query, present, absent)"
                )
        seen: dict[str, Pair] = {}
        for pair in self.pairs:
            if pair.key in seen:
                raise ContrastError(
                    f"contrast set {self.name!r}: key {pair.key!r} is used by two pairs "
                    f"({shorten(seen[pair.key].present)} and {shorten(pair.present)}); "
                    "drop the repeated pair or give it a key of its own"
                )
            seen[pair.key] = pair
        for what in ("query", "phrasing"):
            held = {name: _texts_by_plain_text(self.pairs, name, what) for name in self.splits}
            for first, second in combinations(held, 2):
                shared = sorted(held[first].keys() & held[second].keys())
                if shared:
                    named = ", ".join(shorten(held[first][text]) for text in shared[:3])
                    more = f" and {len(shared) - 3} more" if len(shared) > 3 else ""
                    raise ContrastError(
                        f"contrast set {self.name!r}: splits {first!r} and {second!r} share "
                        f"{len(shared)} of the same {what}: {named}{more}; "
                        f"give each {what} to one split only"
                    )

    def __len__(self) -> int:
        return len(self.pairs)

    def _repr_html_(self) -> str:
        splits = {
            name: [(p.absent, p.present, p.phrasing) for p in self.pairs if p.split == name]
            for name in self.splits
        }
        return notebook.render_pairs(self.name, self.hash, splits)

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.pairs)

    @overload
    def __getitem__(self, index: int) -> Pair: ...

    @overload
    def __getitem__(self, index: slice) -> ContrastSet: ...

    def __getitem__(self, index: int | slice) -> Pair | ContrastSet:
        """Return the pair at an index, or the set of the pairs in a slice."""
        if isinstance(index, slice):
            return ContrastSet(self.name, self.pairs[index])
        return self.pairs[index]

    @property
    def splits(self) -> tuple[str, ...]:
        """List the splits that have pairs, in the order of :data:`SPLITS`."""
        return tuple(name for name in SPLITS if any(pair.split == name for pair in self.pairs))

    @property
    def split(self) -> str:
        """Name the split that all pairs belong to, or ``"all"`` when there are several splits."""
        return self.splits[0] if len(self.splits) == 1 else "all"

    @property
    def fit(self) -> ContrastSet:
        """Take the pairs that vectors are fitted on."""
        return self._take("fit")

    @property
    def select(self) -> ContrastSet:
        """Take the pairs that layers and strengths are chosen on."""
        return self._take("select")

    @property
    def test(self) -> ContrastSet:
        """Take the pairs that results are reported on."""
        return self._take("test")

    @property
    def present(self) -> list[Prompt]:
        """List the prompts with the property, in the order of the pairs."""
        return [pair.present for pair in self.pairs]

    @property
    def absent(self) -> list[Prompt]:
        """List the prompts without the property, in the order of the pairs."""
        return [pair.absent for pair in self.pairs]

    @property
    def queries(self) -> list[str]:
        """List the bare requests, in the order of the pairs."""
        return [pair.query for pair in self.pairs]

    @property
    def hash(self) -> str:
        """Compute the sha256 of the pairs as canonical JSON, whatever their order and the name."""
        return sha256("\n".join(sorted(canonical_json(asdict(pair)) for pair in self.pairs)))

    def shuffle_sides(self, seed: int = 0) -> ContrastSet:
        """Exchange the two sides in a random half of the pairs.

        A vector that is fitted on the result shows the size of a fit to chance: the two sides no
        longer differ in the property.

        Args:
            seed: of the choice of pairs.

        Returns:
            A set of the same pairs in the same order, named ``shuffled-SEED(NAME)``.
        """
        order = list(range(len(self)))
        random.Random(f"shuffled/{self.name}/{seed}").shuffle(order)
        exchanged = set(order[: len(self) // 2])
        return ContrastSet(
            f"shuffled-{seed}({self.name})",
            tuple(
                replace(pair, present=pair.absent, absent=pair.present)
                if index in exchanged
                else pair
                for index, pair in enumerate(self.pairs)
            ),
        )

    def to_jsonl(self, path: str | Path) -> None:
        """Write one pair a line, all of them or nothing; :meth:`from_jsonl` reads the file.

        Raises:
            ContrastError: when the file cannot be written.
        """
        content = b"".join(encode_utf8(canonical_json(asdict(pair))) + b"\n" for pair in self.pairs)
        try:
            with write_atomically(path) as aside:
                aside.write_bytes(content)
        except OSError as error:
            raise ContrastError(f"{path} cannot be written: {error}; use another path") from error

    @classmethod
    def from_jsonl(
        cls, path: str | Path, *, name: str | None = None, split: str = "fit"
    ) -> ContrastSet:
        """Read pairs from a file of JSON objects, one a line.

        Args:
            path: each line has ``query``, ``present`` and ``absent``, and may have every other
                field of :class:`Pair`.
            name: of the set; the file's name without its ending when not given.
            split: of the lines that have no ``split``.

        Raises:
            ContrastError: naming the line that cannot be read as a pair.
        """
        path = Path(path)
        rows = read_json_lines(path, ContrastError, "write one object a line")
        with add_path_to_errors(path):
            return cls.from_dataset(rows.values(), name=name or path.stem, split=split)

    @classmethod
    def from_dataset(
        cls, rows: Iterable[Mapping[str, Any]], *, name: str, split: str = "fit"
    ) -> ContrastSet:
        """Make a set from a Hugging Face dataset, a list of dicts, or any iterable of mappings.

        Args:
            rows: each has ``query``, ``present`` and ``absent``, and may have every other field
                of :class:`Pair`. Other columns are ignored, and ``None`` means "not given".
            name: of the set.
            split: of the rows that have no ``split``.

        Raises:
            ContrastError: naming the row that cannot be read as a pair, and the missing columns.
        """
        return cls(name, tuple(_make_pair(row, number, split) for number, row in enumerate(rows)))

    def _take(self, split: str) -> ContrastSet:
        chosen = tuple(pair for pair in self.pairs if pair.split == split)
        if not chosen:
            raise ContrastError(
                f"contrast set {self.name!r} has no {split!r} pairs (it has "
                f"{', '.join(self.splits)}); give some rows the split {split!r}"
            )
        return ContrastSet(self.name, chosen)


def take_split(pairs: ContrastSet, split: str) -> ContrastSet:
    """Take the pairs of a split, or the whole set when the set has one split only.

    Args:
        pairs: the set.
        split: one of :data:`SPLITS`.

    Raises:
        ContrastError: for anything but a contrast set, or when several splits have pairs and
            ``split`` has none.
    """
    check_set(pairs)
    return getattr(pairs, split) if pairs.split == "all" else pairs


def check_set(pairs: object) -> None:
    """Refuse anything but a contrast set.

    Raises:
        ContrastError: naming the type of the value.
    """
    if not isinstance(pairs, ContrastSet):
        raise ContrastError(
            f"pairs is a {type(pairs).__name__} and not a contrast set; make one with "
            "ist.contrast.build(...) or ist.ContrastSet.from_dataset(...)"
        )


def _texts_by_plain_text(pairs: Iterable[Pair], split: str, what: str) -> dict[str, str]:
    """Map the plain text of each query or phrasing of a split to the text itself."""
    return {
        plain_text(getattr(pair, what)): getattr(pair, what)
        for pair in pairs
        if pair.split == split
    }


def plain_text(text: str) -> str:
    """Fold the case of a text and its white space, as queries and phrasings are compared."""
    return " ".join(text.casefold().split())


def _make_pair(row: Any, number: int, split: str) -> Pair:
    if not isinstance(row, Mapping):
        raise ContrastError(f"row {number} is {shorten(row)}; give mappings of columns to values")
    known = {name: row[name] for name in _FIELDS if row.get(name) is not None}
    missing = [name for name in ("query", "present", "absent") if name not in known]
    if missing:
        raise ContrastError(
            f"row {number} has no {' and no '.join(missing)} (it has {', '.join(map(str, row))}); "
            "rename its columns or add them"
        )
    try:
        check_types(known)
        if "instruction_ids" in known:
            known["instruction_ids"] = tuple(known["instruction_ids"])
        if "kwargs" in known:  # a table gives every row the keys of all rows: None is "not given"
            known["kwargs"] = tuple(
                {key: value for key, value in arguments.items() if value is not None}
                for arguments in known["kwargs"]
            )
        return Pair(**{"split": split, **known})
    except ContrastError as error:
        raise ContrastError(f"row {number}: {error}") from error


_FIELDS = tuple(field.name for field in fields(Pair))
