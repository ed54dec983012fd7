"""Read, check and count the rows of IFEval, and of the files that paper A derived from IFEval.

IFEval is the data set ``google/IFEval`` of the Hugging Face hub, or its JSONL file. Stolfo et al.
(2025, section 3) made the files that :data:`FILES` names from IFEval: the prompts with one
instruction of format, all prompts without their instructions, and prompts that ask for a word or
forbid a word. An error names the file and line of a row in another layout.
"""

from __future__ import annotations

import difflib
import re
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

from interp_steer.arguments import check_list
from interp_steer.contrast.contrast_set import plain_text
from interp_steer.contrast.instructions.arguments import REQUIRED, check_arguments
from interp_steer.contrast.instructions.stripping import Rule, strip
from interp_steer.errors import ContrastError, ScoringError
from interp_steer.storage.bounded import read_json_lines

HUB = "google/IFEval"
"""The data set's name on the hub."""

FILES: Mapping[str, tuple[str, int]] = MappingProxyType(
    {
        "format": ("ifeval_single_instr_format.jsonl", 163),
        "stripped": ("ifeval_wo_instructions.jsonl", 541),
        "include": ("ifeval_single_keyword_include.jsonl", 86),
        "exclude": ("ifeval_single_keyword_exclude.jsonl", 117),
        "include_validation": ("inclusion_validation.jsonl", 276),
        "exclude_validation": ("exclusion_validation.jsonl", 276),
    }
)
"""The paper's files in a folder: the name of each file, and how many rows were published."""

_FIX = (
    f"give {HUB} (the data set of the hub), its JSONL file, or the folder of the paper's files "
    f"({FILES['format'][0]} and {FILES['stripped'][0]})"
)
"""The three ways to give IFEval's prompts, as error messages name them."""
_TAG = re.compile(r"<[\\/]*(?:original_question|constraints|output)>")
"""Tags that the model which wrote the published queries left around a query."""


@dataclass(frozen=True)
class IFEvalRow:
    """One prompt, its instructions, and its query: the request without the instructions.

    Example:
        >>> row = IFEvalRow("1", "Name a tree. No commas.", ("punctuation:no_comma",), ({},))
        >>> row.query is None, row.rule
        (True, 'none')
    """

    key: str
    """IFEval's number of the prompt; ``file:line`` where the file has no number."""
    prompt: str
    """The request with its instructions."""
    instruction_ids: tuple[str, ...]
    """The IFEval ids, at least one."""
    kwargs: tuple[Mapping[str, Any], ...]
    """The arguments of each id; empty where the file does not give the arguments."""
    query: str | None = None
    """The prompt without its instructions; None where the instructions could not be removed."""
    rule: Rule = "none"
    """Where the query comes from."""


def read(source: str | Path = HUB) -> tuple[IFEvalRow, ...]:
    """Read IFEval from a folder, a file, or the hub.

    Args:
        source: a folder with the first two of :data:`FILES` (a prompt in both is read from
            ``"format"``); a JSONL file, of IFEval itself or any of :data:`FILES`; or the name of a
            data set on the hub.

    Returns:
        The rows, each with its query: the query that the file gives, where it differs from the
        prompt, or the text that :func:`interp_steer.contrast.instructions.stripping.strip` leaves.

    Raises:
        ContrastError: when the source cannot be read, naming the file, the line and what is
            missing.

    Example::

        rows = rows_with_one_instruction(read("llm-steer-instruct"))
        count_by_id(rows)  # {"detectable_format:number_highlighted_sections": 19, ...}
    """
    path = Path(source)
    try:
        is_folder, is_there = path.is_dir(), path.exists()
    except OSError as error:  # such as a name that is too long for a path
        raise ContrastError(
            f"{str(source)[:80]!r} cannot be a path ({error.strerror}); {_FIX}"
        ) from error
    if is_folder:
        single, stripped = read_published(path, "format"), read_published(path, "stripped")
        known = {row.key for row in single}
        return (*single, *(row for row in stripped if row.key not in known))
    if is_there or path.suffix == ".jsonl":
        return read_file(path)
    return read_hub(str(source))


def read_published(folder: str | Path, which: str) -> tuple[IFEvalRow, ...]:
    """Read one of the paper's files, and warn when the number of rows is not the published one.

    Args:
        folder: the folder of the files.
        which: one of :data:`FILES`.

    Raises:
        ContrastError: for another name, or as :func:`read`.
    """
    if which not in FILES:
        raise ContrastError(f"{which!r} is not a file of the paper; use one of {', '.join(FILES)}")
    name, published = FILES[which]
    rows = read_file(Path(folder) / name)
    if len(rows) != published:
        warnings.warn(
            f"{Path(folder) / name} has {len(rows)} rows and {published} were published; results "
            "on this file do not compare with the paper's",
            stacklevel=2,
        )
    return rows


def read_file(path: str | Path) -> tuple[IFEvalRow, ...]:
    """Read a JSONL file in the layout of IFEval or of any of :data:`FILES`.

    Raises:
        ContrastError: when the file cannot be read, naming the line and what is missing.
    """
    path = Path(path)
    lines = read_json_lines(path, ContrastError, f"write one object a line, or {_FIX}", _FIX)
    rows = [_read_row(row, f"{path}, line {n},", f"{path.stem}:{n}") for n, row in lines.items()]
    return _check_not_empty(rows, str(path))


