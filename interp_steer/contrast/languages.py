"""Build contrast sets of answer languages, by worked examples and an instruction line (paper B).

A side has a language of questions and a language of answers: ``en-en`` against ``en-it`` is the
published contrast, ``en-en`` against ``it-it`` paper B's other contrast. Prompts are conversations,
which the model's prompt format turns into text; :func:`question_blocks` is the published format.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from interp_steer.arguments import check_list
from interp_steer.contrast.contrast_set import ContrastSet, plain_text
from interp_steer.contrast.instructions.registry import LANGUAGE
from interp_steer.contrast.pair import Pair, Prompt
from interp_steer.contrast.parallel import ParallelItem
from interp_steer.errors import ContrastError, ModelError

if TYPE_CHECKING:
    from interp_steer.models.prompts import Query

INSTRUCTIONS: Mapping[str, str] = {
    "en": "Answer the following questions",
    "it": "Rispondi alle seguenti domande",
    "fr": "Répondre aux questions suivantes",
    "es": "Responda a las siguientes preguntas",
    "de": "Beantworte die folgenden Fragen",
}
"""The instruction line by the language of the answers; all but the German line are published."""


@dataclass(frozen=True)
class Side:
    """The languages of one side of a contrast, as ISO 639-1 codes.

    Example:
        >>> Side.of("en-it"), str(Side("it", "it"))
        (Side(question='en', answer='it'), 'it-it')
    """

    question: str
    """The language of the question and of the questions of the worked examples."""
    answer: str
    """The language of the answers of the worked examples, and of the instruction line."""

    @classmethod
    def of(cls, given: Side | str) -> Side:
        """Read a side such as ``"en-it"``, in any case; return a :class:`Side` unchanged.

        Raises:
            ContrastError: for a text that is not two codes.
        """
        if isinstance(given, Side):
            return given
        codes = re.fullmatch(r"([a-z]{2})-([a-z]{2})", given.lower())
        if codes is None:
            raise ContrastError(
                f"side {given!r} is not two languages; write those of the question and of the "
                "answer, such as 'en-it'"
            )
        return cls(*codes.groups())

    def __str__(self) -> str:
        return f"{self.question}-{self.answer}"


def language_set(
    items: Sequence[ParallelItem],
    negative: Side | str = "en-en",
    positive: Side | str = "en-it",
    *,
    shots: int = 4,
    instructions: Mapping[str, str] | None = INSTRUCTIONS,
    seed: int = 0,
    fit: int = 30,
    select: int = 24,
    test: int = 48,
) -> ContrastSet:
    """Make pairs that differ in the language of question and answer (paper B).

    In ``fit`` both sides have the instruction line and worked examples: ``absent`` in the languages
    of ``negative``, ``present`` in the languages of ``positive``. In ``select`` and ``test``,
    ``absent`` is the bare question, as the papers ask a steered model, and ``present`` is the
    question with the line and the examples of ``positive``: the in-context baseline.

    Questions are dealt to the splits. The worked examples of each pair are drawn from items that
    no split asks about. A pair has the key of its item. All splits have the same instruction line,
    as in the papers, so that ``phrasing`` of a pair names only the sides and the split. There are
    nine parameters because the size of each split is one, and because the two sides, the line and
    the number of examples are what the papers vary.

    Args:
        items: the questions and answers, such as
            :func:`interp_steer.world.translations.parallel` writes; of items that ask the same
            (compared without regard to case and white space) only the first is used.
        negative: the side without the property, as a :class:`Side` or ``"en-en"``.
        positive: the side with the property.
        shots: worked examples in a prompt; the published code asks for 4 (and shows 3).
        instructions: the instruction line by language; ``None`` for prompts without a line.
        seed: of the deal and the draw; the same seed asks the same questions, whatever the sides.
        fit, select, test: the number of pairs in each split; 0 leaves the split out.

    Returns:
        A set named such as ``"en-en to en-it"``. Where the language of the answers changes, pairs
        carry IFEval's ``language:response_language`` to verify it.

    Raises:
        ContrastError: for sides that are the same or make the same prompts, an item or line that is
            missing in the language of a side, or too few items.

    Example:
        >>> from interp_steer.world import parallel
        >>> pairs = language_set(parallel(12), "en-en", "it-it", shots=1, fit=2, select=0, test=2)
        >>> [message["role"] for message in pairs.fit[0].present]
        ['system', 'user', 'assistant', 'user']
        >>> pairs.test[0].absent == pairs.test[0].query
        True
    """
    sides = _check_sides(negative, positive, shots, instructions)
    sizes = {"fit": fit, "select": select, "test": test}
    if min(*sizes.values(), shots) < 0 or not any(sizes.values()):
        raise ContrastError(
            f"sizes {sizes} with {shots} shots make no contrast set; give numbers from 0 up, and "
            "one of the sizes above 0"
        )
    usable = _drop_repeated_questions(items, sides)
    asked = sum(sizes.values())
    if len(usable) < asked + shots:
        raise ContrastError(
            f"{len(usable)} items that ask different things cannot make {asked} pairs and "
            f"{shots} worked examples; give at least {asked + shots}"
        )
    # Which question stands where does not depend on the sides, so that they can be compared.
    rng = Random(f"languages/{seed}")
    rng.shuffle(usable)
    pool = usable[asked:]
    splits = [split for split, size in sizes.items() for _ in range(size)]
    return ContrastSet(
        _set_name(*sides),
        tuple(
            _make_pair(item, rng.sample(pool, shots), sides, instructions, split, item.key)
            for split, item in zip(splits, usable, strict=False)
        ),
    )


def published_set(
    items: Sequence[ParallelItem],
    negative: Side | str = "en-en",
    positive: Side | str = "en-it",
    *,
    shots: int = 4,
    instructions: Mapping[str, str] | None = INSTRUCTIONS,
    seed: int = 32,
    fit: int = 30,
    test: int = 50,
) -> ContrastSet:
    """Make the prompts that the code of Dynamic Activation Composition makes of the same items.

    As in that code, items are taken in order, in blocks of ``shots + 1``, and an incomplete last
    block is left out. The last item of a block is asked after the worked examples, of which there
    is **one fewer than asked for**: the last but one item of the block is not shown, so that 4
    shots show 3 examples, and 1 shot shows 0. ``fit`` blocks are drawn with replacement by Python's
    generator. One fault is fixed: the code reports on the first blocks even when they were drawn;
    here ``test`` has the first blocks that were not drawn.

    To write the prompts as that code does, load the model with ``prompt_format=question_blocks``,
    or with the BOS before every piece (see there).

    Args:
        items: in their published order, as :func:`interp_steer.contrast.parallel.from_files`
            reads them.
        negative, positive: see :func:`language_set`.
        shots: the number asked for; 4 in the published runs.
        instructions: see :func:`language_set`.
        seed: of the draw; 32 in the published code.
        fit: blocks to draw; the key of a block that is drawn again ends in ``#2`` and so on.
        test: blocks to report on, from 0.

    Returns:
        A set of ``fit + test`` pairs, made as those of :func:`language_set`.

    Raises:
        ContrastError: as :func:`language_set`, or when too few blocks are left for ``test``.

    Example::

        items = ist.contrast.from_files("data")
        pairs = ist.contrast.languages.published_set(items)
    """
    shown = max(shots - 1, 0)
    sides = _check_sides(negative, positive, shown, instructions)
    if shots < 0 or fit < 1 or test < 0:
        raise ContrastError(
            f"{shots} shots, {fit} pairs to fit on and {test} to test on make no contrast set; "
            "give numbers from 0 up, fit from 1"
        )
    size = shots + 1
    blocks = [items[start : start + size] for start in range(0, len(items) - shots, size)]
    rng = Random(seed)
    drawn = [rng.randint(0, len(blocks) - 1) for _ in range(fit)] if blocks else []
    left = [index for index in range(len(blocks)) if index not in drawn]
    if not drawn or len(left) < test:
        raise ContrastError(
            f"{len(items)} items are {len(blocks)} blocks of {size}, of which {len(left)} are not "
            f"drawn; test={test} is too many: give more items, or smaller numbers"
        )
    pairs = []
    for split, chosen in (("fit", drawn), ("test", left[:test])):
        for turn, index in enumerate(chosen):
            *examples, item = blocks[index]
            again = chosen[:turn].count(index)
            key = f"{item.key}#{again + 1}" if again else item.key
            pairs.append(_make_pair(item, examples[:shown], sides, instructions, split, key))
    return ContrastSet(f"published {_set_name(*sides)}", tuple(pairs))


def check_disjoint(extraction: ContrastSet, evaluation: Iterable[ParallelItem | str]) -> None:
    """Refuse an evaluation with questions that vectors were fitted on, asked or as examples.

    The splits of one set share nothing already; this check is for questions from elsewhere, such
    as the questions of a benchmark. All languages of an item are compared, without regard to case
    and white space.

    Args:
        extraction: the pairs that vectors are fitted on.
        evaluation: the questions that the steered model answers.

    Raises:
        ContrastError: naming questions of the evaluation that were fitted on.

    Example:
        >>> from interp_steer.world import parallel
        >>> pairs = language_set(parallel(9), shots=1, fit=4, select=0, test=0)
        >>> check_disjoint(pairs, ["Who was Collodi?"])
    """
    check_list("evaluation", evaluation, ContrastError)
    fitted = {plain_text(text) for pair in extraction for text in _user_texts(pair)}
    shared = [
        text
        for item in evaluation
        for text in ([item] if isinstance(item, str) else item.questions.values())
        if plain_text(text) in fitted
    ]
    if shared:
        named = ", ".join(repr(text) for text in shared[:3])
        more = f" and {len(shared) - 3} more" if len(shared) > 3 else ""
        raise ContrastError(
            f"{len(shared)} questions of the evaluation are among those that "
            f"{extraction.name!r} is fitted on: {named}{more}; leave them out of one of the two"
        )


def question_blocks(query: Query, bos: str = "") -> str:
    """Write the published prompt: ``{instruction}\\nQ:{q}\\nA:{a}\\n\\n...Q:{q}\\nA:``.

    Give this function to :func:`interp_steer.load` as the prompt format. The published code also
    tokenises the pieces one by one (the line, its end, ``Q:``, a question, and so on), each with a
    BOS. That code doubles the first BOS, which a :class:`interp_steer.HookedLM` never does, and
    lets a model continue with further questions, as a function without stop strings does.

    Args:
        query: a text, or the turns of a conversation.
        bos: the text of the BOS token to put before every piece; empty for no BOS.

    Returns:
        The text of the prompt.

    Raises:
        ModelError: for a turn of another role than system, user or assistant.

    Example:
        >>> question_blocks("What is the sea?")
        'Q:What is the sea?\\nA:'
        >>> from functools import partial
        >>> partial(question_blocks, bos="<s>")("What is the sea?")
        '<s>Q:<s>What is the sea?<s>\\nA:'
        >>> from interp_steer.models.prompts import PromptFormat
        >>> PromptFormat("custom", question_blocks, ("Q:",)).stop_strings  # to end an answer
        ('Q:',)
    """
    turns = [{"role": "user", "content": query}] if isinstance(query, str) else query
    pieces: list[str] = []
    for turn in turns:
        role, text = turn.get("role"), turn.get("content", "")
        if role not in ("system", "user", "assistant"):
            raise ModelError(
                f"{turn!r} is not a turn of a chat; write "
                "{'role': 'system' | 'user' | 'assistant', 'content': text}"
            )
        about = {"system": (text, "\n"), "user": ("Q:", text, "\nA:"), "assistant": (text, "\n\n")}
        pieces += about[role]
    if turns and turns[-1]["role"] == "assistant":
        pieces.pop()  # the answer has begun and goes on
    return "".join(bos + piece for piece in pieces)


def _check_sides(
    negative: Side | str,
    positive: Side | str,
    shots: int,
    instructions: Mapping[str, str] | None,
) -> tuple[Side, Side]:
    sides = Side.of(negative), Side.of(positive)
    if sides[0] == sides[1]:
        raise ContrastError(f"both sides are {sides[0]}; give two that differ")
    if sides[0].question == sides[1].question and not shots and instructions is None:
        raise ContrastError(
            f"{_set_name(*sides)} without worked examples and instruction lines asks the same on "
            "both sides; show examples, give lines, or ask in two languages"
        )
    for side in sides if instructions is not None else ():
        if side.answer not in (instructions or {}):
            raise ContrastError(
                f"the instruction line is missing in {side.answer!r}; give instructions={{"
                f"{side.answer!r}: 'Answer the following questions', in that language}}"
            )
    return sides


def _set_name(negative: Side, positive: Side) -> str:
    return f"{negative} to {positive}"


def _drop_repeated_questions(
    items: Iterable[ParallelItem], sides: tuple[Side, Side]
) -> list[ParallelItem]:
    seen: set[tuple[str, str]] = set()
    usable = []
    for item in items:
        asks = {(s.question, plain_text(item.question(s.question))) for s in sides}
        if not asks & seen:
            usable.append(item)
        seen |= asks
    return usable


def _make_pair(
    item: ParallelItem,
    examples: Sequence[ParallelItem],
    sides: tuple[Side, Side],
    instructions: Mapping[str, str] | None,
    split: str,
    key: str,
) -> Pair:
    negative, positive = sides
    query = item.question(negative.question)
    changes = negative.answer != positive.answer
    return Pair(
        query=query,
        present=_make_prompt(item, examples, positive, instructions),
        absent=_make_prompt(item, examples, negative, instructions) if split == "fit" else query,
        split=split,
        phrasing=f"{_set_name(*sides)}, {split}",
        instruction_ids=(LANGUAGE,) if changes else (),
        kwargs=({"language": positive.answer},) if changes else (),
        key=key,
    )


def _make_prompt(
    item: ParallelItem,
    examples: Sequence[ParallelItem],
    side: Side,
    instructions: Mapping[str, str] | None,
) -> Prompt:
    """Return the turns of a side, or the question alone without a line and examples."""
    turns: list[dict[str, str]] = []
    if instructions is not None:
        turns.append({"role": "system", "content": instructions[side.answer]})
    for example in examples:
        turns.append({"role": "user", "content": example.question(side.question)})
        turns.append({"role": "assistant", "content": example.answer(side.answer)})
    question = item.question(side.question)
    return [*turns, {"role": "user", "content": question}] if turns else question


def _user_texts(pair: Pair) -> Iterator[str]:
    yield pair.query
    for prompt in (pair.present, pair.absent):
        if isinstance(prompt, str):
            yield prompt
        else:
            yield from (turn["content"] for turn in prompt if turn["role"] == "user")
