"""Hold a causal language model with hook points, its tokenizer and its prompt format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property, partial
from itertools import islice
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from interp_steer.arguments import check_list
from interp_steer.errors import ModelError, SiteError
from interp_steer.models import plain_twin
from interp_steer.models.backends.bridge import WrappedBridge
from interp_steer.models.backends.protocol import Wrapped
from interp_steer.models.basis import check_basis
from interp_steer.models.batching import PaddedBatch
from interp_steer.models.prompts import PromptFormat, Query, check_text, pad_id, stop_ids, token_ids
from interp_steer.models.sites import COMPONENTS, Site

Hooks: TypeAlias = list[tuple[str, Callable[..., Any]]]
"""TransformerLens' ``fwd_hooks``: names of hook points, each with its ``fn(tensor, hook)``."""

TOKENIZED_AT_ONCE = 256
"""The number of prompts that are tokenised at a time."""


@runtime_checkable
class Steering(Protocol):
    """An object that stands for forward hooks, such as an intervention."""

    def fwd_hooks(self) -> Hooks:
        """Return the hooks, in the form of TransformerLens' ``run_with_hooks``."""
        ...


class HookedLM:
    """A causal language model whose activations can be read and written at its sites.

    :func:`interp_steer.load` and :func:`interp_steer.wrap` make it.

    Attributes:
        wrapped: the TransformerLens model, behind the interface of its kind.
        tokenizer: the checkpoint's own tokenizer.
        name: the name under which the model was loaded.
        revision: the commit on the Hugging Face hub; None for a folder.
        prompt_format: the format that turns queries into prompts.
        stop_ids: tokens that end an answer.
        stop_strings: texts that end an answer.
        pad_id: the token written at masked positions; never a stop token.

    Example:
        >>> model = ist.load("burattino-instruct")
        >>> model.describe()
        'burattino-instruct (8 layers, d_model 160)'
    """

    def __init__(
        self,
        wrapped: Wrapped,
        tokenizer: PreTrainedTokenizerBase,
        *,
        name: str,
        revision: str | None = None,
        prompt_format: PromptFormat | str | Callable[[Any], str] | None = None,
    ) -> None:
        self.wrapped = wrapped
        self.tokenizer = tokenizer
        self.name = name
        self.revision = revision
        self.prompt_format = (
            PromptFormat.for_tokenizer(tokenizer)
            if prompt_format is None
            else PromptFormat.of(prompt_format)
        )
        self.stop_ids: frozenset[int] = stop_ids(wrapped, tokenizer, self.prompt_format)
        self.stop_strings: tuple[str, ...] = self.prompt_format.stop_strings
        self.pad_id = pad_id(wrapped, tokenizer, self.stop_ids)

    # ------------------------------------------------------------------ what is wrapped
    @property
    def bridge(self) -> Any:
        """Return the ``TransformerBridge``, or the ``HookedTransformer`` of TransformerLens 3.9.

        Both have hook points, ``run_with_hooks`` and ``run_with_cache``.
        """
        return self.wrapped.root

    @property
    def has_twin(self) -> bool:
        """Check whether the model has a :attr:`plain` twin."""
        return self.wrapped.twin is not None

    @property
    def plain(self) -> PreTrainedModel:
        """Return the plain Hugging Face model, the twin of the bridge.

        The twin shares every parameter with the bridge and runs faster. When the model is loaded,
        the two are checked to be equal.

        Raises:
            ModelError: for a ``HookedTransformer``, which has no twin.
        """
        if self.wrapped.twin is None:
            raise ModelError(
                f"{self.describe()} is a {type(self.bridge).__name__}, which has no plain Hugging "
                "Face twin; for work that needs a twin (compiled decoding, lm-eval, adapters, "
                "export) load its checkpoint with interp_steer.load"
            )
        return self.wrapped.twin

    @property
    def basis(self) -> str:
        """Return the basis of the weights: ``"unprocessed"``, or the steps of TransformerLens'
        processing (:mod:`interp_steer.models.basis`)."""
        return self.wrapped.basis

    # ------------------------------------------------------------------ shape and identity
    @property
    def n_layers(self) -> int:
        """Return the number of blocks."""
        return int(self.bridge.cfg.n_layers)

    @property
    def d_model(self) -> int:
        """Return the width of the residual stream."""
        return int(self.bridge.cfg.d_model)

    @property
    def n_heads(self) -> int:
        """Return the number of query heads in a block."""
        return int(self.bridge.cfg.n_heads)

    @property
    def d_head(self) -> int:
        """Return the width of a head; not always ``d_model / n_heads``."""
        return int(self.bridge.cfg.d_head)

    @property
    def d_vocab(self) -> int:
        """Return the number of predicted tokens, including tokens unknown to the tokenizer."""
        return int(self.bridge.cfg.d_vocab)

    @property
    def device(self) -> torch.device:
        """Return the device that token ids have to be on."""
        return self.wrapped.device

    @property
    def dtype(self) -> torch.dtype:
        """Return the floating type of the weights."""
        return self.wrapped.dtype

    @property
    def max_positions(self) -> int | None:
        """Return the longest sequence that the checkpoint's configuration allows, in tokens."""
        return self.wrapped.max_positions

    @property
    def fingerprint(self) -> str:
        """Compute 16 hexadecimal digits that change with any weight or with the configuration.

        They are computed at each call, so that they always belong to the present weights; this
        takes seconds for a large model (see
        :func:`interp_steer.models.fingerprint.fingerprint_of`). The fingerprint of a
        ``HookedTransformer`` differs from that of the checkpoint that it was converted from.
        """
        return self.wrapped.fingerprint()

    def describe(self) -> str:
        """Return the name and shape of the model, as in error messages."""
        return f"{self.name} ({self.n_layers} layers, d_model {self.d_model})"

    def __repr__(self) -> str:
        return f"HookedLM({self.describe()}, {self.dtype}, {self.device})"

    # ------------------------------------------------------------------ sites
    def sites(
        self, component: str = "resid_post", layers: Sequence[int] | None = None
    ) -> tuple[Site, ...]:
        """Return the sites of a component, one per layer.

        Args:
            component: one of :data:`~interp_steer.models.sites.COMPONENTS`.
            layers: the layers; all when not given.

        Raises:
            SiteError: for an unknown component, or a layer that the model does not have.
        """
        chosen = range(self.n_layers) if layers is None else layers
        if not isinstance(chosen, Sequence) or isinstance(chosen, str):
            raise SiteError(f"layers is {layers!r}; give a list of layers, such as [{layers}]")
        return tuple(Site(component, layer).check(self.n_layers) for layer in chosen)

    def module_of(self, site: Site) -> tuple[nn.Module, str]:
        """Find a site on :attr:`plain`: a module, and ``"input"`` or ``"output"``.

        ``resid_post`` is a block's output and ``z`` the input of the output projection; on
        Gemma-2 ``attn_out`` and ``mlp_out`` are the outputs of the norms that follow.

        Raises:
            SiteError: when the layer is out of range or the architecture lacks the site.
            ModelError: when the model has no twin.
        """
        return plain_twin.module_of(self.bridge, self.plain, site.check(self.n_layers))

    @contextmanager
    def steered(self, *steering: Steering | Hooks) -> Iterator[Any]:
        """Run :attr:`bridge` under steering; the hooks are removed afterwards, also after an error.

        Args:
            steering: interventions, other objects with ``fwd_hooks()``, or lists of hooks; applied
                in order.

        Yields:
            :attr:`bridge`.

        Raises:
            SiteError: for a hook point that the model does not have.
            BasisError: for interventions that were read from weights in another basis.

        Example:
            >>> tokens = model.pad(model.tokenize(prompts[:1])).tokens
            >>> with model.steered(vector.at(5).project()) as bridge:
            ...     logits = bridge(tokens)
        """
        self._check_bases(steering)
        hooks = [hook for each in steering for hook in _list_hooks(each)]
        for name, _ in hooks:
            if name not in self._hook_points:
                raise SiteError(
                    f"{self.describe()} has no hook point {name!r}; layers run from 0 to "
                    f"{self.n_layers - 1}, and a Site writes the name for you"
                )
        with self.bridge.hooks(fwd_hooks=hooks):
            yield self.bridge

    @contextmanager
    def steered_plain(self, *steering: Steering | Hooks) -> Iterator[PreTrainedModel]:
        """Run :attr:`plain` under the same steering: the same functions at the same places.

        The functions receive the same arguments as on the bridge: the activation (``z`` per head),
        and ``hook``, the bridge's hook point of that name.

        Args:
            steering: as for :meth:`steered`, at the components in
                :data:`~interp_steer.models.sites.COMPONENTS`.

        Yields:
            The plain model.

        Raises:
            SiteError: for a hook point that is not a site of this model.
            ModelError: when the model has no twin.
            BasisError: for interventions that were read from weights in another basis.
        """
        plain = self.plain
        self._check_bases(steering)
        with ExitStack() as stack:
            for intervention in steering:
                for name, function in _list_hooks(intervention):
                    if name not in self._sites_by_hook:
                        raise SiteError(
                            f"{name!r} is not a site of {self.describe()}; the plain model can be "
                            f"steered at {', '.join(COMPONENTS)} of layers 0 to {self.n_layers - 1}"
                        )
                    site, (module, side) = self._sites_by_hook[name]
                    edit = partial(function, hook=self._hook_points[name])
                    n_heads = self.n_heads if site.component == "z" else None
                    stack.callback(plain_twin.write_at(module, side, edit, n_heads).remove)
            yield plain

    def _check_bases(self, steering: Sequence[Steering | Hooks]) -> None:
        for intervention in steering:
            for basis in getattr(intervention, "bases", ()):  # plain hooks do not record a basis
                check_basis(basis, str(intervention), self.basis, self.describe())

    def with_own_twin(self) -> HookedLM:
        """Return the same model with another :attr:`plain`, which has no hooks of other users.

        Both models share the weights and the bridge.

        Raises:
            ModelError: when the model has no twin.
        """
        return HookedLM(
            WrappedBridge(self.bridge, plain_twin.twin_of(self.plain)),
            self.tokenizer,
            name=self.name,
            revision=self.revision,
            prompt_format=self.prompt_format,
        )

    @cached_property
    def _hook_points(self) -> dict[str, Any]:
        return dict(self.bridge.hook_dict)  # the bridge builds it again at each access

    @cached_property
    def _sites_by_hook(self) -> dict[str, tuple[Site, tuple[nn.Module, str]]]:
        sites = [site for component in COMPONENTS for site in self.sites(component)]
        return {site.hook_name: (site, self.module_of(site)) for site in sites}

    @property
    def has_hooks(self) -> bool:
        """Check whether a hook point of the bridge has hooks at this moment."""
        return any(point.fwd_hooks for point in self._hook_points.values())

    # ------------------------------------------------------------------ prompts and tokens
    def render(self, query: Query, system: str | None = None) -> str:
        """Return the prompt for a query: the exact text that the model reads.

        Args:
            query: a text, or the turns of a chat. Where the last turn is the assistant's, the model
                continues it.
            system: a system message.

        Raises:
            ModelError: when the prompt format or the chat template refuses the query.
        """
        return self.prompt_format.render(self.tokenizer, query, system)

    def tokenize(self, prompts: Sequence[Query]) -> list[list[int]]:
        """Render queries and tokenise them.

        A prompt has exactly one BOS when the tokenizer, the template or both write a BOS, and no
        BOS otherwise.

        Args:
            prompts: queries, not yet rendered.

        Returns:
            Token ids, a row per prompt, not padded.

        Raises:
            ModelError: for an empty list of prompts, an empty prompt, a prompt with half a
                character in it, or a prompt longer than the model's context.
        """
        check_list("prompts", prompts, ModelError)
        if len(prompts) == 0:
            raise ModelError("the list of prompts is empty; give at least one")
        return self.tokenize_rendered(self.render(prompt) for prompt in prompts)

    def tokenize_rendered(self, texts: Iterable[str]) -> list[list[int]]:
        """Turn rendered prompts into token ids, as :meth:`tokenize` does.

        Args:
            texts: the exact texts that the model reads, as :meth:`render` returns them.

        Returns:
            Token ids, a row per text, not padded.

        Raises:
            ModelError: as :meth:`tokenize`, except for an empty list.
        """
        check_list("texts", texts, ModelError)
        rows: list[list[int]] = []
        remaining = iter(texts)
        # A tokenizer holds far more than the ids of the texts that it is given, so it is given a
        # few texts at once.
        while batch := list(islice(remaining, TOKENIZED_AT_ONCE)):
            start = len(rows)
            for index, text in enumerate(batch, start):
                check_text(text, index)
            batch_ids = self.tokenizer(
                batch,
                add_special_tokens=False,
                return_attention_mask=False,
                return_token_type_ids=False,
            )["input_ids"]
            rows += [self._one_bos(list(row), index) for index, row in enumerate(batch_ids, start)]
        return rows

    def _one_bos(self, row: list[int], index: int) -> list[int]:
        bos = token_ids(self.tokenizer.bos_token_id)
        while bos and row[:2] == bos * 2:
            row = row[1:]
        if self._adds_bos and row[:1] != bos:
            row = bos + row
        if not row:
            raise ModelError(f"prompt {index} has no tokens; write something in it")
        if self.max_positions is not None and len(row) > self.max_positions:
            raise ModelError(
                f"prompt {index} has {len(row)} tokens, more than the {self.max_positions} that "
                f"{self.describe()} can read; shorten it"
            )
        return row

    @cached_property
    def _adds_bos(self) -> bool:
        # A text is tokenised to find out, as tokenizers disagree with their own add_bos_token.
        bos = self.tokenizer.bos_token_id
        return bos is not None and self.tokenizer("a")["input_ids"][:1] == [bos]

    def pad(self, rows: Sequence[Sequence[int]]) -> PaddedBatch:
        """Stack rows of token ids, padded on the left, on the model's device.

        Raises:
            ModelError: for an empty list of rows, or an empty row.
        """
        if len(rows) == 0 or any(len(row) == 0 for row in rows):
            empty = [index for index, row in enumerate(rows) if len(row) == 0]
            raise ModelError(
                f"cannot pad {len(rows)} rows"
                + (f", empty at {empty}" if empty else "")
                + "; give at least one, each with a token"
            )
        width = max(len(row) for row in rows)
        tokens = torch.full((len(rows), width), self.pad_id, dtype=torch.long)
        mask = torch.zeros((len(rows), width), dtype=torch.bool)
        for index, row in enumerate(rows):
            tokens[index, width - len(row) :] = torch.tensor(list(row), dtype=torch.long)
            mask[index, width - len(row) :] = True
        return PaddedBatch(tokens.to(self.device), mask.to(self.device))

    def decode(self, ids: Sequence[int] | Int[Tensor, " pos"]) -> str:
        """Return the text of token ids, without special tokens."""
        tokens = [int(token) for token in ids]
        text = self.tokenizer.decode(
            tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return str(text)


def _list_hooks(steering: Steering | Hooks) -> Hooks:
    """Return the hooks that a steering stands for; a list of hooks stands for itself."""
    return steering if isinstance(steering, list) else steering.fwd_hooks()
