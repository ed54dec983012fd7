"""Run prompts once, through TransformerLens' hook points, and keep streaming moments.

A pass stops after the last site that is read: later layers and the LM head are not run.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from interp_steer.arguments import check_list
from interp_steer.capture.moments import Moments, SiteRows, mean_of, moments_of
from interp_steer.capture.options import DEFAULT_OPTIONS, CaptureOptions
from interp_steer.contrast.pair import Prompt
from interp_steer.errors import CaptureError
from interp_steer.generation.decoding import StopRule, decode, open_row_batches
from interp_steer.models.batching import batches_by_length, in_parts
from interp_steer.models.forward import forward_under
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.loading import check_model
from interp_steer.models.sites import Site


def capture_moments(
    model: HookedLM,
    prompts: Sequence[Prompt],
    sites: Sequence[Site] | None = None,
    positions: str | int = "last",
    *,
    answers: Sequence[str] | None = None,
    max_new_tokens: int = 64,
    second_moments: bool = False,
    keep_rows: bool = False,
    options: CaptureOptions = DEFAULT_OPTIONS,
) -> Moments:
    """Run prompts once and return the moments of their activations.

    There are nine parameters, because what is run (model, prompts, answers), what is read (sites,
    positions, tokens) and what is kept (scatter, rows) are chosen independently of one another.

    Args:
        model: runs the prompts, through its hook points; edits made within ``model.steered(...)``
            are seen.
        prompts: user-side texts or conversations, rendered as ``model.tokenize`` does.
        sites: the sites to read; ``resid_post`` of every layer when not given.
        positions: ``"last"``, the last token of the prompt; an index, negative from the prompt's
            end and not negative from its start (padding is not counted); ``"all"``, every token of
            the prompt; ``"generated"``, the positions that emit the tokens of an answer, in steps:
            step 0 is the last token of the prompt.
        answers: with ``"generated"``, the answer to each prompt. When not given, the model answers
            greedily, and the step that emits the stop token counts too.
        max_new_tokens: the most steps of each answer.
        second_moments: whether to keep the scatter matrices (``d x d`` numbers a site).
        keep_rows: whether to keep the activations themselves; memory then grows with the prompts.
        options: batch sizes, the checkpoint and the callback.

    Returns:
        The moments, on the CPU: at one position, or at one position for each step of
        ``"generated"``.

    Raises:
        CaptureError: for an empty list of prompts or sites, positions that a prompt does not have,
            answers that do not go with the prompts, or a checkpoint of another pass.
        SiteError: for a site that the model does not have.

    Example:
        >>> moments = capture_moments(model, pairs.present, [Site("resid_post", 5)])
        >>> moments.mean[Site("resid_post", 5)].shape  # [position, d_model]
        torch.Size([1, 160])
    """
    check_list("prompts", prompts, CaptureError)
    check_list("answers", answers, CaptureError)
    check_model(model)
    sites = _check_sites(model, model.sites() if sites is None else sites)
    label = _check_positions(positions)
    if not prompts:
        raise CaptureError("the list of prompts to capture is empty; give at least one")
    if max_new_tokens < 1:
        raise CaptureError(f"max_new_tokens is {max_new_tokens}; it must be at least 1")
    if answers is not None and (label != "generated" or len(answers) != len(prompts)):
        raise CaptureError(
            f"{len(answers)} answers were given with {len(prompts)} prompts and positions "
            f"{label!r}; give an answer to each prompt, with positions='generated'"
        )
    file = options.checkpoint
    if file is not None and not Path(file).parent.is_dir():
        raise CaptureError(
            f"{file} cannot be written: the folder {Path(file).parent} does not exist; make it"
        )
    rows = model.tokenize(prompts)
    if label == "generated":
        spans = _span_answers(model, rows, answers, max_new_tokens, options.batch_size)
    else:
        spans = [_span_prompt(row, positions, index) for index, row in enumerate(rows)]
    capture = _Pass(
        model=model,
        sites=sites,
        positions=label,
        spans=spans,
        second_moments=second_moments,
        keep_rows=keep_rows,
        options=options,
    )
    return capture.run()


@dataclass(frozen=True)
class _Span:
    """The tokens to run, and the range of them to read."""

    tokens: list[int]
    start: int
    end: int
    stepped: bool = False
    """Whether each token of the range counts in a position of its own, as generated steps do."""


def _check_positions(positions: str | int) -> str:
    """Return the label of positions that can be read."""
    label = "last" if positions == -1 else str(positions)
    index = isinstance(positions, int) and not isinstance(positions, bool)
    if label not in ("last", "all", "generated") and not index:
        raise CaptureError(
            f"positions {positions!r} are unknown; use 'last', 'all', 'generated' or an index"
        )
    return label


def _span_prompt(tokens: list[int], positions: str | int, index: int) -> _Span:
    """Return the part of a prompt that is read."""
    if positions == "all":
        return _Span(tokens, 0, len(tokens))
    place = -1 if positions == "last" else int(positions)
    if not -len(tokens) <= place < len(tokens):
        raise CaptureError(
            f"prompt {index} has {len(tokens)} tokens and no position {place}; "
            f"use an index from {-len(tokens)} to {len(tokens) - 1}"
        )
    place %= len(tokens)
    return _Span(tokens, place, place + 1)


def _span_answers(
    model: HookedLM,
    prompts: list[list[int]],
    answers: Sequence[str] | None,
    max_new_tokens: int,
    batch_size: int,
) -> list[_Span]:
    """Return each prompt with its answer, and the positions that emit the answer's tokens."""
    if answers is None:
        _check_room(model, [len(prompt) + max_new_tokens - 1 for prompt in prompts])
        emitted = _answer_greedily(model, prompts, max_new_tokens, batch_size)
    else:
        emitted = _tokenize_answers(model, answers, max_new_tokens)
    spans = [
        _Span(prompt + answer[:-1], len(prompt) - 1, len(prompt) - 1 + len(answer), True)
        for prompt, answer in zip(prompts, emitted, strict=True)
    ]
    _check_room(model, [len(span.tokens) for span in spans])
    return spans


