"""The same texts read by two models: activations that go together, row by row."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from interp_steer.arguments import check_list
from interp_steer.capture.activations import capture_moments
from interp_steer.capture.moments import SiteRows
from interp_steer.contrast.pair import SPLITS, Prompt
from interp_steer.errors import TransferError
from interp_steer.generation.completions import generate
from interp_steer.models.basis import UNPROCESSED
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.sites import Site

LayerPairs = tuple[tuple[int, int], ...]
"""Layers that go together, each as (source, target)."""

HELD_OUT = {"select": 0.15, "test": 0.15}
"""The shares of the prompts that penalties are chosen on, and that the fit is reported on."""


@dataclass(frozen=True)
class ModelIdentity:
    """Whose residual stream activations are of."""

    model: str
    fingerprint: str
    n_layers: int
    d_model: int
    revision: str | None = None
    basis: str = UNPROCESSED

    @classmethod
    def of(cls, model: HookedLM) -> ModelIdentity:
        """That of a model."""
        sizes = model.n_layers, model.d_model
        return cls(model.name, model.fingerprint, *sizes, model.revision, model.basis)

    def __str__(self) -> str:
        return f"{self.model} ({self.n_layers} layers, d_model {self.d_model})"


@dataclass(frozen=True, eq=False)
class SharedTexts:
    """What two models make of the same texts: row ``i`` of both is one place in one text.

    Raises:
        TransferError: for rows that do not go together, or fewer than three prompts.
    """

    source: ModelIdentity
    target: ModelIdentity
    component: str
    """One of :data:`interp_steer.models.sites.COMPONENTS`, as wide as the residual stream."""
    position: str
    """Where they were read: ``"last"``, an index, or ``"generated"``."""
    layers: LayerPairs
    """Rising in the target."""
    source_rows: Mapping[int, Float[Tensor, "row d_source"]]
    """By the source's layer."""
    target_rows: Mapping[int, Float[Tensor, "row d_target"]]
    """By the target's layer."""
    prompt: Int64[Tensor, " row"]
    """Which prompt each row is of."""
    data_hash: str
    """Of the texts."""
    seed: int = 0
    """Of the deal of the prompts to fit, select and test."""

    def __post_init__(self) -> None:
        rows = len(self.prompt)
        lengths = {len(each) for each in (*self.source_rows.values(), *self.target_rows.values())}
        if lengths != {rows}:
            raise TransferError(
                f"the activations have {sorted(lengths)} rows and {rows} are numbered by their "
                "prompts; give a row of both models for each place"
            )
        if len(self.prompts) < len(SPLITS):
            raise TransferError(
                f"{self.source} and {self.target} share {len(self.prompts)} prompts; give at least "
                f"{len(SPLITS)}: some to fit on, some to choose on, some to report"
            )

    @property
    def prompts(self) -> list[int]:
        """The numbers of the prompts that have rows."""
        return sorted(set(self.prompt.tolist()))

    def split(self, name: str) -> Bool[Tensor, " row"]:
        """The rows of the prompts that are in a split: ``"fit"``, ``"select"`` or ``"test"``."""
        order = self.prompts
        random.Random(f"shared texts/{self.seed}").shuffle(order)
        sizes = {split: max(1, int(share * len(order))) for split, share in HELD_OUT.items()}
        sizes = {"fit": len(order) - sum(sizes.values())} | sizes
        start = sum(size for split, size in sizes.items() if SPLITS.index(split) < _place(name))
        chosen = torch.tensor(sorted(order[start : start + sizes[name]]))
        return torch.isin(self.prompt, chosen)


def _place(split: str) -> int:
    if split not in SPLITS:
        raise TransferError(f"split {split!r} is unknown; use one of {', '.join(SPLITS)}")
    return SPLITS.index(split)


