"""Capture the activations of two models on the same texts, row by row."""

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
from interp_steer.capture.options import DEFAULT_OPTIONS, CaptureOptions
from interp_steer.contrast.pair import SPLITS, Prompt
from interp_steer.errors import TransferError
from interp_steer.generation.completions import generate
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.identity import ModelIdentity
from interp_steer.models.sites import Site

LayerPairs = tuple[tuple[int, int], ...]
"""Layers that are paired, each as (source, target)."""

HELD_OUT = {"select": 0.15, "test": 0.15}
"""The share of the prompts on which penalties are chosen, and the share on which the fit is
reported."""


@dataclass(frozen=True, eq=False)
class SharedTexts:
    """The activations of two models on the same texts: row ``i`` of both is one place in one text.

    Raises:
        TransferError: for rows that do not go together, or fewer than three prompts.
    """

    source: ModelIdentity
    target: ModelIdentity
    component: str
    """The component, one of :data:`interp_steer.models.sites.COMPONENTS` but ``z``."""
    position: str
    """The position that was read: ``"last"``, an index, or ``"generated"``."""
    layers: LayerPairs
    """The paired layers, rising in the target."""
    source_rows: Mapping[int, Float[Tensor, "row d_source"]]
    """The source's activations by its layer."""
    target_rows: Mapping[int, Float[Tensor, "row d_target"]]
    """The target's activations by its layer."""
    prompt: Int64[Tensor, " row"]
    """The number of the prompt of each row."""
    data_hash: str
    """The hash of the texts."""
    seed: int = 0
    """The seed that deals the prompts to the fit, select and test splits. For another deal, use
    ``dataclasses.replace(texts, seed=...)``."""

    def __post_init__(self) -> None:
        n = len(self.prompt)
        lengths = {len(rows) for rows in (*self.source_rows.values(), *self.target_rows.values())}
        if lengths != {n}:
            raise TransferError(
                f"the activations have {sorted(lengths)} rows, and {n} rows are numbered by their "
                "prompts; give a row of both models for each place"
            )
        if len(self.prompts) < len(SPLITS):
            raise TransferError(
                f"{self.source} and {self.target} share {len(self.prompts)} prompts; give at least "
                f"{len(SPLITS)}: some to fit on, some to choose on, some to report"
            )

    @property
    def prompts(self) -> list[int]:
        """Return the numbers of the prompts that have rows."""
        return sorted(set(self.prompt.tolist()))

    def split(self, name: str) -> Bool[Tensor, " row"]:
        """Return which rows are of prompts in a split: ``"fit"``, ``"select"`` or ``"test"``."""
        order = self.prompts
        random.Random(f"shared texts/{self.seed}").shuffle(order)
        sizes = {split: max(1, int(share * len(order))) for split, share in HELD_OUT.items()}
        sizes = {"fit": len(order) - sum(sizes.values())} | sizes
        start = sum(
            size for split, size in sizes.items() if SPLITS.index(split) < _split_index(name)
        )
        chosen = torch.tensor(sorted(order[start : start + sizes[name]]))
        return torch.isin(self.prompt, chosen)


