"""Load a checkpoint, or take a TransformerLens model, as a :class:`HookedLM`."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformer_lens.model_bridge import TransformerBridge
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from interp_steer.errors import ModelError
from interp_steer.models import bundled
from interp_steer.models.backends.bridge import WrappedBridge
from interp_steer.models.backends.hooked_transformer import (
    WrappedTransformer,
    is_hooked_transformer,
)
from interp_steer.models.batching import PaddedBatch
from interp_steer.models.hooked_lm import HookedLM, Steering
from interp_steer.models.plain_twin import rebuilt_twin, twin_of, use_fast_attention
from interp_steer.models.prompts import PromptFormat
from interp_steer.models.self_check import check_both_paths
from interp_steer.storage.bounded import read_json

__all__ = [
    "HookedLM",
    "PaddedBatch",
    "PromptFormat",
    "Steering",
    "check_model",
    "load",
    "wrap",
]


def load(
    name_or_path: str | os.PathLike[str],
    *,
    revision: str | None = None,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    device_map: str | Mapping[str, Any] | None = None,
    prompt_format: PromptFormat | str | Callable[[Any], str] | None = None,
    check: bool = True,
) -> HookedLM:
    """Load a causal language model with its hook points, tokenizer and prompt format.

    Only safetensors are read, and code that comes with a checkpoint is never run.

    Args:
        name_or_path: a bundled model (``"burattino-instruct"``), a Hugging Face name
            (``"google/gemma-2-2b-it"``), or a folder holding a checkpoint.
        revision: a branch, tag or commit on the Hugging Face hub.
        dtype: the weights' floating type; by default the checkpoint's own.
        device: by default the best available device: CUDA, then MPS, then the CPU.
        device_map: used instead of ``device`` for a model that does not fit on a single device:
            ``"auto"``, or the device of each module by name, in the form of Transformers. Every
            weight must be on a device.
        prompt_format: your own: a text with ``{x}`` where the query goes, or a function from the
            query to the prompt. By default the chat template, or ``Q: {x}\\nA:`` without one.
        check: whether to run the self-check
            (:func:`interp_steer.models.self_check.check_both_paths`), which refuses a model that
            would give wrong results.

    Returns:
        The model, in evaluation mode.

    Raises:
        ModelError: for an unknown name, a folder without a checkpoint, a missing tokenizer, an
            architecture that TransformerLens does not know, missing weights, an unavailable device,
            a device together with a device map, a device map that leaves weights on the disk, a
            revision of a folder, or a failed self-check.

    Example:
        >>> model = load("burattino-instruct")
        >>> model.sites("z")[0]
        Site(component='z', layer=0)
    """
    if device is not None and device_map is not None:
        raise ModelError(f"device={device!r} and device_map={device_map!r}; give one of the two")
    chosen_device = _choose_device(device)
    source, name = _locate(name_or_path)
    if revision is not None and Path(source).is_dir():
        raise ModelError(
            f"revision={revision!r} of {source}, a folder, which has none; leave it out, or give "
            "the name of a model on the Hugging Face hub"
        )
    tokenizer = _load_tokenizer(source, name, revision)
    hf_model = _load_weights(source, name, revision, dtype, device_map)
    if device_map is None:
        hf_model = hf_model.to(chosen_device)  # type: ignore[arg-type]
    plain = use_fast_attention(twin_of(hf_model))
    model = HookedLM(
        WrappedBridge(_bridge(hf_model, tokenizer, name), plain),
        tokenizer,
        name=name,
        revision=getattr(plain.config, "_commit_hash", None),
        prompt_format=prompt_format,
    )
    if check:
        check_both_paths(model)
    return model


def wrap(
    model: Any,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    name: str | None = None,
    prompt_format: PromptFormat | str | Callable[[Any], str] | None = None,
    check: bool = True,
) -> HookedLM:
    """Wrap a ``TransformerBridge`` or a ``HookedTransformer`` that you already have.

    A ``HookedTransformer`` (TransformerLens 3.9) has no Hugging Face twin. So capture and
    generation run through its hook points, with TransformerLens' own key-value cache, which is
    slower. The self-check can only check that the model agrees with itself, and not that its
    numbers are those of the checkpoint.

    The weights of a ``HookedTransformer`` are processed, unless
    ``HookedTransformer.from_pretrained_no_processing`` made it. Vectors of processed and of
    unprocessed weights cannot be mixed: see :mod:`interp_steer.models.basis`.

    Args:
        model: a bridge as ``TransformerBridge.boot_transformers`` returns it, or a
            ``HookedTransformer``.
        tokenizer: by default the checkpoint's own tokenizer where its files are available, or else
            the model's tokenizer, to which TransformerLens has added a leading BOS.
        name: the name of the model; by default the name that TransformerLens uses.
        prompt_format: as for :func:`load`.
        check: as for :func:`load`.

    Raises:
        ModelError: for any other object, a bridge that does not wrap a Hugging Face model, a
            missing tokenizer, or a failed self-check.
    """
    transformer = is_hooked_transformer(model)
    if not transformer and not isinstance(model, TransformerBridge):
        raise ModelError(
            f"wrap takes a TransformerBridge or a HookedTransformer, not a {type(model).__name__}; "
            "boot one with TransformerBridge.boot_transformers, or give a name or folder to "
            "interp_steer.load"
        )
    tokenizer = tokenizer or _load_own_tokenizer(model)
    if name is None:
        given = str(model.cfg.model_name)
        name = Path(given).name if Path(given).is_dir() else given
    if transformer:
        wrapped = WrappedTransformer(model, end_ids=_read_end_ids(tokenizer))
        hooked = HookedLM(wrapped, tokenizer, name=name, prompt_format=prompt_format)
    else:
        plain = use_fast_attention(rebuilt_twin(model))
        hooked = HookedLM(
            WrappedBridge(model, plain),
            tokenizer,
            name=name,
            revision=getattr(plain.config, "_commit_hash", None),
            prompt_format=prompt_format,
        )
    if check:
        check_both_paths(hooked)
    return hooked


def check_model(model: object) -> None:
    """Check that an object is a model of this library.

    Raises:
        ModelError: for any other object, with its type.
    """
    if not isinstance(model, HookedLM):
        raise ModelError(
            f"{model!r:.80} is not a model but a {type(model).__name__}; give the result of "
            "ist.load(...) or ist.wrap(...)"
        )


def _locate(name_or_path: str | os.PathLike[str]) -> tuple[str, str]:
    """Return the source from which a model is loaded, and its name."""
    if not isinstance(name_or_path, (str, os.PathLike)) or not str(name_or_path).strip():
        raise ModelError(f"{name_or_path!r} names no model; {_WAYS}")
    text = os.fspath(name_or_path)
    if text in bundled.BUNDLED_NAMES:
        folder = bundled.bundled_path(text)
        if not (folder / "config.json").is_file():
            raise ModelError(
                f"the weights of the bundled model {text} are not at {folder}; reinstall "
                f"interp_steer, or train it: python -m interp_steer.burattino.train {text} "
                f"--folder {folder.parent}"
            )
        return str(folder), text
    folder = Path(text).expanduser()
    try:
        exists = folder.exists()
    except OSError as error:  # for instance a name that is too long for a path
        raise ModelError(f"{text[:80]!r} names no model ({error.strerror}); {_WAYS}") from error
    if exists:
        if not (folder / "config.json").is_file():
            raise ModelError(
                f"{folder} is not a checkpoint: config.json is missing; give the folder that "
                "save_pretrained wrote, with config.json, *.safetensors and the tokenizer's files"
            )
        read_json(folder / "config.json", ModelError)  # refuses an unreadable file early
        return str(folder), folder.resolve().name
    if text.startswith((".", "~", os.sep)) or text.count("/") > 1:
        raise ModelError(f"the folder {text!r} does not exist; {_WAYS}")
    return text, text


_WAYS = (
    f"give a bundled model ({', '.join(bundled.BUNDLED_NAMES)}), a Hugging Face name such as "
    "'google/gemma-2-2b-it', or the path of a folder with a checkpoint"
)


def _choose_device(given: torch.device | str | None) -> torch.device:
    """Return the given device, or the best available device."""
    if given is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    available = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    try:
        device = torch.device(given)
    except (RuntimeError, TypeError):
        device = None
    if device is None or (device.index or 0) >= available.get(device.type, math.inf):
        cuda = (f"cuda:{number}" for number in range(available["cuda"]))
        known = ", ".join(["cpu", *cuda, *["mps"] * available["mps"]])
        raise ModelError(f"device {given!r} is not available; use one of {known}")
    return device


def _load_tokenizer(source: str, name: str, revision: str | None) -> PreTrainedTokenizerBase:
    local = Path(source).is_dir()
    try:
        return AutoTokenizer.from_pretrained(source, revision=revision, trust_remote_code=False)
    except Exception as error:  # the loaders raise errors of many types
        if local:
            raise ModelError(
                f"{source} has no tokenizer that can be read ({_first_line(error)}); save one "
                "next to the weights with tokenizer.save_pretrained(folder)"
            ) from error
        raise _unreachable(name, revision, error) from error


def _load_weights(
    source: str,
    name: str,
    revision: str | None,
    dtype: torch.dtype | str | None,
    device_map: str | Mapping[str, Any] | None,
) -> PreTrainedModel:
    local = Path(source).is_dir()
    known = not isinstance(dtype, str) or isinstance(getattr(torch, dtype, None), torch.dtype)
    if not known and dtype != "auto":
        raise ModelError(f"dtype {dtype!r} is unknown; use float32, bfloat16 or float16")
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            source,
            revision=revision,
            dtype="auto" if dtype is None else dtype,
            device_map=device_map,
            use_safetensors=True,
            trust_remote_code=False,
            attn_implementation="eager",  # as the bridge computes, so that the two can be equal
            output_loading_info=True,
        )
    except Exception as error:
        if local:
            reason = _first_line(error)
            if "ignore_mismatched_sizes" in reason:
                reason = "its weights have other shapes than its config.json states"
            raise ModelError(
                f"{source} cannot be loaded as a causal language model ({reason}); "
                "it needs config.json and whole *.safetensors files (pickled weights are not "
                "read: load them with transformers once and save_pretrained them)"
            ) from error
        raise _unreachable(name, revision, error) from error
    hf_model, report = loaded
    missing = sorted(report["missing_keys"])
    if missing:  # Transformers would fill them with random numbers, with a warning
        raise ModelError(
            f"{source} lacks {len(missing)} weights of its model, such as {missing[0]}; "
            "save the whole model with save_pretrained"
        )
    elsewhere = sorted(key for key, tensor in hf_model.named_parameters() if tensor.is_meta)
    if elsewhere:
        raise ModelError(
            f"device_map={device_map!r} leaves {len(elsewhere)} weights of {name} off its devices, "
            f"such as {elsewhere[0]}; give it more devices, or a smaller dtype"
        )
    return hf_model.eval()


def _bridge(
    hf_model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str
) -> TransformerBridge:
    # The bridge changes its tokenizer, so it gets a copy. The copy is marked as adding BOS, as
    # TransformerLens would otherwise load the tokenizer again by name, and not at our revision.
    copied = copy.deepcopy(tokenizer)
    copied.init_kwargs.setdefault("name_or_path", name)
    copied.init_kwargs["add_bos_token"] = True
    try:
        return TransformerBridge.boot_transformers(
            name, hf_model=hf_model, tokenizer=copied, device=hf_model.device, dtype=hf_model.dtype
        )
    except Exception as error:
        raise ModelError(
            f"TransformerLens cannot wrap {name}, a {type(hf_model).__name__} "
            f"({_first_line(error)}); use an architecture that it supports "
            "(transformer_lens.supported_models)"
        ) from error


def _load_own_tokenizer(model: Any) -> PreTrainedTokenizerBase:
    held = model.tokenizer
    if held is None:
        raise ModelError("the model has no tokenizer; pass one as wrap(model, tokenizer=...)")
    try:
        return AutoTokenizer.from_pretrained(held.name_or_path, local_files_only=True)
    except Exception:  # its files do not exist (any more), so the model's copy is used
        return copy.deepcopy(held)


def _read_end_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[Any, ...]:
    """Return the end tokens of the generation configuration in the folder of a tokenizer."""
    try:
        config = GenerationConfig.from_pretrained(tokenizer.name_or_path, local_files_only=True)
    except Exception:  # without such a file, EOS and the end of the chat template end an answer
        return ()
    return (config.eos_token_id,)


def _unreachable(name: str, revision: str | None, error: Exception) -> ModelError:
    at = f" at revision {revision!r}" if revision else ""
    return ModelError(
        f"{name!r}{at} is neither a bundled model nor a folder, and the Hugging Face hub could not "
        f"be reached for it or does not have it ({_first_line(error)}); {_WAYS}"
    )


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".")
