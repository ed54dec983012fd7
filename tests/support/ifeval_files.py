"""Invented prompts in the layouts of IFEval and of the files that paper A derived from it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from interp_steer.contrast.contrast_set import ContrastSet, plain_text
from interp_steer.contrast.instructions.ifeval_rows import (
    FILES,
)
from interp_steer.contrast.instructions.registry import (
    BULLETS,
    LANGUAGE,
    NO_COMMA,
    TITLE,
)
from interp_steer.contrast.pair import SPLITS
from tests.support.shared import SHARED

THINGS = ("anvil", "bobbin", "cudgel", "dinghy", "easel", "fjord", "gazebo", "hod", "icicle", "jig")
MANY = [f"Tell me {much} about the {thing}." for much in ("all", "little") for thing in THINGS]
"""Twenty requests."""


def row(prompt: str, *told: tuple[str, Mapping[str, Any]], **more: Any) -> dict[str, Any]:
    """A row in the layout of IFEval."""
    ids, kwargs = [name for name, _ in told], [dict(given) for _, given in told]
    return {"prompt": prompt, "instruction_id_list": ids, "kwargs": kwargs, **more}


def write(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("\n".join(json.dumps(one) for one in rows) + "\n", encoding="utf-8")
    return path


SINGLE = [
    row("Tell me of a kite. Write no commas at all.", (NO_COMMA, {}), key=1),
    row("Sing of a lamp and do not use commas.", (NO_COMMA, {}), key=2),
    row("Name a fish. I want 2 bullet points.", (BULLETS, {"num_bullets": 2}), key=3),
    row("Praise a spoon. Only in Hindi.", (LANGUAGE, {"language": "hi"}), key=4),
    row("Praise a drum. Only in German.", (LANGUAGE, {"language": "de"}), key=5),
]
QUERIES = {1: "Tell me of a kite.", 2: "Sing of a lamp.", 3: "Name a fish.", 4: "Praise a spoon."}


def write_ifeval(folder: Path) -> Path:
    """A file in IFEval's layout: five prompts with one instruction, twenty with two."""
    double = [
        row(
            f"{query} Do not use commas. Give it a title.", (NO_COMMA, {}), (TITLE, {}), key=100 + i
        )
        for i, query in enumerate(MANY)
    ]
    return write(folder / "ifeval.jsonl", [*SINGLE, *double])


def write_papers(folder: Path) -> Path:
    """A folder in the layout of the paper's files, with the same prompts."""
    single = [  # the fifth is given with its instruction, as two of the published ones are
        {**one, "prompt_without_instruction": QUERIES.get(one["key"], one["prompt"])}
        for one in SINGLE
    ]
    stripped = [
        {
            "key": 100 + i,
            "original_prompt": f"{query} Do not use commas. Give it a title.",
            "prompt": "Given a question that imposes a set of constraints, remove them.",
            "instruction_id_list": [NO_COMMA, TITLE],
            "model_output": query,
        }
        for i, query in enumerate(MANY)
    ]
    stripped += [
        {
            "key": one["key"],
            "original_prompt": one["prompt"],
            "prompt": "Given a question that imposes a set of constraints, remove them.",
            "instruction_id_list": one["instruction_id_list"],
            "model_output": "An answer that the other file has better.",
        }
        for one in SINGLE
    ]
    write(folder / FILES["format"][0], single)
    write(folder / FILES["stripped"][0], stripped)
    return folder


PAPER = SHARED / "data" / "llm-steer-instruct"


published = pytest.mark.skipif(
    not PAPER.is_dir(), reason="../shared/data/llm-steer-instruct is missing"
)


expect_few = pytest.mark.filterwarnings("ignore:.*were published")


def assert_disjoint(pairs: ContrastSet) -> None:
    for what in ("query", "phrasing"):
        texts = [{plain_text(getattr(p, what)) for p in pairs if p.split == s} for s in SPLITS]
        assert not texts[0] & texts[1] and not texts[0] & texts[2] and not texts[1] & texts[2]


texts = st.text("abcdef ghi", min_size=1, max_size=12).filter(str.strip)