def _split_index(split: str) -> int:
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
    options: CaptureOptions = DEFAULT_OPTIONS,
) -> SharedTexts:
    """Run the same texts through two models.

    The tokenizers may differ. Along answers, places are paired at which both models have read the
    same characters of the answer. There are nine parameters, because two models, their texts, the
    site and the position are chosen independently of one another.

    Args:
        source: the first model.
        target: the second model.
        prompts: user-side texts or conversations; each model renders them in its own format.
        position: ``"last"``, the last token of the prompt; an index; or ``"generated"``, the
            positions that emit the tokens of an answer.
        component: a component that is as wide as the residual stream.
        layers: pairs of a layer of the source and a layer of the target. When not given, each layer
            of the target is paired with the source's layer of the same relative depth.
        answers: with ``"generated"``, the answer to each prompt, which both models read. When not
            given, the two models answer the prompts greedily in turn.
        max_new_tokens: the most tokens of an answer that are read.
        options: batch sizes.

    Returns:
        The rows of both, in the models' dtypes, on the CPU.

    Raises:
        TransferError: for a position or component at which two models do not meet, a layer of the
            target that is paired twice, or fewer than three prompts.
        SiteError: for a layer that a model does not have.
        CaptureError: for prompts that cannot be read.

    Example:
        >>> texts = capture_pairs(model, model, pairs.absent, layers=[(5, 5)])
        >>> texts.source_rows[5].shape[1]
        160
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
    pairs = pair_layers(source, target, component, layers)
    prompts = list(prompts)
    if label == "generated" and answers is None:
        prompts, answers = _answer_in_turn(
            source, target, prompts, max_new_tokens, options.batch_size
        )
    if len(prompts) < len(SPLITS):
        raise TransferError(
            f"{len(prompts)} prompts can be read in both models; give at least {len(SPLITS)}, and "
            "with 'generated', prompts that the models answer"
        )
    sides = [
        _Side.of(
            model,
            prompts,
            [Site(component, layer) for layer in layers_of_model],
            position,
            answers,
            max_new_tokens,
            options,
        )
        for model, layers_of_model in zip((source, target), zip(*pairs, strict=True), strict=True)
    ]
    both = [place for place in sides[0].places if place in sides[1].places]
    content = repr((prompts, answers if answers is None else list(answers), label))
    return SharedTexts(
        source=ModelIdentity.of(source),
        target=ModelIdentity.of(target),
        component=component,
        position=label,
        layers=pairs,
        source_rows=sides[0].at(both),
        target_rows=sides[1].at(both),
        prompt=torch.tensor([prompt for prompt, _ in both]),
        data_hash=hashlib.sha256(content.encode()).hexdigest(),
    )


def pair_layers(
    source: HookedLM,
    target: HookedLM,
    component: str = "resid_post",
    layers: Sequence[tuple[int, int]] | None = None,
) -> LayerPairs:
    """Return the layers that are paired, rising in the target.

    The relative depth of a layer is the share of the blocks that have run. By default each layer of
    the target is paired with the source's layer of the nearest relative depth; of two that are
    equally near, the deeper.

    Raises:
        TransferError: for an empty list of layers, or a layer of the target that is given twice.
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


def _answer_in_turn(
    source: HookedLM, target: HookedLM, prompts: list[Prompt], most: int, batch_size: int
) -> tuple[list[Prompt], list[str]]:
    """Let the two models answer the prompts in turn; return prompts and answers without empty
    answers."""
    texts = [""] * len(prompts)
    for first, model in enumerate((source, target)):
        own = range(first, len(prompts), 2)
        if not own:
            continue
        answers = generate(
            model, [prompts[i] for i in own], max_new_tokens=most, batch_size=batch_size
        )
        for i, answer in zip(own, answers, strict=True):
            texts[i] = answer.text
    answered = [i for i, text in enumerate(texts) if text.strip()]
    return [prompts[i] for i in answered], [texts[i] for i in answered]


@dataclass(frozen=True, eq=False)
class _Side:
    """The rows of one model, and the place in the texts of each row."""

    rows: SiteRows
    places: dict[tuple[int, str], int]
    """The row of each place, which is a prompt and the part of its answer that was read."""

    @classmethod
    def of(
        cls,
        model: HookedLM,
        prompts: list[Prompt],
        sites: Sequence[Site],
        position: str | int,
        answers: Sequence[str] | None,
        most: int,
        options: CaptureOptions,
    ) -> _Side:
        """Run the prompts through one model, and find the place of every row."""
        rows = capture_moments(
            model,
            prompts,
            sites,
            position,
            answers=answers,
            max_new_tokens=most,
            keep_rows=True,
            options=options,
        ).rows
        assert rows is not None
        read = [""] * len(rows.prompt)
        if answers is not None:
            tokens = [
                model.tokenizer(text, add_special_tokens=False)["input_ids"] for text in answers
            ]
            read = [
                model.decode(tokens[prompt][:step])
                for prompt, step in zip(rows.prompt.tolist(), rows.position.tolist(), strict=True)
            ]
        places = zip(rows.prompt.tolist(), read, strict=True)
        return cls(rows, {place: row for row, place in enumerate(places)})

    def at(self, places: Sequence[tuple[int, str]]) -> dict[int, Float[Tensor, "row d"]]:
        """Return the rows at some places, by layer."""
        chosen = torch.tensor([self.places[place] for place in places], dtype=torch.int64)
        return {site.layer: values[chosen] for site, values in self.rows.values.items()}
