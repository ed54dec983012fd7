"""Wrap a steered model for lm-evaluation-harness."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import CacheHook
from lm_eval.api.registry import register_model
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import (
    handle_stop_sequences,
    normalize_gen_kwargs,
    postprocess_generated_text,
)
from lm_eval.utils import simple_parse_args_string
from torch import Tensor
from tqdm import tqdm

from interp_steer.errors import GenerationError, ModelError, RunError
from interp_steer.generation.engine import DecodingOptions, answer_requests
from interp_steer.generation.inputs import prepare
from interp_steer.generation.ledger import compute_keys
from interp_steer.generation.request import Answer, Request
from interp_steer.generation.sampling import Sampling, draw_uniform
from interp_steer.harness.likelihoods import Likelihood, Pair, compute_likelihoods
from interp_steer.harness.steering import make_intervention, read_vector
from interp_steer.interventions.intervention import Intervention, unsteered
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.loading import load

_log = logging.getLogger(__name__)

OF_THE_MODEL = ("revision", "dtype", "device")
"""Arguments of :func:`interp_steer.load`."""

OF_THE_STEERING = ("layer", "operation", "coefficient", "positions", "schedule")
"""Arguments of :func:`interp_steer.harness.steering.make_intervention` other than ``vector``."""

OF_HF = (
    "max_length",
    "add_bos_token",
    "prefix_token_id",
    "truncation",
    "chat_template_args",
    "enable_thinking",
    "think_end_token",
)
"""Arguments that have the same meaning as for lm-eval's ``hf``."""

_STAMP = "interp_steer"
"""The key of a response cache's owner; lm-eval's own keys are all hexadecimal."""