def capture_pairs(
    source: HookedLM,
    target: HookedLM,
    prompts: Sequence[Prompt],
    *,
    position: str | int = "last",
    component: str = "resid_post",
    layers: Sequence[tuple[int, int]] | None = None,
    answers: Sequence[str] | None = None,
    max_new_tokens: int = 32,
    batch_size: int = 32,
    seed: int = 0,
) -> SharedTexts:
    """Run the same texts through two models.

    Tokenizers may differ. Along answers, places are paired at which both models have read the same
    characters of the answer.

    Args:
        source: the one model.
        target: the other.
        prompts: user-side texts or conversations; each model renders them in its own format.
        position: ``"last"``, the last token of the prompt; an index; or ``"generated"``, the
            positions that emit the tokens of an answer.
        component: one that is as wide as the residual stream.
        layers: pairs of a layer of the source and one of the target; by relative depth when not
            given, a layer of the source for each of the target.
        answers: with ``"generated"``, the answer to each prompt, which both models read; when not
            given the two answer the prompts greedily in turn.
        max_new_tokens: the most tokens of an answer that are read.
        batch_size: the most prompts in a batch.
        seed: of the deal of the prompts to fit, select and test.

    Returns:
        The rows of both, in the models' dtypes, on the CPU.

    Raises:
        TransferError: for a position or component at which two models do not meet, layers that are
            paired twice, or fewer than three prompts.
        SiteError: for a layer that a model does not have.
        CaptureError: for prompts that cannot be read.

    Example:
        >>> texts = read(llama, gemma, prompts, position="generated")   # doctest: +SKIP
    """
    check_list("prompts", prompts, TransferError)
    check_list("answers", answers, TransferError)
    label = "last" if position == -1 else str(position)
    if label == "all":
        raise TransferError(
            "position 'all' counts the tokens of two templates, which do not go together; read at "
            "'last', or along answers at 'generated'"
        )
    if component == "z":
        raise TransferError(
            "the heads of two models at 'z' do not go together; map at resid_post, resid_pre, "
            "attn_out or mlp_out"
        )
    pairs = paired_layers(source, target, component, layers)
    prompts = list(prompts)
    if label == "generated" and answers is None:
        prompts, answers = _answered(source, target, prompts, max_new_tokens, batch_size)
    if len(prompts) < len(SPLITS):
        raise TransferError(
            f"{len(prompts)} prompts have something to be read in both models; give at least "
            f"{len(SPLITS)}, and with 'generated' ones that are answered"
        )
    sides = [
        _Side.of(model, prompts, component, own, position, answers, max_new_tokens, batch_size)
        for model, own in zip((source, target), zip(*pairs, strict=True), strict=True)
    ]
    both = [place for place in sides[0].places if place in sides[1].places]
    said = repr((prompts, answers if answers is None else list(answers), label))
    return SharedTexts(
        source=ModelIdentity.of(source),
        target=ModelIdentity.of(target),
        component=component,
        position=label,
        layers=pairs,
        source_rows=sides[0].at(both),
        target_rows=sides[1].at(both),
        prompt=torch.tensor([prompt for prompt, _ in both]),
        data_hash=hashlib.sha256(said.encode()).hexdigest(),
        seed=seed,
    )


def paired_layers(
    source: HookedLM,
    target: HookedLM,
    component: str = "resid_post",
    layers: Sequence[tuple[int, int]] | None = None,
) -> LayerPairs:
    """The layers that go together, rising in the target.

    By relative depth, which is the share of the blocks that have run, each layer of the target goes
    with the nearest of the source, the deeper of two that are as near.

    Raises:
        TransferError: for no layers, or a layer of the target that is given twice.
        SiteError: for a layer that a model does not have.
    """
    if layers is None:
        run = 0 if component == "resid_pre" else 1
        ratio = source.n_layers / target.n_layers
        layers = [
            (min(source.n_layers - 1, max(0, math.floor((layer + run) * ratio + 0.5) - run)), layer)
            for layer in range(target.n_layers)
        ]
    for pair in layers:
        if not isinstance(pair, Sequence) or len(pair) != 2:
            raise TransferError(
                f"layers has {pair!r}; give pairs (source, target), such as [(3, 4)]"
            )
    pairs = tuple(sorted(layers, key=lambda pair: pair[1]))
    for here, there in pairs:
        Site(component, here).check(source.n_layers)
        Site(component, there).check(target.n_layers)
    mapped = [there for _, there in pairs]
    if not mapped or len(set(mapped)) < len(mapped):
        raise TransferError(
            f"the layers {list(pairs)} go to {mapped} of the target; give at least one pair "
            "(source, target), and each layer of the target once"
        )
    return pairs


def _answered(
    source: HookedLM, target: HookedLM, prompts: list[Prompt], most: int, batch_size: int
) -> tuple[list[Prompt], list[str]]:
    """The prompts that are answered, with the answers, which the two models give in turn."""
    said = [""] * len(prompts)
    for first, model in enumerate((source, target)):
        own = range(first, len(prompts), 2)
        if not own:
            continue
        answers = generate(
            model, [prompts[i] for i in own], max_new_tokens=most, batch_size=batch_size
        )
        for i, answer in zip(own, answers, strict=True):
            said[i] = answer.text
    kept = [i for i, text in enumerate(said) if text.strip()]
    return [prompts[i] for i in kept], [said[i] for i in kept]


@dataclass(frozen=True, eq=False)
class _Side:
    """The rows of one model, and the place in the texts that each is at."""

    rows: SiteRows
    places: dict[tuple[int, str], int]
    """From a prompt, and what was read of the answer to it, to a row."""

    @classmethod
    def of(
        cls,
        model: HookedLM,
        prompts: list[Prompt],
        component: str,
        layers: Sequence[int],
        position: str | int,
        answers: Sequence[str] | None,
        most: int,
        batch_size: int,
    ) -> _Side:
        rows = capture_moments(
            model,
            prompts,
            [Site(component, layer) for layer in layers],
            position,
            answers=answers,
            max_new_tokens=most,
            keep_rows=True,
            batch_size=batch_size,
        ).rows
        assert rows is not None
        read = [""] * len(rows.prompt)
        if answers is not None:
            said = [
                model.tokenizer(text, add_special_tokens=False)["input_ids"] for text in answers
            ]
            read = [
                model.decode(said[prompt][:step])
                for prompt, step in zip(rows.prompt.tolist(), rows.position.tolist(), strict=True)
            ]
        places = zip(rows.prompt.tolist(), read, strict=True)
        return cls(rows, {place: row for row, place in enumerate(places)})

    def at(self, places: Sequence[tuple[int, str]]) -> dict[int, Float[Tensor, "row d"]]:
        """The rows at some places, by layer."""
        chosen = torch.tensor([self.places[place] for place in places], dtype=torch.int64)
        return {site.layer: values[chosen] for site, values in self.rows.values.items()}