def read_hub(name: str = HUB, *, revision: str | None = None) -> tuple[IFEvalRow, ...]:
    """Download IFEval from the Hugging Face hub, or read it from the hub's cache.

    Args:
        name: of the data set; all its rows are in the split ``train``.
        revision: a commit of the data set; the newest when not given.

    Raises:
        ContrastError: when the data set cannot be reached, naming the other ways to give it, or
            when its rows are not IFEval's.
    """
    from datasets import load_dataset

    try:
        table = load_dataset(name, split="train", revision=revision)
    except Exception as error:  # the library's, the hub's and the network's have no common base
        raise ContrastError(
            f"{name} is not a file on this machine and cannot be had from the hub ({error}); "
            f"connect to the network once, or {_FIX}"
        ) from error
    rows = [_read_row(row, f"{name}, row {i},", f"{name}:{i}") for i, row in enumerate(table)]
    return _check_not_empty(rows, name)


def rows_with_one_instruction(
    rows: Iterable[IFEvalRow], ids: Collection[str] | None = None
) -> tuple[IFEvalRow, ...]:
    """Select the rows that carry exactly one instruction (for the ids of format the paper's 163).

    Args:
        rows: of :func:`read`.
        ids: the instructions to select; all when not given.
    """
    check_list("ids", ids, ContrastError)
    return tuple(
        row
        for row in rows
        if len(row.instruction_ids) == 1 and (ids is None or row.instruction_ids[0] in ids)
    )


def count_by_id(rows: Iterable[IFEvalRow]) -> dict[str, int]:
    """Count the rows that carry each instruction, the most frequent first."""
    return dict(Counter(name for row in rows for name in row.instruction_ids).most_common())


def _check_not_empty(rows: Sequence[IFEvalRow], source: str) -> tuple[IFEvalRow, ...]:
    if not rows:
        raise ContrastError(f"{source} has no rows; {_FIX}")
    return tuple(rows)


def _read_row(row: Any, at: str, key: str) -> IFEvalRow:
    """Read the row of one line; ``at`` is its place in words, ``key`` the key if it has none."""
    # The stripped file keeps the request to the model that stripped it under "prompt".
    stripped = "model_output" in row
    prompt_name = "original_prompt" if stripped else "prompt"
    query_name = "model_output" if stripped else "prompt_without_instruction"
    needed = (prompt_name, "instruction_id_list", *(() if stripped else ("kwargs",)))
    missing = [name for name in needed if row.get(name) is None]
    if missing:
        raise ContrastError(
            f"{at} has no {' and no '.join(missing)} (it has {', '.join(map(str, row))}); {_FIX}"
        )
    prompt, query = (_read_text(row, name, at) for name in (prompt_name, query_name))
    assert prompt is not None
    ids = _read_ids(row["instruction_id_list"], at)
    kwargs = _read_kwargs(row.get("kwargs"), ids, at)
    rule: Rule = "given"
    query = _TAG.sub(" ", query).strip() if query else None
    if query is None or plain_text(query) == plain_text(prompt):
        left = strip(prompt, ids, kwargs)
        query, rule = left.text, left.rule
    number = row.get("key")
    return IFEvalRow(key if number is None else f"{number}", prompt, ids, kwargs, query, rule)


def _read_text(row: Mapping[str, Any], name: str, at: str) -> str | None:
    value = row.get(name)
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise ContrastError(f"{at} has {name} {value!r}; give a text that is not blank")
    return value


def _read_ids(value: Any, at: str) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence) or not value:
        raise ContrastError(
            f"{at} has instruction_id_list {value!r}; write a list of at least one IFEval id"
        )
    for name in value:
        if not isinstance(name, str) or name not in REQUIRED:
            near = difflib.get_close_matches(str(name), REQUIRED, n=1, cutoff=0.0)
            raise ContrastError(
                f"{at} has the unknown instruction {name!r}; the nearest that IFEval has is "
                f"{near[0]!r}"
            )
    return tuple(value)


def _read_kwargs(value: Any, ids: Sequence[str], at: str) -> tuple[Mapping[str, Any], ...]:
    """Read the arguments of each id, without the ``None`` that a table fills in."""
    if value is None:
        return ({},) * len(ids) if not any(REQUIRED[name] for name in ids) else ()
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != len(ids):
        _refuse_kwargs(value, ids, at)
    given = []
    for name, row in zip(ids, value, strict=True):
        if row is not None and not isinstance(row, Mapping):
            _refuse_kwargs(value, ids, at)
        arguments = {key: cell for key, cell in (row or {}).items() if cell is not None}
        missing = [argument for argument in REQUIRED[name] if argument not in arguments]
        unknown = [argument for argument in arguments if argument not in REQUIRED[name]]
        if missing or unknown:
            wrong = f"without {', '.join(missing)}" if missing else f"with {', '.join(unknown)}"
            raise ContrastError(
                f"{at} has {name} {wrong} (its kwargs are {arguments}); no answer can be "
                f"verified: give it {', '.join(REQUIRED[name]) or 'no arguments'}, or drop the row"
            )
        try:
            check_arguments(name, arguments)
        except ScoringError as error:
            raise ContrastError(f"{at} has {error}; fix the row, or drop it") from error
        given.append(arguments)
    return tuple(given)


def _refuse_kwargs(value: Any, ids: Sequence[str], at: str) -> NoReturn:
    raise ContrastError(
        f"{at} has kwargs {value!r} for {len(ids)} instructions ({', '.join(ids)}); write a list "
        "with one mapping for each, empty where it takes no arguments"
    )