@register_model("interp_steer")
class SteeredLM(HFLM):
    """A model under an intervention, for ``lm_eval.simple_evaluate`` and its command line.

    The model reads, truncates and stops as lm-eval's ``hf`` does, and without steering gives the
    same numbers. Under steering, each continuation is scored and each answer decoded as a text that
    is being generated, so that step 0 is the last token of its context. The windows of
    ``loglikelihood_rolling`` are such continuations too; each counts its steps from 0.

    Sampling takes ``temperature`` and ``top_p``, and draws by lm-eval's torch seed
    (:func:`interp_steer.generation.sampling.draw_uniform`). Log-likelihoods are computed in
    float32, whatever the type of the weights.

    Args:
        model: the model.
        steering: the intervention.
        batch_size: the rows run together. A batch that does not fit in memory is halved, so that
            ``"auto"`` is the same as ``max_batch_size``.
        max_batch_size: the batch size for ``batch_size="auto"``.
        options: any of :data:`OF_HF`.

    Raises:
        InterventionError: when a direction does not fit the model.
        ModelError: for an option that is not in :data:`OF_HF`.

    Example::

        lm = SteeredLM(model, vector.at(5).add(1.5, "generated"))
        lm_eval.simple_evaluate(model=lm, tasks=["arc_it"])["results"]
    """

    # Attributes that lm-eval's decorator hides from type checkers.
    batch_size: int
    max_length: int
    max_gen_toks: int
    truncation: bool | None
    think_end_token: str | int | None
    tok_batch_encode: Callable[..., tuple[Tensor, Tensor]]

    def __init__(
        self,
        model: HookedLM,
        steering: Intervention = unsteered,
        *,
        batch_size: int | str = 32,
        max_batch_size: int = 64,
        **options: Any,
    ) -> None:
        if unknown := sorted(options.keys() - set(OF_HF)):
            raise ModelError(
                f"{', '.join(unknown)}: unknown to interp_steer; it takes pretrained, vector, "
                f"{', '.join((*OF_THE_MODEL, *OF_THE_STEERING, *OF_HF))}, batch_size and "
                "max_batch_size"
            )
        automatic = str(batch_size).startswith("auto")
        if not automatic and not (str(batch_size).isdigit() and int(batch_size) > 0):
            raise ModelError(f"batch_size is {batch_size!r}; give a number from 1 up, or 'auto'")
        self.applied = prepare(model, ["."], steering, 1)[0].applied
        self.steering = steering
        self.hooked = model.with_own_twin()
        # lm-eval decides where answers end, which is not always where the model would.
        self.hooked.stop_strings = ()
        tokenizer: Any = copy.deepcopy(model.tokenizer)
        if options.get("add_bos_token") is not None:
            tokenizer = model.tokenizer.name_or_path  # adding a token needs a new tokenizer
        # lm-eval warns of models that are passed as objects.
        with _quiet(logging.getLogger(HFLM.__module__)):
            super().__init__(
                self.hooked.plain,  # type: ignore[arg-type]
                revision=model.revision,
                tokenizer=tokenizer,
                batch_size=max_batch_size if automatic else batch_size,
                max_batch_size=max_batch_size,
                **options,
            )
        self._warn_of_what_generation_config_adds()

    @classmethod
    def create_from_arg_string(
        cls, arg_string: str, additional_config: dict | None = None
    ) -> SteeredLM:
        """Make a model from the text of ``--model_args``; see :meth:`create_from_arg_obj`."""
        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: dict[str, Any], additional_config: dict[str, Any] | None = None
    ) -> SteeredLM:
        """Make a model from ``--model_args``.

        Args:
            arg_dict: ``pretrained``, the first argument of :func:`interp_steer.load`, and any of
                ``vector`` (the path of a saved vector), :data:`OF_THE_MODEL`,
                :data:`OF_THE_STEERING`, :data:`OF_HF`, ``batch_size`` and ``max_batch_size``.
            additional_config: more arguments, from lm-eval's own options. None is ignored, and so
                is a GPU that lm-eval asks for on a machine without one.

        Raises:
            ModelError: for a missing ``pretrained``, an unknown argument, or a model that cannot be
                loaded.
            VectorError: when the vector cannot be read.
            InterventionError: for steering without a vector, or steering that is impossible.
        """
        more = {key: value for key, value in (additional_config or {}).items() if value is not None}
        if "device" in arg_dict or not torch.cuda.is_available():
            more = {key: value for key, value in more.items() if not _is_gpu(key, value)}
        given = {**arg_dict, **more}
        if "pretrained" not in given:
            raise ModelError("no pretrained in the model arguments; give pretrained=NAME")
        pretrained, path = str(given.pop("pretrained")), given.pop("vector", None)
        loading = {key: given.pop(key) for key in OF_THE_MODEL if key in given}
        acting = {key: given.pop(key) for key in OF_THE_STEERING if key in given}
        if acting and path is None:
            raise ModelError(
                f"{', '.join(acting)} without a vector; give vector=PATH.safetensors as well"
            )
        steering = unsteered
        if path is not None:
            steering = make_intervention(read_vector(str(path)), **acting)
        return cls(load(pretrained, **loading), steering, **given)

    # ------------------------------------------------------------------ log-likelihood
    def _loglikelihood_tokens(
        self,
        requests: Sequence[tuple[tuple[str, str] | None, list[int], list[int]]],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[tuple[float, bool]]:
        def on_scored(number: int, likelihood: Likelihood) -> None:
            asked = requests[number][0]
            if asked is not None:  # lm-eval caches a window with the other windows of its text
                result = (likelihood.total, likelihood.greedy)
                self.cache_hook.add_partial("loglikelihood", asked, result)

        pairs = [self._fit_to_length(context, answer) for _, context, answer in requests]
        rows = override_bs or self.batch_size
        results = compute_likelihoods(self.hooked, pairs, self.steering, rows, on_scored)
        return [(result.total, result.greedy) for result in results]

    def _fit_to_length(self, context: list[int], continuation: list[int]) -> Pair:
        """Return a pair that fits the model; cut its context from the left."""
        longest = self.max_length
        if not context or not 0 < len(continuation) <= longest:
            raise GenerationError(
                f"a context of {len(context)} tokens and a continuation of {len(continuation)}; "
                f"both need one or more, and the continuation at most {longest}, the length that "
                f"{self.hooked.describe()} is read at"
            )
        # The last token of the continuation is only predicted, and needs no room.
        room = longest + 1 - len(continuation)
        if len(context) > room:
            _log.warning(
                "a context of %d tokens is cut to its last %d: with a continuation of %d the "
                "length is %d",
                *(len(context), room, len(continuation), longest),
            )
        return context[-room:], continuation

    # ------------------------------------------------------------------ generation
    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Answer contexts; see lm-eval's ``hf`` for the meaning of the arguments.

        Raises:
            GenerationError: for generation arguments that interp_steer does not know, or that
                leave no room for the context.
        """
        asked: list[tuple[str, dict[str, Any]]] = [request.args for request in requests]  # type: ignore
        same_arguments: dict[str, list[int]] = {}
        for number, (_, given) in enumerate(asked):
            same_arguments.setdefault(json.dumps(given, sort_keys=True), []).append(number)
        answers: dict[int, str] = {}
        with tqdm(
            total=len(asked), desc="generate_until", unit="answer", disable=disable_tqdm or None
        ) as bar:

            def on_finished(number: int, text: str) -> None:
                answers[number] = text
                self.cache_hook.add_partial("generate_until", asked[number], text)
                bar.update()

            for numbers in same_arguments.values():
                contexts = {number: asked[number][0] for number in numbers}
                self._answer(contexts, asked[numbers[0]][1], on_finished)
        return [answers[number] for number in range(len(asked))]

    def _answer(
        self,
        contexts: Mapping[int, str],
        given: Mapping[str, Any],
        on_finished: Callable[[int, str], object],
    ) -> None:
        """Answer contexts, by number, that have the same generation arguments."""
        asked: dict[str, Any] = dict(normalize_gen_kwargs(dict(given), self.max_gen_toks))
        eos = str(self.tok_decode(self.eot_token_id, skip_special_tokens=False))  # type: ignore
        until = [text for text in handle_stop_sequences(asked.pop("until"), eos=eos) if text]
        n_new = asked.pop("max_gen_toks")
        sampling = _parse_sampling(asked)
        room = self.max_length - n_new
        if room <= 0 or n_new < 1:
            raise GenerationError(
                f"max_gen_toks is {n_new}; give at least 1 and less than {self.max_length}, the "
                f"length that {self.hooked.describe()} is read at"
            )
        numbers = list(contexts)
        prompts = [self._context(contexts[number], room) for number in numbers]
        if empty := [contexts[n] for n, tokens in zip(numbers, prompts, strict=True) if not tokens]:
            raise GenerationError(
                f"the context {empty[0]!r} has no tokens for {self.hooked.describe()}; leave it "
                "out, or give add_bos_token=True"
            )
        uniform = None
        if sampling is not None:
            uniform = draw_uniform(prompts, [self.applied] * len(prompts), n_new, sampling)
        rows = [
            Request(prompt, self.steering, uniform=None if uniform is None else uniform[row])
            for row, prompt in enumerate(prompts)
        ]

        def on_row_finished(row: int, answer: Answer) -> None:
            on_finished(numbers[row], self._text(list(answer.tokens), until))

        answer_requests(
            self._ending_with(until),
            rows,
            DecodingOptions(n_new, sampling, self.batch_size),
            lambda row, answer: any(text in answer for text in until),
            on_row_finished,
        )

    def _context(self, context: str, room: int) -> list[int]:
        tokens, _ = self.tok_batch_encode(
            [context], left_truncate_len=room, truncation=bool(self.truncation)
        )
        return tokens[0].long().tolist()

    def _ending_with(self, until: Sequence[str]) -> HookedLM:
        """Return the model with the end tokens of ``hf``."""
        ends = self.hooked.plain.generation_config.eos_token_id  # type: ignore[union-attr]
        stop_ids = set(ends if isinstance(ends, (list, tuple)) else [ends]) - {None}
        for text in until:
            tokens = self.tokenizer.encode(text, add_special_tokens=False)  # type: ignore
            if len(tokens) == 1 and tokens[0] in self.tokenizer.all_special_ids:  # type: ignore
                stop_ids.add(tokens[0])  # decoded texts do not show a special token
        model = copy.copy(self.hooked)
        model.stop_ids = frozenset(stop_ids)
        return model

    def _text(self, tokens: list[int], until: list[str]) -> str:
        """Return the text of an answer, decoded as ``hf`` decodes it."""
        end = self.think_end_token
        if isinstance(end, int) and end in tokens:
            tokens = tokens[len(tokens) - tokens[::-1].index(end) :]
        text = str(self.tok_decode(tokens))  # type: ignore[arg-type]
        if isinstance(end, int):
            text = text.lstrip()
        return postprocess_generated_text(text, until, end if isinstance(end, str) else None)

    def _warn_of_what_generation_config_adds(self) -> None:
        """Warn of settings that change the logits under ``hf`` but not here."""
        config = self.hooked.plain.generation_config
        idle = {"repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "min_new_tokens": 0}
        acting = {
            name: value
            for name, usual in idle.items()
            if (value := getattr(config, name, None)) not in (None, usual)
        }
        if acting:
            _log.warning(
                "%s asks for %s when it generates; interp_steer decodes without",
                self.hooked.describe(),
                ", ".join(f"{name}={value}" for name, value in acting.items()),
            )

    # ------------------------------------------------------------------ identity
    @property
    def identity(self) -> str:
        """Return a hash of the weights, the steering and the program, 64 hexadecimal digits."""
        (key,) = compute_keys(self.hooked.fingerprint, [()], [self.steering], ["lm-eval"])
        return key

    def get_model_info(self) -> dict[str, Any]:
        """Return the entries of the results about the model and the steering."""
        return {
            "model_num_parameters": self.hooked.plain.num_parameters(),
            "model_dtype": str(self.hooked.dtype),
            "model_revision": self.hooked.revision or "",
            "model_name": self.hooked.name,
            "model_fingerprint": self.hooked.fingerprint,
            "steering": self.applied,
            "identity": self.identity,
        }

    def set_cache_hook(self, cache_hook: CacheHook) -> None:
        """Use the response cache of ``use_cache``, if it belongs to this model and steering.

        The cache identifies requests by their text alone, so that without this check the answers of
        another model or intervention would be returned.

        Raises:
            RunError: when the cache holds answers of another model or steering.
        """
        cache = cache_hook.dbdict
        if cache is not None:
            owner = cache.get(_STAMP)
            if owner is None and len(cache) == 0:
                cache[_STAMP] = {"identity": self.identity, "steering": self.applied}
            elif owner is None or owner["identity"] != self.identity:
                whose = "another model" if owner is None else f"{owner['steering']!r}"
                raise RunError(
                    f"the response cache {cache.filename} holds answers of {whose}, and these "
                    f"would be of {self.applied!r} on {self.hooked.describe()}; give use_cache "
                    "another path"
                )
        super().set_cache_hook(cache_hook)


def _is_gpu(key: str, value: object) -> bool:
    return key == "device" and str(value).startswith("cuda")


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _parse_sampling(asked: dict[str, Any]) -> Sampling | None:
    """Return the sampling of normalised generation arguments; None for greedy decoding."""
    drawn = bool(asked.pop("do_sample", False))
    numbers = {key: asked.pop(key, default) for key, default in _USUAL.items()}
    if asked:
        raise GenerationError(
            f"generation arguments {', '.join(f'{k}={v!r}' for k, v in asked.items())}: "
            "interp_steer takes until, max_gen_toks, do_sample, temperature and top_p"
        )
    if not drawn:
        return None
    return Sampling(**numbers, seed=torch.initial_seed())


_USUAL = {"temperature": 1.0, "top_p": 1.0}
