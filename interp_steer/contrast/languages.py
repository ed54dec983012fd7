"""Contrast sets of answer languages, by worked examples and an instruction line (paper B).

A side has a language that it asks in and one that it is answered in: ``en-en`` against ``en-it`` is
the published contrast, ``en-en`` against ``it-it`` paper B's other one. Prompts are conversations,
whose text is the model's prompt format's to make; :func:`question_blocks` is the published one.
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
"""The instruction line by the language of the answers; but for German the published ones."""


@dataclass(frozen=True)
class Side:
    """The languages of one side of a contrast, as ISO 639-1 codes.

    Example:
        >>> Side.of("en-it"), str(Side("it", "it"))
        (Side(question='en', answer='it'), 'it-it')
    """

    question: str
    """What the question, and those of the worked examples, are asked in."""
    answer: str
    """What the worked examples are answered in; the instruction line is in this language too."""

    @classmethod
    def of(cls, given: Side | str) -> Side:
        """Read ``"en-it"``, in any case; a ready side is left as it is.

        Raises:
            ContrastError: for a text that is not two codes.
        """
        if isinstance(given, Side):
            return given
        found = re.fullmatch(r"([a-z]{2})-([a-z]{2})", given.lower())
        if found is None:
            raise ContrastError(
                f"side {given!r} is not two languages; write those of the question and of the "
                "answer, such as 'en-it'"
            )
        return cls(*found.groups())

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

    In ``fit`` both sides have the instruction line and worked examples, ``absent`` in the languages
    of ``negative`` and ``present`` in those of ``positive``. In ``select`` and ``test``, ``absent``
    is the bare question, as the papers ask it of a steered model, and ``present`` the question with
    ``positive``'s line and examples: the in-context baseline.

    Questions are dealt to the splits, and worked examples drawn for each pair from the items that
    no split asks about. A pair's key is its item's. The line is one and the same in all splits, as
    in the papers, so that a pair's ``phrasing`` says no more than its split.

    Args:
        items: such as :func:`interp_steer.world.translations.parallel` gives; of items that ask the same
            (compared without regard to case and white space) only the first is used.
        negative: the side without the property, as a :class:`Side` or ``"en-en"``.
        positive: the side with it.
        shots: worked examples in a prompt; the published code asks for 4 (and shows 3).
        instructions: the instruction line by language; ``None`` for prompts without one.
        seed: of the deal and the draw; the same seed asks the same, whatever the sides.
        fit, select, test: the number of pairs in each split; 0 leaves the split out.

    Returns:
        A set named such as ``"en-en to en-it"``. Where the language of the answers changes, pairs
        carry IFEval's ``language:response_language`` to verify it.

    Raises:
        ContrastError: for sides that are the same or make the same prompts, an item or line that is
            not known in a side's language, or too few items.

    Example:
        >>> from interp_steer.contrast.parallel import world
        >>> pairs = language_set(world(12), "en-en", "it-it", shots=1, fit=2, select=0, test=2)
        >>> [message["role"] for message in pairs.fit[0].present]
        ['system', 'user', 'assistant', 'user']
        >>> pairs.test[0].absent == pairs.test[0].query
        True
    """
    sides = _sides(negative, positive, shots, instructions)
    sizes = {"fit": fit, "select": select, "test": test}
    if min(*sizes.values(), shots) < 0 or not any(sizes.values()):
        raise ContrastError(
            f"sizes {sizes} with {shots} shots make no contrast set; give numbers from 0 up, and "
            "one of the sizes above 0"
        )
    usable = _asking_different_things(items, sides)
    asked = sum(sizes.values())
    if len(usable) < asked + shots:
        raise ContrastError(
            f"{len(usable)} items that ask different things cannot make {asked} pairs and "
            f"{shots} worked examples beside them; give at least {asked + shots}"
        )
    # Which question stands where does not depend on the sides, so that they can be compared.
    rng = Random(f"languages/{seed}")
    rng.shuffle(usable)
    pool = usable[asked:]
    splits = [split for split, size in sizes.items() for _ in range(size)]
    return ContrastSet(
        _name(*sides),
        tuple(
            _pair(item, rng.sample(pool, shots), sides, instructions, split, item.key)
            for split, item in zip(splits, usable, strict=False)
        ),
    )


