"""Build contrast sets of IFEval's instructions, reported on IFEval's prompts (paper A, section 3).

The paper fitted its vectors on an augmented set: queries joined with instructions. The authors'
repository holds that set in ``data/format/``. Here the set is made anew from queries and phrasings,
one :class:`ContrastSet` for each instruction, without the prompts that results are reported on. The
queries may be IFEval's, those of the bundled models' world, or any other texts:

    >>> queries = [query.text for query in ist.world.list_queries("held")]
    >>> augmented_set(queries, "detectable_format:title").splits
    ('fit', 'select', 'test')
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from interp_steer.arguments import check_list
from interp_steer.contrast.contrast_set import ContrastSet, plain_text
from interp_steer.contrast.from_phrasings import build
from interp_steer.contrast.instructions.ifeval_rows import (
    HUB,
    IFEvalRow,
    count_by_id,
    read,
    rows_with_one_instruction,
)
from interp_steer.contrast.instructions.phrasings import IDS, draw_arguments, list_phrasings, say
from interp_steer.contrast.instructions.registry import FORMAT_IDS
from interp_steer.contrast.instructions.stripping import carries_instruction
from interp_steer.contrast.pair import Pair
from interp_steer.errors import ContrastError


def ifeval(
    instruction_id: str,
    data: str | Path | Sequence[IFEvalRow] | None = None,
    *,
    where: Mapping[str, Any] | None = None,
    seed: int = 0,
    fit: int = 64,
    select: int = 24,
    test: int | None = None,
) -> ContrastSet:
    """Make pairs for an instruction of IFEval from IFEval's prompts (paper A, section 3).

    ``test`` holds IFEval's own prompts that carry the instruction alone. ``fit`` and ``select``
    join the queries of the other prompts with phrasings of the instruction; see
    :func:`ifeval_set`.

    Args:
        instruction_id: an IFEval id that some of the prompts carry alone, such as
            ``"detectable_format:title"``.
        data: the name of a data set on the Hugging Face hub, the path of IFEval's JSONL file, or a
            folder with the files of the paper's authors
            (:data:`interp_steer.contrast.instructions.ifeval_rows.FILES`); or the rows that
            :func:`interp_steer.contrast.instructions.ifeval_rows.read` returned, which saves the
            reading when several instructions are wanted. When not given, ``google/IFEval`` is
            downloaded from the hub, or read from the hub's cache.
        where: arguments that all pairs have, such as ``{"language": "de"}``.
        seed: see :func:`ifeval_set`.
        fit, select, test: see :func:`ifeval_set`.

    Returns:
        A set with the instruction's name, whose pairs carry what answers are verified against.

    Raises:
        ContrastError: when the data cannot be read, naming the three ways to give them; or as
            :func:`ifeval_set`.

    Example::

        pairs = ist.contrast.ifeval("detectable_format:title", "ifeval.jsonl")
        len(pairs.fit), len(pairs.select), len(pairs.test)  # 64, 24, 13
    """
    source = HUB if data is None else data
    rows = read(source) if isinstance(source, (str, Path)) else source
    return ifeval_set(
        instruction_id, rows, where=where, seed=seed, fit=fit, select=select, test=test
    )


def format_sets(
    source: str | Path | Sequence[IFEvalRow],
    ids: Sequence[str] = FORMAT_IDS,
    *,
    seed: int = 0,
    fit: int = 64,
    select: int = 24,
    test: int | None = None,
) -> dict[str, ContrastSet]:
    """Build the sets of the format experiment, reported on IFEval's own prompts.

    Args:
        source: a source that :func:`interp_steer.contrast.instructions.ifeval_rows.read` takes, or
            the rows that the function returned.
        ids: the instructions.
        seed: see :func:`ifeval_set`.
        fit, select, test: see :func:`ifeval_set`.

    Returns:
        A set for each of ``ids``, by id.

    Raises:
        ContrastError: as :func:`interp_steer.contrast.instructions.ifeval_rows.read` and
            :func:`ifeval_set`.

    Example::

        sets = format_sets("llm-steer-instruct")
        sum(len(pairs.test) for pairs in sets.values())  # 163
    """
    check_list("ids", ids, ContrastError)
    rows = read(source) if isinstance(source, (str, Path)) else source
    return {
        name: ifeval_set(name, rows, seed=seed, fit=fit, select=select, test=test) for name in ids
    }


def ifeval_set(
    instruction_id: str,
    rows: Sequence[IFEvalRow],
    *,
    where: Mapping[str, Any] | None = None,
    seed: int = 0,
    fit: int = 64,
    select: int = 24,
    test: int | None = None,
) -> ContrastSet:
    """Make pairs for an instruction from rows that were read.

    ``test`` holds IFEval's prompts that carry this instruction alone. ``fit`` and ``select`` are
    :func:`augmented_set` of the other rows' queries. Three things are left out there: queries of
    rows that carry this instruction or an instruction of format alone, because results are
    reported on these rows; queries that still have words of the instruction, as some published
    queries do; and phrasings that a prompt of ``test`` uses.

    Args:
        instruction_id: an IFEval id that some of the rows carry alone.
        rows: of :func:`interp_steer.contrast.instructions.ifeval_rows.read`.
        where: arguments that all pairs have, such as ``{"language": "de"}``: the paper has a vector
            for each language.
        seed: of the deal, the arguments, and the draw of ``test``.
        fit, select: the number of pairs in each split; 0 leaves the split out.
        test: the most prompts that results are reported on, drawn at random; all of them when not
            given.

    Returns:
        A set with the instruction's name. Prompts whose instruction could not be removed make no
        pairs; a warning names these prompts.

    Raises:
        ContrastError: when no row with known arguments carries the instruction alone, with the
            arguments of ``where``; or as :func:`augmented_set`.

    Example::

        german = ifeval_set("language:response_language", rows, where={"language": "de"})
    """
    if test is not None and test < 0:
        raise ContrastError(f"test={test} prompts cannot be drawn; give 0 or more, or None for all")
    fixed = dict(where or {})
    alone = [row for row in rows_with_one_instruction(rows, (instruction_id,)) if row.kwargs]
    asked = [row for row in alone if all(row.kwargs[0].get(k) == v for k, v in fixed.items())]
    pairs = _test_pairs(asked, instruction_id)
    if not pairs:
        counts = count_by_id(
            row for row in rows_with_one_instruction(rows) if row.kwargs and row.query
        )
        raise ContrastError(
            f"no row carries {instruction_id} alone{f' with {fixed}' if fixed else ''}, with its "
            f"arguments and its query; rows that carry one instruction alone: {counts}; name an "
            "instruction of these"
        )
    if test is not None and test < len(pairs):
        drawn = Random(f"{instruction_id}/{seed}/test").sample(range(len(pairs)), test)
        pairs = [pairs[index] for index in sorted(drawn)]
    held = rows_with_one_instruction(rows, {*FORMAT_IDS, instruction_id})
    keys = {row.key for row in held}
    fitted: Iterable[Pair] = ()
    if fit or select:
        others = [row.query for row in rows if row.query and row.key not in keys]
        fitted = augmented_set(
            [query for query in others if not carries_instruction(query, instruction_id)],
            instruction_id,
            where=where,
            apart_from=held,
            seed=seed,
            fit=fit,
            select=select,
            test=0,
        )
    return ContrastSet(_short_name(instruction_id), (*fitted, *pairs))


def augmented_set(
    queries: Sequence[str],
    instruction_id: str,
    *,
    where: Mapping[str, Any] | None = None,
    apart_from: Sequence[IFEvalRow] = (),
    seed: int = 0,
    fit: int = 64,
    select: int = 24,
    test: int = 48,
) -> ContrastSet:
    """Join queries with one instruction in several phrasings (paper A's augmented set).

    Args:
        queries: requests without the instruction.
        instruction_id: one of :data:`interp_steer.contrast.instructions.phrasings.IDS`.
        where: arguments that all pairs have. A relation that is not given is "at least".
        apart_from: rows that results are reported on: their queries are not used, nor the phrasings
            in their prompts.
        seed: of the deal and of the arguments; the same seed makes the same set.
        fit, select, test: the number of pairs in each split; 0 leaves the split out.

    Returns:
        A set with the instruction's name. The phrasing ``{description}`` is IFEval's own.

    Raises:
        ContrastError: for an id or arguments that IFEval does not have, or as
            :func:`interp_steer.contrast.from_phrasings.build`.
    """
    check_list("queries", queries, ContrastError)
    seen = {plain_text(text) for row in apart_from for text in (row.prompt, row.query) if text}
    phrasings = [
        phrasing
        for phrasing in list_phrasings(instruction_id, where)
        if not any(_contains_phrasing(row, instruction_id, phrasing) for row in apart_from)
    ]
    name = _short_name(instruction_id)
    pairs = build(
        name,
        [query for query in queries if plain_text(query) not in seen],
        phrasings,
        seed=seed,
        fit=fit,
        select=select,
        test=test,
    )
    rng = Random(f"{instruction_id}/{seed}/arguments")

    def with_arguments(pair: Pair) -> Pair:
        kwargs = draw_arguments(instruction_id, rng, pair.query, where)
        return ask_for(pair, say(instruction_id, pair.phrasing, kwargs), instruction_id, kwargs)

    return ContrastSet(name, tuple(with_arguments(pair) for pair in pairs))


def augmented_sets(
    queries: Sequence[str],
    ids: Sequence[str] = IDS,
    *,
    apart_from: Sequence[IFEvalRow] = (),
    seed: int = 0,
    fit: int = 64,
    select: int = 24,
    test: int = 48,
) -> dict[str, ContrastSet]:
    """Build :func:`augmented_set` for each of the instructions, by id."""
    check_list("ids", ids, ContrastError)
    return {
        name: augmented_set(
            queries, name, apart_from=apart_from, seed=seed, fit=fit, select=select, test=test
        )
        for name in ids
    }


def set_of_rows(name: str, rows: Sequence[IFEvalRow], *, split: str = "test") -> ContrastSet:
    """Make pairs of rows as they are, such as the paper's prompts that ask for a word.

    Args:
        name: of the set.
        rows: of :func:`interp_steer.contrast.instructions.ifeval_rows.read`.
        split: of all pairs.

    Returns:
        A pair for each row: ``present`` is the prompt, ``absent`` the query. Rows without a query
        make no pairs; a warning names these rows.

    Raises:
        ContrastError: when a row has no arguments, or when no row has a query.

    Example::

        rows = read_published("llm-steer-instruct", "include")
        len(set_of_rows("include words", rows))  # 86
    """
    return ContrastSet(name, tuple(replace(p, split=split) for p in _test_pairs(rows, name)))


def ask_for(pair: Pair, text: str, instruction_id: str, kwargs: Mapping[str, Any]) -> Pair:
    """Put an instruction behind the query of a pair, and name what verifies an answer.

    Args:
        pair: gives the query and the phrasing.
        text: the instruction in words, with its arguments.
        instruction_id: the IFEval id that verifies an answer.
        kwargs: its arguments.
    """
    return replace(
        pair,
        present=f"{pair.query} {text}",
        instruction_ids=(instruction_id,),
        kwargs=(kwargs,),
        key="",  # the key is a hash of the content, which has changed
    )


def _short_name(instruction_id: str) -> str:
    return instruction_id.rpartition(":")[2]


def _contains_phrasing(row: IFEvalRow, instruction_id: str, phrasing: str) -> bool:
    """Check whether the prompt of a row has a phrasing, with the arguments of the row."""
    if instruction_id not in row.instruction_ids or not row.kwargs:
        return False
    kwargs = row.kwargs[row.instruction_ids.index(instruction_id)]
    if phrasing not in list_phrasings(instruction_id, kwargs):
        return False
    return plain_text(say(instruction_id, phrasing, kwargs)).rstrip(".!") in plain_text(row.prompt)


def _test_pairs(rows: Sequence[IFEvalRow], what: str) -> list[Pair]:
    """Make test pairs of the rows that have a query; a warning names the other rows."""
    without = [row.key for row in rows if row.query is None]
    if without:
        warnings.warn(
            f"{what}: {len(without)} of {len(rows)} prompts could not be stripped of their "
            f"instruction and are left out: {', '.join(without)}",
            stacklevel=3,
        )
    return [_test_pair(row, row.query) for row in rows if row.query is not None]


def _test_pair(row: IFEvalRow, query: str) -> Pair:
    if not row.kwargs:
        raise ContrastError(
            f"row {row.key} does not give the arguments of {', '.join(row.instruction_ids)}, so "
            "that its answers cannot be verified; read the prompts from IFEval itself"
        )
    words = [w for given in row.kwargs for name in _WORDS for w in given.get(name, ())]
    return Pair(
        query=query,
        present=row.prompt,
        absent=query,
        split="test",
        phrasing=_cut_query(row.prompt, query, words),
        instruction_ids=row.instruction_ids,
        kwargs=row.kwargs,
        key="/".join([row.key, *row.instruction_ids, *words]),
    )


def _cut_query(prompt: str, query: str, words: Iterable[str]) -> str:
    """Cut the query off the beginning of a prompt; return the whole prompt without one there."""
    asked = query.rstrip(" .?!")
    if not prompt.startswith(asked):
        return prompt
    phrasing = prompt[len(asked) :].lstrip(" .?!,")
    for word in words:
        phrasing = phrasing.replace(word, "{word}")
    return phrasing


_WORDS = ("keywords", "forbidden_words")
"""Arguments that are lists of words."""
