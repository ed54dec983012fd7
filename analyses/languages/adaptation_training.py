"""Adapters that are trained on a few questions and answers, by peft.

LoRA is Hu et al. (2022), prefix tuning Li and Liang (2021).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

import interp_steer as ist
from analyses.languages.adaptation_models import (
    Exchange,
    Prefixed,
    Prompted,
    Row,
    answer_ids,
    answer_logprobs,
)
from interp_steer.errors import OptionError
from interp_steer.models.prompts import closing_token


@dataclass(frozen=True)
class Training:
    """How adapters are trained: AdamW on the loss of the answers' tokens alone.

    Raises:
        OptionError: for numbers out of range.
    """

    rate: float
    """Learning rate, the same throughout."""
    epochs: int = 20
    """At most so many passes over the examples."""
    patience: int = 2
    """Passes without a lower loss on the select examples after which training ends; the weights of
    the lowest are kept."""
    batch_size: int = 8
    """Examples in a step."""
    seed: int = 0
    """Of the adapter's first weights and of the order of the batches."""

    def __post_init__(self) -> None:
        if not (self.rate > 0 and min(self.epochs, self.patience, self.batch_size) > 0):
            raise OptionError(f"{self} cannot train; every number but the seed must be above 0")


@dataclass(frozen=True)
class Trained:
    """What a training came to; losses are in nats a token of the answers, one for each epoch."""

    fit_losses: tuple[float, ...]
    """On the examples, in the mean over the epoch's steps."""
    select_losses: tuple[float, ...]
    """On the select examples, after the epoch."""
    best: int = field(init=False)
    """The epoch whose weights were kept, from 0."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "best", self.select_losses.index(min(self.select_losses)))

    @property
    def loss(self) -> float:
        """On the select examples, of the weights that were kept."""
        return self.select_losses[self.best]


def lora(
    copy: ist.HookedLM,
    fit: Sequence[Exchange],
    select: Sequence[Exchange],
    training: Training,
    *,
    rank: int = 8,
) -> tuple[Prompted, Trained]:
    """Train a low-rank update of every linear layer of the blocks, and merge it.

    The twin and the bridge of a model share their weights, so that the merged copy has hook points
    and decodes at full speed, as any other model.

    Args:
        copy: a model of one's own: its weights are changed.
        fit: what is trained on.
        select: what training is stopped on.
        training: how.
        rank: of the update; it is scaled by 2.

    Raises:
        OptionError: without peft, or without examples.
    """
    peft = _peft()
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", r=rank, lora_alpha=2 * rank, target_modules="all-linear"
    )
    with _seeded(training.seed):
        net = peft.get_peft_model(copy.plain, config)
    trained = _train(net, copy, fit, select, training)
    stored = _n_trainable(net)
    net.merge_and_unload()
    return Prompted("lora", copy, stored=stored), trained


def prefix_tuning(
    copy: ist.HookedLM,
    fit: Sequence[Exchange],
    select: Sequence[Exchange],
    training: Training,
    *,
    length: int = 8,
) -> tuple[Prefixed, Trained]:
    """Train keys and values that stand before every prompt, at every layer.

    Args:
        copy: a model of one's own: peft wraps its plain twin.
        fit: what is trained on.
        select: what training is stopped on.
        training: how.
        length: how many positions.

    Raises:
        OptionError: without peft, or without examples.
    """
    peft = _peft()
    config = peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=length)
    with _seeded(training.seed):
        net = peft.get_peft_model(copy.plain, config)
    trained = _train(net, copy, fit, select, training)
    return Prefixed("prefix tuning", copy, net, stored=_n_trainable(net)), trained


def loss(net: Any, model: ist.HookedLM, exchanges: Sequence[Exchange]) -> float:
    """The mean loss of the tokens of answers, their end included, in nats.

    Args:
        net: a Hugging Face model, or peft's.
        model: its tokenizer and prompt format.
        exchanges: questions with the answers that are wanted.
    """
    rows = _rows(model, exchanges)
    with torch.inference_mode():
        return float(_mean_loss(net, model, rows))


def _train(
    net: Any,
    model: ist.HookedLM,
    fit: Sequence[Exchange],
    select: Sequence[Exchange],
    training: Training,
) -> Trained:
    """Train what of a net requires a gradient, and leave it with the weights that did best."""
    if not fit or not select:
        raise OptionError(f"{len(fit)} examples to fit and {len(select)} to select on; give some")
    trainable = [weight for weight in net.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(trainable, lr=training.rate)
    rows, held = _rows(model, fit), _rows(model, select)
    rows.sort(key=lambda row: len(row[0]) + len(row[1]))  # examples of like length, little padding
    size = training.batch_size
    batches = [rows[at : at + size] for at in range(0, len(rows), size)]
    rng = Random(training.seed)
    kept = [weight.detach().clone() for weight in trainable]
    fit_losses: list[float] = []
    select_losses: list[float] = []
    for _ in range(training.epochs):
        net.train()
        steps = []
        for batch in rng.sample(batches, len(batches)):
            optimiser.zero_grad()
            step = _mean_loss(net, model, batch)
            step.backward()
            optimiser.step()
            steps.append(step.item())
        net.eval()
        with torch.inference_mode():
            now = float(_mean_loss(net, model, held))
        fit_losses.append(sum(steps) / len(steps))
        if now < min(select_losses, default=float("inf")):
            kept = [weight.detach().clone() for weight in trainable]
        select_losses.append(now)
        if len(select_losses) - select_losses.index(min(select_losses)) > training.patience:
            break
    with torch.no_grad():
        for weight, best in zip(trainable, kept, strict=True):
            weight.copy_(best)
            weight.grad = None
    return Trained(tuple(fit_losses), tuple(select_losses))


def _mean_loss(net: Any, model: ist.HookedLM, rows: Sequence[Row]) -> Float[Tensor, ""]:
    return -answer_logprobs(net, model, rows).sum() / sum(len(answer) for _, answer in rows)


def _rows(model: ist.HookedLM, exchanges: Sequence[Exchange]) -> list[Row]:
    prompts = model.tokenize([question for question, _ in exchanges])
    end = closing_token(model.tokenizer, model.prompt_format)
    ending = [min(model.stop_ids) if end is None else end] if model.stop_ids else []
    return [
        (prompt, answer_ids(model, answer) + ending)
        for prompt, (_, answer) in zip(prompts, exchanges, strict=True)
    ]


def _n_trainable(net: Any) -> int:
    return sum(weight.numel() for weight in net.parameters() if weight.requires_grad)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """peft draws an adapter's first weights from PyTorch's global generator."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def _peft() -> Any:
    try:
        import peft
    except ImportError:
        raise OptionError(
            "LoRA and prefix tuning need peft, which is not installed; "
            "pip install 'interp_steer[adapt]', or leave these methods out"
        ) from None
    return peft
