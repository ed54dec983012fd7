"""Batched, cached decoding under interventions, one per row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Integral

from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from interp_steer import notebook
from interp_steer.errors import GenerationError
from interp_steer.generation.answer_scores import AnswerScore, logprobs
from interp_steer.generation.cluster import Cluster
from interp_steer.generation.decoding import EarlyStop, OnToken, of_rows
from interp_steer.generation.engine import Decoding, Request, answer_rows
from interp_steer.generation.inputs import Rows, check_room, prepare
from interp_steer.generation.ledger import CachedAnswer, Ledger
from interp_steer.generation.ledger import keys as ledger_keys
from interp_steer.generation.sampling import Sampling, draws
from interp_steer.interventions.intervention import Intervention, unsteered
from interp_steer.models.forward import Through
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.prompts import Query

__all__ = ["AnswerScore", "Completion", "Sampling", "generate", "logprobs"]


@dataclass(frozen=True)
class Completion:
    """One answer and what shaped it.

    Args:
        prompt: the rendered prompt that the model read.
        text: the answer, without special tokens and without the stop string that ended it.
        tokens: every generated token id, the one that ended the answer included.
        finish_reason: ``"stop"`` at a stop token or stop string, ``"length"`` at the limit,
            ``"settled"`` where nothing that could follow would have mattered.
        applied: the canonical line of the intervention; it parses back into it.
    """

    prompt: str
    text: str
    tokens: tuple[int, ...]
    finish_reason: str
    applied: str

    def _repr_html_(self) -> str:
        return notebook.completion_card(
            self.prompt, self.text, len(self.tokens), self.finish_reason, self.applied
        )


def generate(
    model: HookedLM,
    prompts: Sequence[Query],
    steering: Intervention | Sequence[Intervention] = unsteered,
    *,
    max_new_tokens: int = 128,
    sampling: Sampling | None = None,
    batch_size: int = 64,
    use_cache: bool = True,
    through: Through | None = None,
    compiled: bool = False,
    ledger: Ledger | None = None,
    settled: EarlyStop | None = None,
    cluster: Cluster | None = None,
    on_answer: Callable[[int], str] | None = None,
    on_token: OnToken | None = None,
) -> list[Completion]:
    """Answer prompts under interventions.

    Prompts are grouped by length, left-padded and decoded with a key-value cache; rows that have
    finished leave the batch and waiting ones take their place. The stop rule is the model's
    (``stop_ids``, ``stop_strings``), with and without steering. What a row generates does not
    depend on its neighbours or their order.

    Args:
        model: the model.
        prompts: texts or message lists, rendered by the model's prompt format.
        steering: one intervention for all prompts, or one per prompt; rows of one batch may differ.
        max_new_tokens: at most so many tokens per answer, the stop token included.
        sampling: how to draw tokens; greedy when None.
        batch_size: rows decoded together; fewer, with a warning, once they do not fit in memory.
        use_cache: False recomputes every position at every step. The same tokens, slowly: for
            checking the cache.
        through: ``"plain"`` decodes by the plain twin of the model, ``"hook_points"`` through the
            bridge, whose hook points define what the interventions mean: the same tokens, slower.
            None for the twin, unless the bridge has hooks of your own on it.
        compiled: decode by a pass that ``torch.compile`` makes, over a cache of fixed size, with
            the interventions in it: for a GPU and many rows, as compiling costs from seconds to
            minutes at each call. The same tokens, but for ties that the last bits decide.
        ledger: where answers are looked up before they are computed, and kept as they end. Give
            one to a sweep that may be stopped, repeated or extended.
        settled: says of a prompt's number and the text of its answer so far whether the rest can be
            done without, such as an answer with a comma where none may be; it is asked every
            :data:`~interp_steer.generation.decoding.SETTLED_EVERY` tokens. None lets every answer end by
            itself.
        cluster: workers that answer the prompts in place of this process.
        on_answer: is told the number of each prompt once its answer is there; what it returns is
            shown beside the progress bar.
        on_token: is told the number of a prompt and each token of its answer as it is chosen, in
            their order; all at once where the answer is the ledger's or a worker's. What it raises
            ends the decoding, and leaves the model as it was.

    Returns:
        one completion per prompt, in the order of the prompts.

    Raises:
        GenerationError: for no prompts, an empty prompt, options out of range, steering of another
            length than the prompts, prompts that leave no room in the context, or a ledger while
            the bridge has hooks of your own.
        InterventionError: when a direction does not fit the model.

    Example:
        >>> castle = ["Tell me about the castle."]
        >>> for line in ist.generate(model, castle * 2, [ist.unsteered, vector.at(5).project()]):
        ...     print(line.applied, line.text)
    """
    if not isinstance(max_new_tokens, Integral) or max_new_tokens < 1:
        raise GenerationError(f"max_new_tokens is {max_new_tokens!r}; ask for 1 or more")
    if ledger is not None and not isinstance(ledger, Ledger):
        raise GenerationError(f"ledger is {ledger!r}; give ist.Ledger(path)")
    if compiled and (not use_cache or through == "hook_points"):
        raise GenerationError(
            f"compiled=True with use_cache={use_cache} and through={through!r}: only the plain "
            "twin is compiled, with a cache; leave the other two as they are by default"
        )
    rows = prepare(model, prompts, steering, batch_size)
    if compiled and any(one.dynamic for one in rows.steering):
        raise GenerationError(
            "compiled=True with a dynamic schedule, whose weights are found between passes; leave "
            "compiled as it is by default"
        )
    lengths = [len(prompt) for prompt in rows.tokens]
    for number, length in enumerate(lengths):
        check_room(model, number, length, max_new_tokens, "lower max_new_tokens")
    uniform = None
    if sampling is not None:
        uniform = draws(rows.tokens, rows.applied, max_new_tokens, sampling)
    keys = [str(row) for row in range(len(lengths))]
    kept: dict[int, CachedAnswer] = {}
    if ledger is not None:
        keys = _keys(model, rows, sampling, uniform, max_new_tokens)
        kept = _taken(ledger, keys, settled)
    alike: dict[str, list[int]] = {}  # of rows that cannot differ one is decoded
    for row, key in enumerate(keys):
        if row not in kept:
            alike.setdefault(key if settled is None else f"{key} {row}", []).append(row)
    groups = list(alike.values())
    new = [group[0] for group in groups]
    requests = [
        Request(rows.tokens[row], rows.steering[row], None if uniform is None else uniform[row])
        for row in new
    ]
    with tqdm(total=len(lengths), desc="generate", unit="completion", disable=None) as bar:

        def there(rows: Iterable[int]) -> None:
            for row in rows:
                if on_answer is not None:
                    bar.set_postfix_str(on_answer(row), refresh=False)
                bar.update()

        def tell(rows: Iterable[int], tokens: Iterable[int]) -> None:
            if on_token is not None:
                for row in rows:
                    for token in tokens:
                        on_token(row, token)

        def finished(place: int, answer: CachedAnswer) -> None:
            kept.update(dict.fromkeys(groups[place], answer))
            if cluster is not None:
                tell(groups[place], answer.tokens)
            if ledger is not None:
                ledger.keep(keys[new[place]], answer)
            there(groups[place])

        for row, answer in kept.items():
            tell([row], answer.tokens)
        there(kept)

        if new:
            run = partial(answer_rows, model) if cluster is None else cluster.answer_rows
            if cluster is None and on_token is not None:
                run = partial(run, on_token=lambda place, token: tell(groups[place], [token]))
            how = Decoding(max_new_tokens, sampling, batch_size, use_cache, through, compiled)
            run(requests, how, settled and partial(of_rows, settled, new), finished)
    return [
        Completion(
            prompt=rows.rendered[row],
            text=kept[row].text,
            tokens=kept[row].tokens,
            finish_reason=kept[row].finish_reason,
            applied=rows.applied[row],
        )
        for row in range(len(keys))
    ]


def _taken(ledger: Ledger, keys: list[str], settled: EarlyStop | None) -> dict[int, CachedAnswer]:
    """What the ledger has for each row; an answer that was cut serves only where it would be."""
    found: dict[int, CachedAnswer] = {}
    for row, key in enumerate(keys):
        if key not in ledger:
            continue
        whole = ledger[key].finish_reason != "settled"
        if whole or (settled is not None and settled(row, ledger[key].text)):
            found[row] = ledger.take(key)
    return found


def _keys(
    model: HookedLM,
    rows: Rows,
    sampling: Sampling | None,
    uniform: Float[Tensor, "row step"] | None,
    max_new_tokens: int,
) -> list[str]:
    """What each row's answer is kept under."""
    if model.has_hooks:
        raise GenerationError(
            "the bridge has hooks of your own, which a ledger cannot know; generate outside of "
            "them, or without a ledger"
        )
    choices = ["greedy"] * len(rows.tokens)
    if uniform is not None:
        choices = [f"{sampling} {row.tolist()}" for row in uniform]
    stops = [sorted(model.stop_ids), list(model.stop_strings), max_new_tokens]
    return ledger_keys(model.fingerprint, rows.tokens, rows.steering, choices, stops=stops)
