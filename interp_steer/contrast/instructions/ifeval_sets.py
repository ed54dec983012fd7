"""Contrast sets of IFEval's instructions, reported on IFEval's own prompts (paper A, section 3).

The paper fitted its vectors on an augmented set, queries joined with instructions, that is not
published. It is made again here from queries and phrasings, one :class:`ContrastSet` for each
instruction, and what is reported on is taken out of it. The queries may be IFEval's, those of the
bundled models' world, or any other texts:

    >>> sets = format_sets("google/IFEval", fit=64, select=16)  # doctest: +SKIP
    >>> queries = [query.text for query in burattino.queries.queries("held")]  # doctest: +SKIP
    >>> pairs = augmented(queries, "detectable_format:title")  # doctest: +SKIP
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
    IFEvalRow,
    count_by_id,
    read,
    single_instruction,
)
from interp_steer.contrast.instructions.phrasings import IDS, draw, list_phrasings, say
from interp_steer.contrast.instructions.registry import FORMAT_IDS
from interp_steer.contrast.instructions.stripping import carries
from interp_steer.contrast.pair import Pair
from interp_steer.errors import ContrastError


def format_sets(
    source: str | Path | Sequence[IFEvalRow],
    ids: Sequence[str] = FORMAT_IDS,
    *,
    seed: int = 0,
    fit: int = 64,
    select: int = 24,
    test: int | None = None,
) -> dict[str, ContrastSet]:
    """The format experiment: vectors of the augmented set, reported on IFEval's own prompts.

    Args:
        source: what :func:`interp_steer.contrast.instructions.ifeval_rows.read` takes, or the rows that it read.
        ids: the instructions.
        seed: see :func:`ifeval_set`.
        fit, select, test: see :func:`ifeval_set`.

    Returns:
        A set for each of ``ids``, by id.

    Raises:
        ContrastError: as :func:`interp_steer.contrast.instructions.ifeval_rows.read` and :func:`ifeval_set`.

    Example:
        >>> sets = format_sets("llm-steer-instruct")  # doctest: +SKIP
        >>> sum(len(pairs.test) for pairs in sets.values())  # doctest: +SKIP
        163
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
    """One instruction: ``test`` are IFEval's prompts with it alone, the rest is augmented.

    The queries of ``fit`` and ``select`` are those of the other rows: none of a row that any
    instruction of format is reported on, and none that still has words of this instruction, as
    some of the published ones do. Phrasings that a prompt of ``test`` uses are left out.

    Args:
        instruction_id: an IFEval id that some of the rows carry alone.
        rows: of :func:`interp_steer.contrast.instructions.ifeval_rows.read`.
        where: arguments that all pairs are to have, such as ``{"language": "de"}``: the paper has a
            vector for each language.
        seed: of the deal, the arguments, and the draw of ``test``.
        fit, select: the number of pairs in each split; 0 leaves the split out.
        test: the number of prompts that are reported on, drawn at random; all, when there are no
            more or it is not given.

    Returns:
        A set with the instruction's name. Prompts that could not be stripped of their instruction
        are no pairs; a warning names them.

    Raises:
        ContrastError: when no row carries the instruction alone, with these arguments, and told
            with its arguments; or as :func:`augmented`.

    Example:
        >>> german = ifeval_set("language:response_language", rows,
        ...                     where={"language": "de"})  # doctest: +SKIP
    """
    if test is not None and test < 0:
        raise ContrastError(f"test={test} prompts cannot be drawn; give 0 or more, or None for all")
    fixed = dict(where or {})
    alone = [row for row in single_instruction(rows, (instruction_id,)) if row.kwargs]
    asked = [row for row in alone if all(row.kwargs[0].get(k) == v for k, v in fixed.items())]
    pairs = _pairs_of(asked, instruction_id)
    if not pairs:
        counts = count_by_id(row for row in single_instruction(rows) if row.kwargs and row.query)
        raise ContrastError(
            f"no row carries {instruction_id} alone{f' with {fixed}' if fixed else ''}, stripped "
            f"and with its arguments; prompts of this kind: {counts}"
        )
    if test is not None and test < len(pairs):
        drawn = Random(f"{instruction_id}/{seed}/test").sample(range(len(pairs)), test)
        pairs = [pairs[index] for index in sorted(drawn)]
    held = single_instruction(rows, {*FORMAT_IDS, instruction_id})
    keys = {row.key for row in held}
    fitted: Iterable[Pair] = ()
    if fit or select:
        others = [row.query for row in rows if row.query and row.key not in keys]
        fitted = augmented(
            [query for query in others if not carries(query, instruction_id)],
            instruction_id,
            where=where,
            apart_from=held,
            seed=seed,
            fit=fit,
            select=select,
            test=0,
        )
    return ContrastSet(_name(instruction_id), (*fitted, *pairs))


