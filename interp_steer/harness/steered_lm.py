"""A steered model as lm-evaluation-harness takes it."""

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
from interp_steer.harness.likelihoods import Likelihood, Pair, likelihoods
from interp_steer.harness.steering import intervention, read_vector
from interp_steer.interventions.intervention import Intervention, unsteered
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.loading import load

_log = logging.getLogger(__name__)

OF_THE_MODEL = ("revision", "dtype", "device")
"""Arguments that :func:`interp_steer.load` takes."""

OF_THE_STEERING = ("layer", "operation", "coefficient", "positions", "schedule")
"""Arguments that :func:`interp_steer.harness.steering.intervention` takes, beside ``vector``."""

OF_HF = (
    "max_length",
    "add_bos_token",
    "prefix_token_id",
    "truncation",
    "chat_template_args",
    "enable_thinking",
    "think_end_token",
)
"""Arguments that mean what they mean to lm-eval's ``hf``."""

_STAMP = "interp_steer"
"""Where a response cache keeps whose answers it holds; lm-eval's own keys are all hexadecimal."""


@register_model("interp_steer")
class SteeredLM(HFLM):
    """A model under an intervention, for ``lm_eval.simple_evaluate`` and its command line.

    It reads, truncates and stops as lm-eval's ``hf`` does, and without steering gives its numbers.
    What differs: each continuation is scored, and each answer decoded, as one that is being
    generated, so that step 0 is the last token of its own context. The windows of
    ``loglikelihood_rolling`` are such continuations too, and steps are counted anew in each.

    Sampling takes ``temperature`` and ``top_p``, and draws by lm-eval's torch seed
    (:func:`interp_steer.generation.sampling.draw_uniform`); log-likelihoods are taken in float32,
    whatever the weights.

    Args:
        model: the model.
        steering: what acts on it.
        batch_size: rows run together. A batch that does not fit in memory is halved, so that
            ``"auto"`` is the same as `max_batch_size`.
        max_batch_size: for ``batch_size="auto"``.
        options: any of :data:`OF_HF`.

    Raises:
        InterventionError: when a direction does not fit the model.
        ModelError: for an option that is none of :data:`OF_HF`.

    Example:
        >>> lm = SteeredLM(model, vector.at(5).add(1.5, "generated"))
        >>> lm_eval.simple_evaluate(model=lm, tasks=["arc_it"])["results"]  # doctest: +SKIP
    """

    # What lm-eval's decorator hides from type checkers.
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
        # The harness says where answers end, and it is not always where the model would.
        self.hooked.stop_strings = ()
        tokenizer: Any = copy.deepcopy(model.tokenizer)
        if options.get("add_bos_token") is not None:
            tokenizer = model.tokenizer.name_or_path  # such a tokenizer has to be made anew
        with _quiet(
            logging.getLogger(HFLM.__module__)
        ):  # it warns of models that are given as such
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
        """Make one from the text of ``--model_args``; see :meth:`create_from_arg_obj`."""
        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: dict[str, Any], additional_config: dict[str, Any] | None = None
    ) -> SteeredLM:
        """Make one from ``--model_args``.

        Args:
            arg_dict: ``pretrained``, which is whatever :func:`interp_steer.load` takes, and any of
                ``vector`` (the path of a saved vector), :data:`OF_THE_MODEL`,
                :data:`OF_THE_STEERING`, :data:`OF_HF`, ``batch_size`` and ``max_batch_size``.
            additional_config: more of them, as lm-eval's own options give them; None stands for
                nothing, and so does the GPU that lm-eval asks for where there is none.

        Raises:
            ModelError: for no ``pretrained``, an unknown argument, or a model that cannot be
                loaded.
            VectorError: when the vector cannot be read.
            InterventionError: for steering without a vector, or that cannot be done.
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
            steering = intervention(read_vector(str(path)), **acting)
        return cls(load(pretrained, **loading), steering, **given)

    # ------------------------------------------------------------------ log-likelihood
    def _loglikelihood_tokens(
        self,
        requests: Sequence[tuple[tuple[str, str] | None, list[int], list[int]]],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[tuple[float, bool]]:
        def found(number: int, each: Likelihood) -> None:
            asked = requests[number][0]
            if asked is not None:  # a window is kept with the other windows of its text
                self.cache_hook.add_partial("loglikelihood", asked, (each.total, each.greedy))

        pairs = [self._within(context, answer) for _, context, answer in requests]
        each = likelihoods(self.hooked, pairs, self.steering, override_bs or self.batch_size, found)
        return [(one.total, one.greedy) for one in each]

    def _within(self, context: list[int], continuation: list[int]) -> Pair:
        """A pair that fits the model, its context cut from the left."""
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
            GenerationError: for generation arguments that interp_steer does not have, or that
                leave no room for the context.
        """
        asked: list[tuple[str, dict[str, Any]]] = [request.args for request in requests]  # type: ignore
        alike: dict[str, list[int]] = {}
        for number, (_, given) in enumerate(asked):
            alike.setdefault(json.dumps(given, sort_keys=True), []).append(number)
        said: dict[int, str] = {}
        with tqdm(
            total=len(asked), desc="generate_until", unit="answer", disable=disable_tqdm or None
        ) as bar:

            def finished(number: int, text: str) -> None:
                said[number] = text
                self.cache_hook.add_partial("generate_until", asked[number], text)
                bar.update()

            for numbers in alike.values():
                contexts = {number: asked[number][0] for number in numbers}
                self._answer(contexts, asked[numbers[0]][1], finished)
        return [said[number] for number in range(len(asked))]

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
        sampling = _sampling(asked)
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

        def finished(row: int, answer: Answer) -> None:
            on_finished(numbers[row], self._text(list(answer.tokens), until))

        answer_requests(
            self._ending_with(until),
            rows,
            DecodingOptions(n_new, sampling, self.batch_size),
            lambda row, said: any(text in said for text in until),
            finished,
        )

    def _context(self, context: str, room: int) -> list[int]:
        tokens, _ = self.tok_batch_encode(
            [context], left_truncate_len=room, truncation=bool(self.truncation)
        )
        return tokens[0].long().tolist()

    def _ending_with(self, until: Sequence[str]) -> HookedLM:
        """The model, which ends an answer at the tokens at which ``hf`` would."""
        ends = self.hooked.plain.generation_config.eos_token_id  # type: ignore[union-attr]
        found = set(ends if isinstance(ends, (list, tuple)) else [ends]) - {None}
        for text in until:
            tokens = self.tokenizer.encode(text, add_special_tokens=False)  # type: ignore
            if len(tokens) == 1 and tokens[0] in self.tokenizer.all_special_ids:  # type: ignore
                found.add(tokens[0])  # it is not in any text, and cannot be looked for there
        model = copy.copy(self.hooked)
        model.stop_ids = frozenset(found)
        return model

    def _text(self, tokens: list[int], until: list[str]) -> str:
        """The text of an answer, as ``hf`` takes it from the tokens."""
        end = self.think_end_token
        if isinstance(end, int) and end in tokens:
            tokens = tokens[len(tokens) - tokens[::-1].index(end) :]
        text = str(self.tok_decode(tokens))  # type: ignore[arg-type]
        if isinstance(end, int):
            text = text.lstrip()
        return postprocess_generated_text(text, until, end if isinstance(end, str) else None)

    def _warn_of_what_generation_config_adds(self) -> None:
        """Say what ``hf`` would do to the logits of every answer, and interp_steer does not."""
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
        """64 hexadecimal digits that change with the weights, the steering and the program."""
        (found,) = compute_keys(self.hooked.fingerprint, [()], [self.steering], ["lm-eval"])
        return found

    def get_model_info(self) -> dict[str, Any]:
        """What the results say of the model, the steering among it."""
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
        """Take the response cache of ``use_cache``, if it is for this model and steering.

        The cache knows requests by their text alone, so that what one model said, or one model
        under one intervention, would be taken for what another says.

        Raises:
            RunError: when it holds answers of another model or steering.
        """
        held = cache_hook.dbdict
        if held is not None:
            owner = held.get(_STAMP)
            if owner is None and len(held) == 0:
                held[_STAMP] = {"identity": self.identity, "steering": self.applied}
            elif owner is None or owner["identity"] != self.identity:
                whose = "another model" if owner is None else f"{owner['steering']!r}"
                raise RunError(
                    f"the response cache {held.filename} holds answers of {whose}, and these "
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


def _sampling(asked: dict[str, Any]) -> Sampling | None:
    """How tokens are drawn, from normalized generation arguments; None for greedily."""
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
