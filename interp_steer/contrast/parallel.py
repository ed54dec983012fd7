"""Read questions and answers that exist in several languages (paper B).

The items come from files (the published files, or your own), from a dataset, or from
:func:`interp_steer.world.parallel`. :mod:`interp_steer.contrast.languages` makes contrast sets of
the items.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from interp_steer.contrast.contrast_set import plain_text
from interp_steer.errors import ContrastError
from interp_steer.storage.bounded import read_json, read_json_lines

CODES: Mapping[str, str] = {
    "ENG": "en", "ITA": "it", "FRA": "fr", "SPA": "es", "ZHO": "zh", "DEU": "de", "POR": "pt",
    "NLD": "nl", "RON": "ro", "CAT": "ca", "POL": "pl", "RUS": "ru", "JPN": "ja", "KOR": "ko",
}  # fmt: skip
"""ISO 639-1 codes by the ISO 639-3 codes in the names of published files."""

Kind = Literal["requests", "facts"]
"""Kinds of questions about the bundled world: for a text about an entity, or for one fact."""


@dataclass(frozen=True)
class ParallelItem:
    """One question with its answer, in several languages.

    Raises:
        ContrastError: for an item without a key, a question or an answer, for an empty text, or for
            a language that is not an ISO 639-1 code.

    Example:
        >>> item = ParallelItem("sea", {"en": "What is it?"}, {"en": "The sea.", "it": "Il mare."})
        >>> item.question("en"), item.answer("it")
        ('What is it?', 'Il mare.')
    """

    key: str
    """A name that no other item of the collection has."""
    questions: Mapping[str, str]
    """The question by ISO 639-1 code."""
    answers: Mapping[str, str]
    """The answer by ISO 639-1 code."""
    subject: str | None = None
    """The entity of the bundled world that the question is about."""

    def __post_init__(self) -> None:
        if not self.key:
            raise ContrastError(f"an item has no key ({dict(self.questions)}); name it")
        for what in ("questions", "answers"):
            texts = getattr(self, what)
            if not texts:
                raise ContrastError(f"item {self.key!r} has no {what}; give one in some language")
            for language, text in texts.items():
                if not re.fullmatch("[a-z]{2}", language):
                    raise ContrastError(
                        f"item {self.key!r} has {what} in {language!r}; name languages by ISO "
                        "639-1 codes, such as 'it'"
                    )
                if not isinstance(text, str) or not text.strip():
                    raise ContrastError(
                        f"item {self.key!r} has {text!r} among its {what} in {language!r}; "
                        "give a text, or leave the language out"
                    )

    def question(self, language: str) -> str:
        """Return the question in a language.

        Raises:
            ContrastError: when the item does not have that language.
        """
        return self._in_language("question", self.questions, language)

    def answer(self, language: str) -> str:
        """Return the answer in a language.

        Raises:
            ContrastError: when the item does not have that language.
        """
        return self._in_language("answer", self.answers, language)

    def _in_language(self, what: str, texts: Mapping[str, str], language: str) -> str:
        if language not in texts:
            raise ContrastError(
                f"item {self.key!r} has no {what} in {language!r}, only in {', '.join(texts)}; "
                f"choose one of these, or give items that have it"
            )
        return texts[language]


def from_files(folder: str | Path) -> tuple[ParallelItem, ...]:
    """Read parallel questions and answers from a folder with one file for each language.

    Two layouts are read. The published layout (Dynamic Activation Composition) has
    ``{ENG,ITA,...}_train.json``, also in subfolders: lists of ``{"input", "output"}`` with the same
    English questions in the same order and the answers in the language of the file. In the other
    layout, each line of ``{en,it,...}.jsonl`` has ``{"question", "answer"}`` in the language of the
    file, and may have ``key`` and ``subject``; line n of each file asks the same.

    Args:
        folder: holds files of one layout.

    Returns:
        The items in the order of the rows. Where the files have no keys, the keys are the numbers
        of the rows from 0, in four digits.

    Raises:
        ContrastError: for a folder without such files or with both layouts, a file that is not a
            list of such rows, files of different lengths, or, naming the row, files that ask
            different things there.

    Example::

        items = from_files("data/dynamic-activation-composition")
        len(items), sorted(items[0].answers)  # 499, ["en", "es", "fr", "it"]
    """
    folder = Path(folder)
    published = sorted(folder.rglob("[A-Z][A-Z][A-Z]_train.json"))
    lines = sorted(folder.glob("*.jsonl"))
    if bool(published) == bool(lines):
        layouts = f"both {published[0].name} and {lines[0].name}" if lines else "neither"
        raise ContrastError(
            f"{folder} has {layouts}; give a folder with {{ENG,ITA,...}}_train.json or one with "
            "{en,it,...}.jsonl"
        )
    return _from_published(published) if published else _from_lines(lines)


def from_dataset(
    rows: Iterable[Mapping[str, Any]],
    *,
    questions: Mapping[str, str],
    answers: Mapping[str, str],
    key: str | None = None,
    subject: str | None = None,
) -> tuple[ParallelItem, ...]:
    """Take items from a Hugging Face dataset, a list of dicts, or any iterable of mappings.

    Args:
        rows: the rows.
        questions: for each language (ISO 639-1) the column of the question.
        answers: for each language the column of the answer.
        key: the column of the key; rows are numbered from 0, in four digits, when not given.
        subject: the column of the subject, if any.

    Returns:
        An item for each row; a language whose column is ``None`` there is left out.

    Raises:
        ContrastError: naming a row that lacks a column or is not an item, or a repeated key.

    Example:
        >>> rows = [{"q": "How old is it?", "a": "Ten years.", "a_it": "Dieci anni."}]
        >>> from_dataset(rows, questions={"en": "q"}, answers={"en": "a", "it": "a_it"})[0].key
        '0000'
    """

    def made() -> Iterator[ParallelItem]:
        for number, row in enumerate(rows):
            wanted = {*questions.values(), *answers.values(), *filter(None, (key, subject))}
            missing = sorted(wanted - row.keys())
            if missing:
                raise ContrastError(
                    f"row {number} has no {' and no '.join(missing)} (it has "
                    f"{', '.join(map(str, row))}); name its columns"
                )
            yield _make_item(
                f"row {number}",
                str(row[key]) if key else f"{number:04d}",
                {code: row[name] for code, name in questions.items() if row[name] is not None},
                {code: row[name] for code, name in answers.items() if row[name] is not None},
                row[subject] if subject else None,
            )

    return _check_keys(made())


def _from_published(paths: Sequence[Path]) -> tuple[ParallelItem, ...]:
    files: dict[str, list[Mapping[str, Any]]] = {}
    named: dict[str, Path] = {}
    for path in paths:
        code = CODES.get(path.name[:3])
        if code is None or code in files:
            raise ContrastError(
                f"{path} is of an unknown language; name the file by one of {', '.join(CODES)}"
                if code is None
                else f"{path} and {named[code]} are of one language; keep one of them"
            )
        files[code] = _check_rows(read_json(path, ContrastError), path, ("input", "output"))
        named[code] = path
    _check_lengths(files, named)
    first, *others = files
    items = []
    for number, row in enumerate(files[first]):
        for other in others:
            theirs = files[other][number]["input"]
            if plain_text(theirs) != plain_text(row["input"]):
                raise _difference_error(number, named[first], row["input"], named[other], theirs)
        answers = {code: rows[number]["output"] for code, rows in files.items()}
        where = f"{named[first]}, row {number}"
        items.append(_make_item(where, f"{number:04d}", {"en": row["input"]}, answers))
    return tuple(items)


def _from_lines(paths: Sequence[Path]) -> tuple[ParallelItem, ...]:
    files: dict[str, list[Mapping[str, Any]]] = {}
    named: dict[str, Path] = {}
    for path in paths:
        rows = read_json_lines(path, ContrastError, "write one object a line")
        files[path.stem] = _check_rows([*rows.values()], path, ("question", "answer"))
        named[path.stem] = path
    _check_lengths(files, named)

    def made() -> Iterator[ParallelItem]:
        first, *others = files
        for number, row in enumerate(files[first]):
            for other in others:
                theirs = files[other][number]
                for what in ("key", "subject"):
                    if theirs.get(what) != row.get(what):
                        raise _difference_error(
                            number, named[first], row.get(what), named[other], theirs.get(what)
                        )
            yield _make_item(
                f"{named[first]}, row {number}",
                str(row.get("key") or f"{number:04d}"),
                {code: rows[number]["question"] for code, rows in files.items()},
                {code: rows[number]["answer"] for code, rows in files.items()},
                row.get("subject"),
            )

    return _check_keys(made(), f"{paths[0].parent}: ")


def _check_rows(rows: Any, path: Path, columns: Sequence[str]) -> list[Mapping[str, Any]]:
    if not isinstance(rows, list) or not rows:
        raise ContrastError(f"{path} holds no rows; write a list of {set(columns)}")
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or not all(isinstance(row.get(c), str) for c in columns):
            raise ContrastError(
                f"{path}, row {number}, is {row!r:.80}; it must have the texts "
                f"{' and '.join(columns)}"
            )
        for name, kinds in (("key", (str, int)), ("subject", (str,))):
            if not isinstance(row.get(name), (*kinds, type(None))):
                raise ContrastError(
                    f"{path}, row {number}, has the {name} {row[name]!r:.80}; it must be a text, "
                    "or be left out"
                )
    return rows


def _check_lengths(files: Mapping[str, Sequence[Any]], named: Mapping[str, Path]) -> None:
    if len({len(rows) for rows in files.values()}) > 1:
        counted = ", ".join(f"{named[code].name} {len(rows)}" for code, rows in files.items())
        folder = next(iter(named.values())).parent
        raise ContrastError(
            f"{folder}: files of different numbers of rows: {counted}; give parallel files"
        )


def _difference_error(
    number: int, first: Path, text: Any, second: Path, other_text: Any
) -> ContrastError:
    return ContrastError(
        f"{first.parent}, row {number}: {first.name} has {text!r} and {second.name} has "
        f"{other_text!r}; give files that ask the same in the same order"
    )


def _make_item(
    where: str,
    key: str,
    questions: Mapping[str, str],
    answers: Mapping[str, str],
    subject: str | None = None,
) -> ParallelItem:
    try:
        return ParallelItem(key, questions, answers, subject)
    except ContrastError as error:
        raise ContrastError(f"{where}: {error}") from error


def _check_keys(items: Iterable[ParallelItem], whose: str = "") -> tuple[ParallelItem, ...]:
    by_key: dict[str, ParallelItem] = {}
    for item in items:
        if item.key in by_key:
            raise ContrastError(f"{whose}two rows have the key {item.key!r}; give each its own")
        by_key[item.key] = item
    if not by_key:
        raise ContrastError("the rows are empty; give at least one row")
    return tuple(by_key.values())