class _AllSitesRead(Exception):
    """Ends a forward pass once every site was read: the rest of the model need not run."""


@dataclass(frozen=True)
class _Pass:
    """One pass over prompts: the spans to run, the sites to read and the moments to keep."""

    model: HookedLM
    sites: tuple[Site, ...]
    positions: str
    spans: list[_Span]
    second_moments: bool
    keep_rows: bool
    options: CaptureOptions

    def run(self) -> Moments:
        """Run every batch that the checkpoint does not have, and return the moments of all."""
        options, file = self.options, self.options.checkpoint
        order, batches = batches_by_length(
            [len(span.tokens) for span in self.spans], options.batch_size, options.batch_tokens
        )
        total, rows = self._resume()
        if total is not None and total.prompts == len(order):
            return _attach_rows(total, rows)
        done = 0 if total is None else total.prompts
        bar = tqdm(total=len(order), initial=done, desc="capture", unit="prompt", disable=None)
        written = time.monotonic()
        with bar:
            for batch in batches:
                if batch.stop <= done:
                    continue
                start = batch.start
                for moments, read in in_parts(order[batch], self._batch, self.model.device):
                    total = moments if total is None else total + moments
                    total = replace(total, source=self.source)
                    if read is not None:
                        rows.append(replace(read, prompt=read.prompt + start))
                    start += moments.prompts
                bar.update(batch.stop - batch.start)
                if options.on_read is not None:
                    options.on_read(batch.stop - batch.start)
                assert total is not None
                waited = time.monotonic() - written >= options.checkpoint_seconds
                if file and batch.stop < len(order) and waited:
                    _attach_rows(total, rows).save(file)
                    written = time.monotonic()
        assert total is not None  # there is at least one batch
        total = _attach_rows(total, rows, order)
        if file:
            total.save(file)
        return total

    def _batch(self, indices: Sequence[int]) -> tuple[Moments, SiteRows | None]:
        """Run one batch; return its moments and its rows, whose ``prompt`` counts within it."""
        spans = [self.spans[index] for index in indices]
        batch = self.model.pad([span.tokens for span in spans])
        width = batch.tokens.shape[1]  # padded on the left: token t stands at width - length + t
        cells = [
            (row, width - len(span.tokens) + token, token - span.start if span.stepped else 0)
            for row, span in enumerate(spans)
            for token in range(span.start, span.end)
        ]
        row, place, position = torch.tensor(cells).T
        places: dict[torch.device, tuple[Tensor, Tensor]] = {}  # layers may lie on several
        n_positions = int(position.max()) + 1
        mean: dict[Site, Tensor] = {}
        scatter: dict[Site, Tensor] = {}
        values: dict[Site, Tensor] = {}

        def reader(site: Site) -> Callable[..., None]:
            def read(activation: Tensor, hook: Any) -> None:
                at = activation.device
                here = places.setdefault(at, (row.to(at), place.to(at)))
                chosen = activation[here].detach().cpu()  # gathered first: little is copied
                exact = chosen.double()
                if self.second_moments:
                    mean[site], scatter[site] = moments_of(exact, position, n_positions)
                else:
                    mean[site] = mean_of(exact, position, n_positions)
                if self.keep_rows:
                    values[site] = chosen
                if len(mean) == len(self.sites):
                    raise _AllSitesRead

            return read

        hooks = [(site.hook_name, reader(site)) for site in self.sites]
        with torch.no_grad(), forward_under(self.model, hooks) as forward, suppress(_AllSitesRead):
            forward(batch, None, 0)
        missing = [str(site) for site in self.sites if site not in mean]
        if missing:
            raise CaptureError(
                f"{self.model.name} ran without calling the hooks of {', '.join(missing)}; "
                "capture other sites"
            )
        moments = Moments(
            count=torch.bincount(position, minlength=n_positions),
            mean=mean,
            scatter=scatter if self.second_moments else None,
            rows=None,
            prompts=len(spans),
            positions=self.positions,
            model=self.model.name,
            fingerprint=self.fingerprint,
            source=self.source,
        )
        return moments, SiteRows(values, row, position) if self.keep_rows else None

    @cached_property
    def fingerprint(self) -> str:
        """Return the fingerprint of the model, which the model computes anew at every access."""
        return self.model.fingerprint

    @cached_property
    def source(self) -> str:
        """Return a hash of all that the numbers depend on; a checkpoint must agree with it."""
        content = {
            "fingerprint": self.fingerprint,
            "sites": [str(site) for site in self.sites],
            "positions": self.positions,
            "batches": [self.options.batch_size, self.options.batch_tokens],
            "reads": [[span.tokens, span.start, span.end] for span in self.spans],
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _resume(self) -> tuple[Moments | None, list[SiteRows]]:
        """Read the moments and rows that the checkpoint has, if there is a checkpoint."""
        file = self.options.checkpoint
        if file is None or not Path(file).exists():
            return None, []
        stored = Moments.load(file)
        holds = (stored.scatter is not None, stored.rows is not None)
        if stored.source != self.source or holds != (self.second_moments, self.keep_rows):
            raise CaptureError(
                f"{file} was left by another pass (of {stored.model}, positions "
                f"{stored.positions}, {len(stored.sites)} sites, or in other batches); remove it, "
                "or give another path"
            )
        return replace(stored, rows=None), [] if stored.rows is None else [stored.rows]


def _attach_rows(total: Moments, rows: list[SiteRows], order: list[int] | None = None) -> Moments:
    """Return the moments with all the rows; given the order of running, sort them by prompt."""
    if not rows:
        return total
    joined = SiteRows.join(rows)
    if order is not None:
        prompt = torch.tensor(order)[joined.prompt]
        back = torch.argsort(prompt, stable=True)  # the tokens of a prompt are in order already
        joined = SiteRows(
            {site: values[back] for site, values in joined.values.items()},
            prompt[back],
            joined.position[back],
        )
    return replace(total, rows=joined)


def _check_sites(model: HookedLM, sites: Sequence[Site]) -> tuple[Site, ...]:
    """Return the sites, each once and sorted, if the model has all of them."""
    if not sites:
        raise CaptureError("the list of sites to capture is empty; give at least one")
    for site in sites:
        if not isinstance(site, Site):
            raise CaptureError(
                f"{site!r} is not a site; give sites such as ist.Site('resid_post', 5)"
            )
    return tuple(sorted({site.check(model.n_layers) for site in sites}))


def _check_room(model: HookedLM, lengths: Sequence[int]) -> None:
    if model.max_positions is not None and max(lengths) > model.max_positions:
        raise CaptureError(
            f"prompt {lengths.index(max(lengths))} and its answer may take {max(lengths)} tokens, "
            f"more than the {model.max_positions} that {model.describe()} can read; "
            "lower max_new_tokens, or shorten the prompt"
        )


def _tokenize_answers(model: HookedLM, answers: Sequence[str], most: int) -> list[list[int]]:
    """Tokenise given answers, keeping the first ``most`` tokens of each."""
    rows = [model.tokenizer(text, add_special_tokens=False)["input_ids"][:most] for text in answers]
    for index, row in enumerate(rows):
        if not row:
            raise CaptureError(f"answer {index} has no tokens; give a text, or drop its prompt")
    return rows


def _answer_greedily(
    model: HookedLM, prompts: list[list[int]], most: int, batch_size: int
) -> list[list[int]]:
    """Return the tokens of the model's greedy answers, the stop token included."""
    with tqdm(total=len(prompts), desc="answer", unit="answer", disable=None) as bar:
        answers = decode(
            model,
            prompts,
            StopRule(model, most),
            batches=open_row_batches(model, prompts, lambda _: []),
            batch_size=batch_size,
            on_finished=lambda *_: bar.update(),
        )
    return [list(answer.tokens) for answer in answers]