def published(
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
    """The prompts that the code of Dynamic Activation Composition makes of the same items.

    What it does is kept: items are taken in order, in blocks of ``shots + 1``, a rest left out;
    the last of a block is asked and the worked examples come before it, but **one fewer than asked
    for** (the block's last but one is not shown, so that 4 shots are 3, and 1 is none); ``fit``
    blocks are drawn with replacement by Python's generator. One thing is mended: that code reports
    on the first blocks whether drawn or not, where ``test`` has the first of those not drawn.

    To say the prompts as it does, load the model with ``prompt_format=question_blocks``, or with
    the BOS before every piece (see there).

    Args:
        items: in their published order, as :func:`interp_steer.contrast.parallel.from_files` reads them.
        negative, positive: see :func:`language_set`.
        shots: asked for; 4 in the published runs.
        instructions: see :func:`language_set`.
        seed: of the draw; 32 in the published code.
        fit: blocks to draw; a block that comes again has ``#2`` and so on at the end of its key.
        test: blocks to report on; 0 for none.

    Returns:
        A set of ``fit + test`` pairs, made as those of :func:`language_set`.

    Raises:
        ContrastError: as :func:`language_set`, or when too few blocks are left for ``test``.

    Example:
        >>> from interp_steer.contrast.parallel import from_files
        >>> pairs = published(from_files("data"))  # doctest: +SKIP
    """
    shown = max(shots - 1, 0)
    sides = _sides(negative, positive, shown, instructions)
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
            f"drawn; {test} to test on are too many: give more items, or smaller numbers"
        )
    pairs = []
    for split, chosen in (("fit", drawn), ("test", left[:test])):
        for turn, index in enumerate(chosen):
            *examples, item = blocks[index]
            again = chosen[:turn].count(index)
            key = f"{item.key}#{again + 1}" if again else item.key
            pairs.append(_pair(item, examples[:shown], sides, instructions, split, key))
    return ContrastSet(f"published {_name(*sides)}", tuple(pairs))


def check_apart(extraction: ContrastSet, evaluation: Iterable[ParallelItem | str]) -> None:
    """Refuse an evaluation that asks what vectors were fitted on, as a question or an example.

    The splits of one set are apart by themselves; this is for questions from elsewhere, such as a
    benchmark's. An item is looked for in all its languages, a text as it stands, both without
    regard to case and white space.

    Args:
        extraction: the pairs that vectors are fitted on.
        evaluation: what is asked of the steered model.

    Raises:
        ContrastError: naming questions that both have.

    Example:
        >>> from interp_steer.contrast.parallel import world
        >>> pairs = language_set(world(9), shots=1, fit=4, select=0, test=0)
        >>> check_apart(pairs, ["Who was Collodi?"])
    """
    check_list("evaluation", evaluation, ContrastError)
    fitted = {plain_text(text) for pair in extraction for text in _user_texts(pair)}
    shared = [
        text
        for one in evaluation
        for text in ([one] if isinstance(one, str) else one.questions.values())
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
    """The published prompt: ``{instruction}\\nQ:{q}\\nA:{a}\\n\\n...Q:{q}\\nA:``.

    Give it to :func:`interp_steer.load` as the prompt format. The published code also tokenises
    the pieces one by one (the line, its end, ``Q:``, a question, and so on), each with a BOS; it
    doubles the first one, which a :class:`interp_steer.HookedLM` never does. And it lets a model go
    on to questions of its own, as a function without stop strings does.

    Args:
        query: a text, or the turns of a conversation.
        bos: the text of the BOS token to put before every piece; none when empty.

    Returns:
        The prompt's text.

    Raises:
        ModelError: for a turn that is none of the system's, the user's or the assistant's.

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
        pieces.pop()  # an answer that has begun is not at its end
    return "".join(bos + piece for piece in pieces)


def _sides(
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
            f"{_name(*sides)} without worked examples and instruction lines asks the same on both "
            "sides; show examples, give lines, or ask in two languages"
        )
    for side in sides if instructions is not None else ():
        if side.answer not in (instructions or {}):
            raise ContrastError(
                f"there is no instruction line in {side.answer!r}; give instructions={{"
                f"{side.answer!r}: 'Answer the following questions', in that language}}"
            )
    return sides


def _name(negative: Side, positive: Side) -> str:
    return f"{negative} to {positive}"


def _asking_different_things(
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


def _pair(
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
        present=_prompt(item, examples, positive, instructions),
        absent=_prompt(item, examples, negative, instructions) if split == "fit" else query,
        split=split,
        phrasing=f"{_name(*sides)}, {split}",
        instruction_ids=(LANGUAGE,) if changes else (),
        kwargs=({"language": positive.answer},) if changes else (),
        key=key,
    )


def _prompt(
    item: ParallelItem,
    examples: Sequence[ParallelItem],
    side: Side,
    instructions: Mapping[str, str] | None,
) -> Prompt:
    """The turns of a side, or the question alone where that is all there is."""
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
