"""Train adapters on a few questions and answers, with peft.

LoRA is from Hu et al. (2022), prefix tuning from Li and Liang (2021).
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
from interp_steer.models import closing_token


@dataclass(frozen=True)
class Training:
    """Options of training: AdamW on the loss of the tokens of the answers only.

    Raises:
        OptionError: for numbers out of range.
    """

    rate: float
    """Learning rate, constant."""
    epochs: int = 20
    """Maximum number of passes over the examples."""
    patience: int = 2
    """Number of passes without a lower loss on the select examples after which training ends. The
    weights with the lowest loss are kept."""
    batch_size: int = 8
    """Number of examples in a step."""
    seed: int = 0
    """Seed of the adapter's first weights and of the order of the batches."""

    def __post_init__(self) -> None:
        if not (self.rate > 0 and min(self.epochs, self.patience, self.batch_size) > 0):
            raise OptionError(f"{self} cannot train; give numbers above 0 (the seed excepted)")


@dataclass(frozen=True)
class Trained:
    """Losses of a training, one for each epoch, in nats per token of the answers."""

    fit_losses: tuple[float, ...]
    """Loss on the examples, averaged over the steps of the epoch."""
    select_losses: tuple[float, ...]
    """Loss on the select examples, after the epoch."""
    best: int = field(init=False)
    """The epoch whose weights were kept, counted from 0."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "best", self.select_losses.index(min(self.select_losses)))

    @property
    def loss(self) -> float:
        """Return the loss on the select examples, with the weights that were kept."""
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

    The twin and the bridge of a model share their weights. So the merged copy has hook points and
    decodes at full speed, like any other model.

    Args:
        copy: a copy of the model, whose weights are changed.
        fit: the examples to train on.
        select: the examples that stop the training.
        training: the options.
        rank: the rank of the update, which is scaled by 2.

    Raises:
        OptionError: without peft, or without examples.
    """
    peft = _peft()
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", r=rank, lora_alpha=2 * rank, target_modules="all-linear"
    )
    with _set_seed(training.seed):
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
        copy: a copy of the model, whose plain twin peft wraps.
        fit: the examples to train on.
        select: the examples that stop the training.
        training: the options.
        length: the number of positions.

    Raises:
        OptionError: without peft, or without examples.
    """
    peft = _peft()
    config = peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=length)
    with _set_seed(training.seed):
        net = peft.get_peft_model(copy.plain, config)
    trained = _train(net, copy, fit, select, training)
    return Prefixed("prefix tuning", copy, net, stored=_n_trainable(net)), trained


def mean_loss(net: Any, model: ist.HookedLM, exchanges: Sequence[Exchange]) -> float:
    """Return the mean loss per token of answers, including the end token, in nats.

    Args:
        net: a Hugging Face model, or peft's.
        model: the model whose tokenizer and prompt format are used.
        exchanges: questions with the wanted answers.
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
    """Train the weights that require a gradient, and leave the net with the best weights."""
    if not fit or not select:
        raise OptionError(
            f"{len(fit)} examples to fit and {len(select)} to select on; give one or more of each"
        )
    trainable = [weight for weight in net.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(trainable, lr=training.rate)
    rows, select_rows = _rows(model, fit), _rows(model, select)
    rows.sort(
        key=lambda row: len(row[0]) + len(row[1])
    )  # batches of similar length need little padding
    size = training.batch_size
    batches = [rows[at : at + size] for at in range(0, len(rows), size)]
    rng = Random(training.seed)
    best_weights = [weight.detach().clone() for weight in trainable]
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
            select_loss = float(_mean_loss(net, model, select_rows))
        fit_losses.append(sum(steps) / len(steps))
        if select_loss < min(select_losses, default=float("inf")):
            best_weights = [weight.detach().clone() for weight in trainable]
        select_losses.append(select_loss)
        if len(select_losses) - select_losses.index(min(select_losses)) > training.patience:
            break
    with torch.no_grad():
        for weight, best in zip(trainable, best_weights, strict=True):
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
def _set_seed(seed: int) -> Iterator[None]:
    """Set the seed of PyTorch's global generator, from which peft draws an adapter's weights."""
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