def augmented(
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
    """Queries joined with one instruction in several phrasings (paper A's augmented set).

    Args:
        queries: requests without the instruction.
        instruction_id: one of :data:`interp_steer.contrast.instructions.phrasings.IDS`.
        where: arguments that all pairs are to have. A relation that is not given is "at least".
        apart_from: rows that are reported on: neither their queries nor the phrasings that stand
            in their prompts are used.
        seed: of the deal and of the arguments; the same seed makes the same set.
        fit, select, test: the number of pairs in each split; 0 leaves the split out.

    Returns:
        A set with the instruction's name; ``{description}`` is IFEval's own phrasing.

    Raises:
        ContrastError: for an id or arguments that IFEval has not, or as
            :func:`interp_steer.contrast.from_phrasings.build`.
    """
    check_list("queries", queries, ContrastError)
    seen = {plain_text(text) for row in apart_from for text in (row.prompt, row.query) if text}
    said = [
        phrasing
        for phrasing in list_phrasings(instruction_id, where)
        if not any(_uses(row, instruction_id, phrasing) for row in apart_from)
    ]
    name = _name(instruction_id)
    pairs = build(
        name,
        [query for query in queries if plain_text(query) not in seen],
        said,
        seed=seed,
        fit=fit,
        select=select,
        test=test,
    )
    rng = Random(f"{instruction_id}/{seed}/arguments")

    def told(pair: Pair) -> Pair:
        kwargs = draw(instruction_id, rng, pair.query, where)
        return asking(pair, say(instruction_id, pair.phrasing, kwargs), instruction_id, kwargs)

    return ContrastSet(name, tuple(told(pair) for pair in pairs))


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
    """The augmented set: :func:`augmented` for each of the instructions, by id."""
    check_list("ids", ids, ContrastError)
    return {
        name: augmented(
            queries, name, apart_from=apart_from, seed=seed, fit=fit, select=select, test=test
        )
        for name in ids
    }


def of_rows(name: str, rows: Sequence[IFEvalRow], *, split: str = "test") -> ContrastSet:
    """Pairs of rows as they stand, such as the paper's prompts that ask for a word.

    Args:
        name: of the set.
        rows: of :func:`interp_steer.contrast.instructions.ifeval_rows.read`.
        split: of all pairs.

    Returns:
        A pair for each row: ``present`` the prompt, ``absent`` the query. Rows that could not be
        stripped are no pairs; a warning names them.

    Raises:
        ContrastError: when a row does not tell its arguments, or none is left.

    Example:
        >>> rows = read_published("llm-steer-instruct", "include")  # doctest: +SKIP
        >>> len(of_rows("include words", rows))  # doctest: +SKIP
        86
    """
    return ContrastSet(name, tuple(replace(p, split=split) for p in _pairs_of(rows, name)))


def asking(pair: Pair, text: str, instruction_id: str, kwargs: Mapping[str, Any]) -> Pair:
    """The pair with its phrasing said as ``text``, and with what verifies an answer to it."""
    return replace(
        pair,
        present=f"{pair.query} {text}",
        instruction_ids=(instruction_id,),
        kwargs=(kwargs,),
        key="",  # it is of the content, which has changed
    )


def _name(instruction_id: str) -> str:
    return instruction_id.rpartition(":")[2]


def _uses(row: IFEvalRow, instruction_id: str, phrasing: str) -> bool:
    """Whether a phrasing, with the row's own arguments, stands in the row's prompt."""
    if instruction_id not in row.instruction_ids or not row.kwargs:
        return False
    kwargs = row.kwargs[row.instruction_ids.index(instruction_id)]
    if phrasing not in list_phrasings(instruction_id, kwargs):
        return False
    return plain_text(say(instruction_id, phrasing, kwargs)).rstrip(".!") in plain_text(row.prompt)


def _pairs_of(rows: Sequence[IFEvalRow], what: str) -> list[Pair]:
    """Test pairs of the rows that have a query; a warning names the others."""
    without = [row.key for row in rows if row.query is None]
    if without:
        warnings.warn(
            f"{what}: {len(without)} of {len(rows)} prompts could not be stripped of their "
            f"instruction and are left out: {', '.join(without)}",
            stacklevel=3,
        )
    return [_pair_of(row, row.query) for row in rows if row.query is not None]


def _pair_of(row: IFEvalRow, query: str) -> Pair:
    if not row.kwargs:
        raise ContrastError(
            f"row {row.key} does not tell the arguments of {', '.join(row.instruction_ids)}, so "
            "that no answer to it can be verified; read the prompts from IFEval itself"
        )
    words = [w for given in row.kwargs for name in _WORDS for w in given.get(name, ())]
    return Pair(
        query=query,
        present=row.prompt,
        absent=query,
        split="test",
        phrasing=_phrasing(row.prompt, query, words),
        instruction_ids=row.instruction_ids,
        kwargs=row.kwargs,
        key="/".join([row.key, *row.instruction_ids, *words]),
    )


def _phrasing(prompt: str, query: str, words: Iterable[str]) -> str:
    """What the prompt says beside the query, where the query stands at its beginning."""
    asked = query.rstrip(" .?!")
    if not prompt.startswith(asked):
        return prompt
    said = prompt[len(asked) :].lstrip(" .?!,")
    for word in words:
        said = said.replace(word, "{word}")
    return said


_WORDS = ("keywords", "forbidden_words")
"""Arguments that are lists of words."""
