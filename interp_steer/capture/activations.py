"""One pass over prompts, through TransformerLens' hook points, that leaves streaming moments.

Nothing is run that is not read: neither the layers after the last site nor the LM head.
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
    batch_size: int = 32,
    batch_tokens: int = 8192,
    checkpoint: str | Path | None = None,
    checkpoint_seconds: float = 60.0,
    on_read: Callable[[int], None] | None = None,
) -> Moments:
    """Run prompts once and leave the moments of their activations.

    Prompts are batched by length; neighbours in a batch and padding change an activation by less
    than 1e-4 in float32.

    Args:
        model: runs the prompts, through its hook points; edits made within ``model.steered(...)``
            are seen.
        prompts: user-side texts or conversations, rendered as ``model.tokenize`` does.
        sites: what to read; ``resid_post`` of every layer when not given.
        positions: ``"last"``, the last token of the prompt; an index, negative from the prompt's
            end and not negative from its start (padding is not counted); ``"all"``, every token of
            the prompt; ``"generated"``, the positions that emit the tokens of an answer, in steps:
            step 0 is the last token of the prompt.
        answers: with ``"generated"``, the answer to each prompt; without them the model answers
            greedily, and the step that emits the stop token counts too.
        max_new_tokens: the most steps of each answer.
        second_moments: whether to keep the scatter matrices (``d x d`` numbers a site).
        keep_rows: whether to keep the activations themselves; memory then grows with the prompts.
        batch_size: the most prompts in a batch; a batch that does not fit in memory is halved.
        batch_tokens: the most tokens in a batch, padding included.
        checkpoint: a file to write the moments to as they grow; a pass that was interrupted goes on
            from there and leaves, bit for bit, what it would have left. It does not know of edits
            made within ``model.steered(...)``: give each of those a file of its own.
        checkpoint_seconds: the least time between two writes.
        on_read: is told of each batch how many prompts it had; what it raises ends the pass.

    Returns:
        The moments, on the CPU; one position, or one for each step of ``"generated"``.

    Raises:
        CaptureError: for no prompts or sites, positions that a prompt does not have, answers that
            do not go with the prompts, or a checkpoint of another pass.
        SiteError: for a site that the model does not have.

    Example:
        >>> moments = capture(model, pairs.present, [Site("resid_post", 5)])
        >>> moments.mean[Site("resid_post", 5)].shape  # [position, d_model]
        torch.Size([1, 160])
    """
    check_list("prompts", prompts, CaptureError)
    check_list("answers", answers, CaptureError)
    check_model(model)
    sites = _checked(model, model.sites() if sites is None else sites)
    label = "last" if positions == -1 else str(positions)
    index = isinstance(positions, int) and not isinstance(positions, bool)
    if label not in ("last", "all", "generated") and not index:
        raise CaptureError(
            f"positions {positions!r} are unknown; use 'last', 'all', 'generated' or an index"
        )
    if not prompts:
        raise CaptureError("there are no prompts to capture; give at least one")
    if batch_size < 1 or batch_tokens < 1 or max_new_tokens < 1:
        raise CaptureError(
            f"batch_size {batch_size}, batch_tokens {batch_tokens} and max_new_tokens "
            f"{max_new_tokens} must all be at least 1"
        )
    if answers is not None and (label != "generated" or len(answers) != len(prompts)):
        raise CaptureError(
            f"{len(answers)} answers were given with {len(prompts)} prompts and positions "
            f"{label!r}; give an answer to each prompt, with positions='generated'"
        )
    if checkpoint is not None and not Path(checkpoint).parent.is_dir():
        raise CaptureError(
            f"{checkpoint} cannot be written: there is no folder {Path(checkpoint).parent}; make it"
        )
    rows = model.tokenize(prompts)
    if label == "generated":
        if answers is None:
            _check_room(model, [len(row) + max_new_tokens - 1 for row in rows])
        said = (
            _greedy(model, rows, max_new_tokens, batch_size)
            if answers is None
            else _tokens_of(model, answers, max_new_tokens)
        )
        reads = [
            _Read(p + a[:-1], len(p) - 1, len(p) - 1 + len(a), True)
            for p, a in zip(rows, said, strict=True)
        ]
        _check_room(model, [len(read.tokens) for read in reads])
    else:
        reads = [_read(row, positions, index) for index, row in enumerate(rows)]
    return _Pass(
        model, sites, label, reads, second_moments, keep_rows, batch_size, batch_tokens, on_read
    ).run(checkpoint, checkpoint_seconds)


@dataclass(frozen=True)
class _Read:
    """The tokens to run and the range of them to read; ``stepped`` tells the tokens apart."""

    tokens: list[int]
    start: int
    end: int
    stepped: bool = False


def _read(tokens: list[int], positions: str | int, index: int) -> _Read:
    if positions == "all":
        return _Read(tokens, 0, len(tokens))
    place = -1 if positions == "last" else int(positions)
    if not -len(tokens) <= place < len(tokens):
        raise CaptureError(
            f"prompt {index} has {len(tokens)} tokens and no position {place}; "
            f"use an index from {-len(tokens)} to {len(tokens) - 1}"
        )
    place %= len(tokens)
    return _Read(tokens, place, place + 1)


class _Enough(Exception):
    """Every site was read: the rest of the model need not run."""


@dataclass(frozen=True)
class _Pass:
    """What to run and what to keep."""

    model: HookedLM
    sites: tuple[Site, ...]
    positions: str
    reads: list[_Read]
    second_moments: bool
    keep_rows: bool
    batch_size: int
    batch_tokens: int
    on_read: Callable[[int], None] | None

    def run(self, checkpoint: str | Path | None, seconds: float) -> Moments:
        order, batches = batches_by_length(
            [len(read.tokens) for read in self.reads], self.batch_size, self.batch_tokens
        )
        total, rows = self._resume(checkpoint)
        if total is not None and total.prompts == len(order):
            return _with_rows(total, rows)
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
                if self.on_read is not None:
                    self.on_read(batch.stop - batch.start)
                assert total is not None
                if checkpoint and batch.stop < len(order) and time.monotonic() - written >= seconds:
                    _with_rows(total, rows).save(checkpoint)
                    written = time.monotonic()
        assert total is not None  # there is at least one batch
        total = _with_rows(total, rows, order)
        if checkpoint:
            total.save(checkpoint)
        return total

    def _batch(self, indices: Sequence[int]) -> tuple[Moments, SiteRows | None]:
        """The moments of one batch, and its rows; ``prompt`` counts within the batch."""
        reads = [self.reads[index] for index in indices]
        batch = self.model.pad([read.tokens for read in reads])
        width = batch.tokens.shape[1]  # padded on the left: token t stands at width - length + t
        cells = [
            (row, width - len(read.tokens) + token, token - read.start if read.stepped else 0)
            for row, read in enumerate(reads)
            for token in range(read.start, read.end)
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
                    raise _Enough

            return read

        hooks = [(site.hook_name, reader(site)) for site in self.sites]
        with torch.no_grad(), forward_under(self.model, hooks) as forward, suppress(_Enough):
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
            prompts=len(reads),
            positions=self.positions,
            model=self.model.name,
            fingerprint=self.fingerprint,
            source=self.source,
        )
        return moments, SiteRows(values, row, position) if self.keep_rows else None

    @cached_property
    def fingerprint(self) -> str:
        """The model's, which it computes anew each time."""
        return self.model.fingerprint

    @cached_property
    def source(self) -> str:
        """What a checkpoint must agree with: everything that bears on the numbers."""
        content = {
            "fingerprint": self.fingerprint,
            "sites": [str(site) for site in self.sites],
            "positions": self.positions,
            "batches": [self.batch_size, self.batch_tokens],
            "reads": [[read.tokens, read.start, read.end] for read in self.reads],
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _resume(self, checkpoint: str | Path | None) -> tuple[Moments | None, list[SiteRows]]:
        if checkpoint is None or not Path(checkpoint).exists():
            return None, []
        found = Moments.load(checkpoint)
        kept = (found.scatter is not None, found.rows is not None)
        if found.source != self.source or kept != (self.second_moments, self.keep_rows):
            raise CaptureError(
                f"{checkpoint} was left by another pass (of {found.model}, positions "
                f"{found.positions}, {len(found.sites)} sites, or in other batches); remove it, or "
                "give another path"
            )
        return replace(found, rows=None), [] if found.rows is None else [found.rows]


def _with_rows(total: Moments, rows: list[SiteRows], order: list[int] | None = None) -> Moments:
    """The moments with all the rows; given the order that prompts were run in, sorted back."""
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


def _checked(model: HookedLM, sites: Sequence[Site]) -> tuple[Site, ...]:
    """The sites, each once and sorted, when the model has all of them."""
    if not sites:
        raise CaptureError("there are no sites to capture; give at least one")
    for site in sites:
        if not isinstance(site, Site):
            raise CaptureError(f"{site!r} is no site; give such as ist.Site('resid_post', 5)")
    return tuple(sorted({site.check(model.n_layers) for site in sites}))


def _check_room(model: HookedLM, lengths: Sequence[int]) -> None:
    if model.max_positions is not None and max(lengths) > model.max_positions:
        raise CaptureError(
            f"prompt {lengths.index(max(lengths))} and its answer may take {max(lengths)} tokens, "
            f"more than the {model.max_positions} that {model.describe()} can read; "
            "lower max_new_tokens, or shorten the prompt"
        )


def _tokens_of(model: HookedLM, answers: Sequence[str], most: int) -> list[list[int]]:
    """The tokens of given answers, at most so many of each."""
    rows = [model.tokenizer(text, add_special_tokens=False)["input_ids"][:most] for text in answers]
    for index, row in enumerate(rows):
        if not row:
            raise CaptureError(f"answer {index} has no tokens; give a text, or drop its prompt")
    return rows


def _greedy(
    model: HookedLM, prompts: list[list[int]], most: int, batch_size: int
) -> list[list[int]]:
    """The model's own greedy answers, the stop token included, decoded with a cache."""
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
