"""Answer prompts under interventions, one intervention per row, in batches with a cache."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from numbers import Integral

from tqdm import tqdm

from interp_steer import notebook
from interp_steer.errors import GenerationError
from interp_steer.generation.cluster import Cluster
from interp_steer.generation.decoding import EarlyStop, OnToken, ask_by_place
from interp_steer.generation.engine import DecodingOptions, answer_requests
from interp_steer.generation.inputs import check_room, prepare
from interp_steer.generation.ledger import Ledger, compute_keys
from interp_steer.generation.request import Answer, Request
from interp_steer.generation.sampling import Sampling, draw_uniform
from interp_steer.interventions.intervention import Intervention, unsteered
from interp_steer.models.forward import Through
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.prompts import Query


@dataclass(frozen=True)
class Completion(Answer):
    """An answer with the prompt and the intervention that it was generated under.

    Args:
        text: the answer, without special tokens and without the stop string that ended it.
        tokens: every generated token id, including the token that ended the answer.
        finish_reason: ``"stop"`` at a stop token or stop string, ``"length"`` at the limit,
            ``"settled"`` where an early stop ended it.
        prompt: the rendered prompt that the model read.
        applied: the canonical line of the intervention, from which it can be parsed.
    """

    prompt: str
    applied: str

    def _repr_html_(self) -> str:
        return notebook.render_completion(
            self.prompt, self.text, len(self.tokens), self.finish_reason, self.applied
        )


@dataclass(frozen=True, kw_only=True)
class GenerationOptions:
    """Options of :func:`generate` that are rarely needed.

    Example:
        >>> options = ist.GenerationOptions(on_token=lambda row, token: print(f"row {row}"))
        >>> answers = ist.generate(model, prompts[:1], max_new_tokens=2, options=options)
        row 0
        row 0
    """

    use_cache: bool = True
    """False computes every position again at every step. The tokens are the same; this is slow and
    meant for checking the cache."""
    through: Through | None = None
    """The model that decodes: ``"plain"``, the plain twin, or ``"hook_points"``, the
    TransformerLens model, whose hook points define what the interventions mean (the same tokens,
    slower). None chooses the twin, unless you have put hooks on the TransformerLens model."""
    compiled: bool = False
    """Whether a pass made by ``torch.compile`` decodes, over a cache of fixed size, with the
    interventions in it. This is meant for a GPU and many rows, as each call compiles for seconds to
    minutes. The tokens are the same, except for ties that the last bits decide."""
    early_stop: EarlyStop | None = None
    """A function of a prompt's number and the text of its answer so far. It returns whether the
    rest of the answer does not matter, as for an answer with a comma where commas are forbidden;
    the answer then ends, with the finish reason ``"settled"``. The function is asked every
    :data:`~interp_steer.generation.decoding.EARLY_STOP_EVERY` tokens."""
    cluster: Cluster | None = None
    """Workers that answer the prompts instead of this process."""
    on_answer: Callable[[int], str] | None = None
    """A function that receives the number of each prompt when its answer has ended. The text that
    it returns is shown after the progress bar."""
    on_token: OnToken | None = None
    """A function that receives the number of a prompt and each token of its answer, in order, as
    soon as the token is chosen. Where the ledger or a worker has the answer, the function receives
    all of its tokens at once. An error that the function raises ends the decoding, and leaves the
    model as it was."""


def generate(
    model: HookedLM,
    prompts: Sequence[Query],
    steering: Intervention | Sequence[Intervention] = unsteered,
    *,
    max_new_tokens: int = 128,
    sampling: Sampling | None = None,
    batch_size: int = 64,
    ledger: Ledger | None = None,
    options: GenerationOptions | None = None,
) -> list[Completion]:
    """Answer prompts under interventions.

    Prompts are grouped by length, padded on the left and decoded with a key-value cache; finished
    rows leave the batch and waiting rows take their place. The stop rule is the model's
    (``stop_ids``, ``stop_strings``), with and without steering. The answer to a row does not depend
    on the other rows or their order.

    Args:
        model: the model.
        prompts: texts or message lists, rendered by the model's prompt format.
        steering: one intervention for all prompts, or one per prompt; rows of one batch may differ.
        max_new_tokens: the most tokens per answer, including the stop token.
        sampling: how to draw tokens; greedy when None.
        batch_size: rows decoded together; fewer, with a warning, once they do not fit in memory.
        ledger: a file in which answers are looked up before they are computed, and stored as they
            end. Give one to a sweep that may be stopped, repeated or extended.
        options: rarely needed options: another way to decode, an early stop, a cluster, functions
            that receive tokens and answers.

    Returns:
        One completion per prompt, in the order of the prompts.

    Raises:
        GenerationError: for an empty list of prompts, an empty prompt, options out of range,
            steering of another length than the prompts, prompts that leave no room in the context,
            or a ledger while the bridge has hooks of your own.
        InterventionError: when a direction does not fit the model.

    Example:
        >>> castle = ["Tell me about the castle."]
        >>> steering = [ist.unsteered, vector.at(5).project()]
        >>> plain, steered = ist.generate(model, castle * 2, steering, max_new_tokens=8)
        >>> plain.applied, len(steered.tokens)
        ('unsteered', 8)
    """
    options = GenerationOptions() if options is None else options
    _check_options(max_new_tokens, ledger, options)
    requests = prepare(model, prompts, steering, batch_size)
    _check_requests(model, requests, max_new_tokens, options)
    if sampling is not None:
        requests = _draw_numbers(requests, max_new_tokens, sampling)
    keys = [str(row) for row in range(len(requests))]
    if ledger is not None:
        keys = _compute_keys(model, requests, max_new_tokens, sampling)
    pending = _Pending(requests, keys, ledger, options.early_stop)
    decoding = DecodingOptions(
        max_new_tokens, sampling, batch_size, options.use_cache, options.through, options.compiled
    )
    with tqdm(total=len(requests), desc="generate", unit="completion", disable=None) as bar:
        progress = _Progress(bar, options)
        for row, answer in pending.answers.items():
            progress.report_tokens([row], answer.tokens)
        progress.report_answers(pending.answers)
        if pending.groups:
            _answer_pending(model, pending, decoding, options, progress)
    return pending.completions()


@dataclass(frozen=True)
class _Progress:
    """Reports tokens and answers, to the progress bar and to the functions of the user."""

    bar: tqdm
    options: GenerationOptions

    def report_tokens(self, rows: Iterable[int], tokens: Iterable[int]) -> None:
        if self.options.on_token is not None:
            for row in rows:
                for token in tokens:
                    self.options.on_token(row, token)

    def report_answers(self, rows: Iterable[int]) -> None:
        for row in rows:
            if self.options.on_answer is not None:
                self.bar.set_postfix_str(self.options.on_answer(row), refresh=False)
            self.bar.update()


class _Pending:
    """The rows of a call: which have their answer, and which still need one.

    Rows with equal keys cannot differ, so that one row of each such group is decoded. Of four rows
    with the keys a, b, c, a, of which the ledger has b, the groups are ``[[0, 3], [2]]``.

    Args:
        requests: one per row.
        keys: the key of each row, under which the ledger stores its answer.
        ledger: has stored answers, and stores new ones.
        early_stop: receives the number of a row, so that with an early stop no rows are grouped.

    Attributes:
        answers: the answers so far, by the number of the row.
        groups: the rows that each answer still to be computed is for.
    """

    def __init__(
        self,
        requests: Sequence[Request],
        keys: Sequence[str],
        ledger: Ledger | None,
        early_stop: EarlyStop | None,
    ) -> None:
        self._requests, self._keys, self._ledger = requests, keys, ledger
        self.answers: dict[int, Answer] = {}
        if ledger is not None:
            self.answers = _look_up_answers(ledger, keys, early_stop)
        rows_by_key: dict[str, list[int]] = {}
        for row, key in enumerate(keys):
            if row not in self.answers:
                alike = key if early_stop is None else f"{key} {row}"
                rows_by_key.setdefault(alike, []).append(row)
        self.groups = list(rows_by_key.values())

    def representatives(self) -> list[int]:
        """Return the row of each group that is decoded."""
        return [group[0] for group in self.groups]

    def requests(self) -> list[Request]:
        """Return the request of each group."""
        return [self._requests[row] for row in self.representatives()]

    def store(self, number: int, answer: Answer) -> None:
        """Give the rows of a group their answer, and store it in the ledger."""
        group = self.groups[number]
        self.answers.update(dict.fromkeys(group, answer))
        if self._ledger is not None:
            self._ledger.keep(self._keys[group[0]], answer)

    def completions(self) -> list[Completion]:
        """Return the completion of every row, once all have their answers."""
        return [
            Completion(
                text=self.answers[row].text,
                tokens=self.answers[row].tokens,
                finish_reason=self.answers[row].finish_reason,
                prompt=request.prompt,
                applied=request.applied,
            )
            for row, request in enumerate(self._requests)
        ]


def _answer_pending(
    model: HookedLM,
    pending: _Pending,
    decoding: DecodingOptions,
    options: GenerationOptions,
    progress: _Progress,
) -> None:
    """Answer one request of each group, in this process or on the cluster."""
    cluster, groups = options.cluster, pending.groups

    def on_finished(number: int, answer: Answer) -> None:
        if cluster is not None:  # whose workers report no single tokens
            progress.report_tokens(groups[number], answer.tokens)
        pending.store(number, answer)
        progress.report_answers(groups[number])

    def on_token(number: int, token: int) -> None:
        progress.report_tokens(groups[number], [token])

    early_stop = options.early_stop
    if early_stop is not None:
        early_stop = partial(ask_by_place, early_stop, pending.representatives())
    requests = pending.requests()
    if cluster is not None:
        cluster.answer_requests(requests, decoding, early_stop, on_finished)
    else:
        listener = None if options.on_token is None else on_token
        answer_requests(model, requests, decoding, early_stop, on_finished, listener)


def _check_options(max_new_tokens: int, ledger: Ledger | None, options: GenerationOptions) -> None:
    if not isinstance(max_new_tokens, Integral) or max_new_tokens < 1:
        raise GenerationError(f"max_new_tokens is {max_new_tokens!r}; ask for 1 or more")
    if ledger is not None and not isinstance(ledger, Ledger):
        raise GenerationError(f"ledger is {ledger!r}; give ist.Ledger(path)")
    if not isinstance(options, GenerationOptions):
        raise GenerationError(f"options is {options!r}; give ist.GenerationOptions(...)")
    if options.compiled and (not options.use_cache or options.through == "hook_points"):
        raise GenerationError(
            f"compiled=True with use_cache={options.use_cache} and through={options.through!r}: "
            "only the plain twin is compiled, with a cache; leave the other two as they are by "
            "default"
        )


def _check_requests(
    model: HookedLM, requests: Sequence[Request], max_new_tokens: int, options: GenerationOptions
) -> None:
    if options.compiled and any(request.steering.dynamic for request in requests):
        raise GenerationError(
            "compiled=True with a dynamic schedule, whose weights are computed between passes; "
            "leave compiled as it is by default"
        )
    for number, request in enumerate(requests):
        n_prompt = len(request.tokens)
        check_room(model, number, n_prompt, max_new_tokens, "lower max_new_tokens")


def _draw_numbers(
    requests: Sequence[Request], max_new_tokens: int, sampling: Sampling
) -> list[Request]:
    """Return the requests with the random numbers that decide their tokens."""
    prompts = [request.tokens for request in requests]
    applied = [request.applied for request in requests]
    uniform = draw_uniform(prompts, applied, max_new_tokens, sampling)
    return [
        replace(request, uniform=numbers)
        for request, numbers in zip(requests, uniform, strict=True)
    ]


def _look_up_answers(
    ledger: Ledger, keys: Sequence[str], early_stop: EarlyStop | None
) -> dict[int, Answer]:
    """Return the stored answers by row.

    An answer that an early stop cut is used only where this early stop cuts it too.
    """
    stored: dict[int, Answer] = {}
    for row, key in enumerate(keys):
        if key not in ledger:
            continue
        whole = ledger[key].finish_reason != "settled"
        if whole or (early_stop is not None and early_stop(row, ledger[key].text)):
            stored[row] = ledger.take(key)
    return stored


def _compute_keys(
    model: HookedLM, requests: Sequence[Request], max_new_tokens: int, sampling: Sampling | None
) -> list[str]:
    """Return the key under which the ledger stores the answer of each row."""
    if model.has_hooks:
        raise GenerationError(
            "the bridge has hooks of your own, which a ledger cannot know; generate outside of "
            "them, or without a ledger"
        )
    choices = [
        "greedy" if request.uniform is None else f"{sampling} {request.uniform.tolist()}"
        for request in requests
    ]
    stops = [sorted(model.stop_ids), list(model.stop_strings), max_new_tokens]
    prompts = [request.tokens for request in requests]
    steering = [request.steering for request in requests]
    return compute_keys(model.fingerprint, prompts, steering, choices, stops=stops)
