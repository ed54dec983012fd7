"""Read the stored answers of paper A's runs (``microsoft/llm-steer-instruct``) as records.

The history of the paper's public repository holds, for each model, a folder of its answers:

- ``format/``: the four settings of the format experiment, ``no_instr.jsonl``, ``adjust_rs*.jsonl``
  (steered), ``standard.jsonl`` (instruction) and ``instr_plus_adjust_rs*.jsonl`` (both);
- ``layer_search/``: ``out_no_instr.jsonl`` and ``out_instr.jsonl``, every layer tried with its
  perplexity under GPT-2;
- ``length/``: at most or exactly so many sentences, plain and steered.

Answers are scored anew by the checkers of every record; the stored verdict, if any, is in the
column ``stored``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import polars as pl
from tqdm import tqdm

from interp_steer.errors import RunError, ScoringError
from interp_steer.scoring import ifeval, sentences
from interp_steer.scoring.fluency import is_degenerate, repetition
from interp_steer.storage.bounded import read_json_lines
from interp_steer.sweeps.grid import RECORD

FORMAT_FILES: Mapping[str, str] = {
    "none": "no_instr.jsonl",
    "steered": "adjust_rs*.jsonl",
    "instruction": "standard.jsonl",
    "both": "instr_plus_adjust_rs*.jsonl",
}
"""The file of each setting of the format experiment."""

SEARCH_FILES: Mapping[bool, str] = {False: "out_no_instr.jsonl", True: "out_instr.jsonl"}
"""The file of the layer search without and with the text instruction."""

LENGTH_FILES: Mapping[tuple[str, str], str] = {
    ("at most", "instruction"): "no_steering_at_most.jsonl",
    ("at most", "both"): "at_most_*.jsonl",
    ("exactly", "instruction"): "no_steering_exactly.jsonl",
    ("exactly", "both"): "exactly_*.jsonl",
}
"""The file of each relation and setting of the experiments on numbers of sentences."""

Schema: TypeAlias = dict[str, tuple[type, ...]]
"""The columns that a row must have, each with the types of its values."""

UNSTEERED = -1
"""The layer of unsteered answers in the published files."""

SCHEMA = {
    **RECORD,
    "variant": pl.String,
    "strict": pl.Boolean,
    "loose": pl.Boolean,
    "stored": pl.Boolean,
    "verdict": pl.Boolean,
    "unscored": pl.String,
    "splitter": pl.String,
    "perplexity": pl.Float64,
    "repetition": pl.Float64,
    "degenerate": pl.Boolean,
}
"""The columns of imported records. ``variant`` is the instruction with the language asked for, as
layers were searched; ``stored`` is the stored verdict; ``verdict`` is the new loose verdict, or the
stored verdict of an answer that cannot be scored, for the reason in ``unscored``."""


def read_format(folder: str | Path) -> pl.DataFrame:
    """Read the four settings, on the prompts that all four have (163 of one instruction each).

    Args:
        folder: a model's outputs, which holds ``format/``.

    Returns:
        A record for each answer. ``layer`` is the steered layer, null without steering. The files
        store no perplexities, so that ``degenerate`` depends on repetition alone.

    Raises:
        RunError: for a folder without these files, or files of another form.
    """
    settings = {
        setting: _rows(
            _find(Path(folder) / "format", pattern),
            _FORMAT | ({"prompt_no_instr": (str,)} if setting == "none" else {}),
        )
        for setting, pattern in FORMAT_FILES.items()
    }
    common = set.intersection(*({_place(row) for row in rows} for rows in settings.values()))
    plain = {_place(row): row["prompt_no_instr"] for row in settings["none"]}
    records = [
        _record(
            row,
            setting=setting,
            instruction=row["instruction_id_list"][0],
            layer=_layer(row.get("steering_layer", UNSTEERED)),
            key=_key(row),
            query=plain[_place(row)],
        )
        for setting, rows in settings.items()
        for row in tqdm(rows, desc=f"score {setting}", unit="answer", disable=None)
        if _place(row) in common
    ]
    return pl.DataFrame(records, schema=SCHEMA)


def read_layer_search(folder: str | Path) -> pl.DataFrame:
    """Read every layer that was tried, without and with the text instruction.

    Args:
        folder: a model's outputs, which holds ``layer_search/``.

    Returns:
        A record for each answer. ``instruction`` is the variant that a layer was chosen for: each
        language is a variant. ``degenerate`` depends on the stored perplexity, as in the paper.

    Raises:
        RunError: for a folder without these files, or files of another form.
    """
    records = [
        _record(
            row,
            setting=_search_setting(instructed, _layer(row["layer"])),
            instruction=row["single_instruction_id"],
            layer=_layer(row["layer"]),
            key=f"{row['uid']}",
            query=row["prompt_without_instruction"],
        )
        for instructed, name in SEARCH_FILES.items()
        for row in tqdm(
            _rows(_find(Path(folder) / "layer_search", name), _SEARCH),
            desc="score layer search",
            unit="answer",
            disable=None,
        )
    ]
    return pl.DataFrame(records, schema=SCHEMA)


def read_length(folder: str | Path) -> pl.DataFrame:
    """Read the answers to "at most" and "exactly" k sentences, instructed, and steered as well.

    Args:
        folder: a model's outputs, which holds ``length/``.

    Returns:
        A record for each answer, with ``relation``, ``k`` (sentences asked for), ``sentences`` and
        ``words`` (of the answer) and ``strict``.

    Raises:
        RunError: for a folder without these files, or files of another form.
    """
    records = []
    for (relation, setting), pattern in LENGTH_FILES.items():
        for row in _rows(_find(Path(folder) / "length", pattern), _LENGTH):
            k, counted = row["length_constraint"] + 1, sentences.count_sentences(row["response"])
            records.append(
                {
                    "instruction": f"{relation} k sentences",
                    "setting": setting,
                    "key": f"{row['uid']}/{k}",
                    "query": row["prompt_no_instr"],
                    "answer": row["response"],
                    "relation": relation,
                    "k": k,
                    "sentences": counted,
                    "words": len(row["response"].split()),
                    "strict": counted <= k if relation == "at most" else counted == k,
                    "splitter": sentences.splitter(),
                }
            )
    return pl.DataFrame(records)


def _record(
    row: Mapping[str, Any],
    *,
    setting: str,
    instruction: str,
    layer: int | None,
    key: str,
    query: str,
) -> dict[str, Any]:
    ids = row["instruction_id_list"]
    kwargs = [{k: v for k, v in given.items() if v is not None} for given in row["kwargs"]]
    instructed = setting in ("instruction", "both")
    verdict, why = None, None
    try:
        verdict = ifeval.verify(row["response"], ids, kwargs, prompt=row["prompt"])
    except ScoringError as error:
        why = str(error)
    repeated, surprise = repetition(row["response"]), row.get("perplexity")
    return {
        "instruction": instruction,
        "setting": setting,
        "instructed": instructed,
        "layer": layer,
        "key": key,
        "query": query,
        "prompt": row["prompt"] if instructed else query,
        "answer": row["response"],
        "variant": _variant(ids[0], kwargs[0]),
        "strict": verdict and verdict.strict,
        "loose": verdict and verdict.loose,
        "stored": row.get("follow_all_instructions"),
        "verdict": verdict.loose if verdict else row.get("follow_all_instructions"),
        "unscored": why,
        "splitter": verdict and verdict.splitter,
        "perplexity": surprise,
        "repetition": repeated,
        "degenerate": is_degenerate(surprise, repeated if surprise is None else 0.0),
    }


def _variant(instruction: str, kwargs: Mapping[str, Any]) -> str:
    return f"{instruction}_{kwargs['language']}" if "language" in kwargs else instruction


def _search_setting(instructed: bool, layer: int | None) -> str:
    plain, steered = ("instruction", "both") if instructed else ("none", "steered")
    return plain if layer is None else steered


def _layer(stored: int) -> int | None:
    return None if stored == UNSTEERED else stored


def _place(row: Mapping[str, Any]) -> tuple[int, tuple[str, ...]]:
    return row["key"], tuple(row["instruction_id_list"])


def _key(row: Mapping[str, Any]) -> str:
    return f"{row['key']}/{' + '.join(row['instruction_id_list'])}"


def _find(folder: Path, pattern: str) -> Path:
    paths = sorted(folder.glob(pattern))
    if len(paths) != 1:
        named = ", ".join(path.name for path in paths) or "none"
        raise RunError(
            f"{folder} should hold one file {pattern}, and holds {named}; give the folder of one "
            "model's outputs, with format/, layer_search/ and length/"
        )
    return paths[0]


_TEXT: Schema = {"response": (str,), "prompt": (str,)}
_SCORED: Schema = _TEXT | {"instruction_id_list": (list,), "kwargs": (list,)}
_STORED: Schema = {
    "follow_all_instructions": (bool, type(None)),
    "steering_layer": (int, type(None)),
    "perplexity": (int, float, type(None)),
}
_FORMAT: Schema = _SCORED | {"key": (int,)}
_SEARCH: Schema = _SCORED | {
    "uid": (int, str),
    "layer": (int,),
    "perplexity": (int, float, type(None)),
    "single_instruction_id": (str,),
    "prompt_without_instruction": (str,),
}
_LENGTH: Schema = {
    "uid": (int, str),
    "length_constraint": (int,),
    "prompt_no_instr": (str,),
    "response": (str,),
}
"""The columns of the rows of a file on lengths."""

_LARGEST = 2**31
"""A bound above all numbers in the published files."""


def _rows(path: Path, needed: Schema) -> list[dict[str, Any]]:
    rows = read_json_lines(path, RunError, "fetch it anew")
    for number, row in rows.items():
        where = f"{path}, line {number},"
        missing = [name for name in needed if name not in row]
        if missing:
            raise RunError(
                f"{where} has no {', '.join(missing)}; give a file of paper A's stored answers"
            )
        for name, kinds in (needed | _STORED).items():
            value = row.get(name)
            if name in row and (
                type(value) not in kinds or (type(value) is int and abs(value) > _LARGEST)
            ):
                raise RunError(f"{where} has {name} {value!r:.80}; fetch it anew")
        if "kwargs" not in needed:
            continue
        ids, given = row["instruction_id_list"], row["kwargs"]
        if not (
            len(ids) == len(given) > 0
            and all(isinstance(name, str) for name in ids)
            and all(isinstance(arguments, dict) for arguments in given)
        ):
            raise RunError(
                f"{where} has instructions {ids!r:.80} with arguments {given!r:.80}; fetch it anew"
            )
    return list(rows.values())
