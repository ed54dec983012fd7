"""Files of vectors, whatever stands in them, are read whole or refused by name; nothing is run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import interp_steer as ist
from interp_steer.capture.moments import Moments, SiteRows
from interp_steer.errors import InterpSteerError
from interp_steer.harness.steering import read_vector
from interp_steer.models.identity import ModelIdentity
from interp_steer.statistics.intervals import Interval
from interp_steer.storage.tensors import read_tensors, write_tensors
from interp_steer.vectors.card import Card, Reliability
from interp_steer.vectors.steering_vector import SteeringVector
from interp_steer.vectors.stepped_vector import SteppedVector
from interp_steer.vectors.transfer.residual_map import ResidualMap
from interp_steer.vectors.transport import TransportMaps
from tests.support.damage import altered, altered_text, any_bytes, as_bytes, fuzzed, survives
from tests.support.foreign import sound
from tests.support.shapes import shapes_unchecked

pytestmark = pytest.mark.filterwarnings("ignore::interp_steer.errors.InterchangeWarning")

D = 6  # d_model


@pytest.fixture(autouse=True)
def as_users_have_it() -> Iterator[None]:
    """Without the checks of shapes and types that only tests have."""
    with shapes_unchecked():
        yield


# ------------------------------------------------------------------ files of tensors


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def card(**changes: Any) -> Card:
    sure = Reliability((0, 2), 4, (0.9, 0.8), (0.7, 0.6), (0.95, 0.9), (0.8, 0.7), (0.01, 0.02))
    kept: dict[str, Any] = {
        "name": "lowercase", "model": "m", "fingerprint": "f", "n_layers": 3, "d_model": D,
        "component": "resid_post", "position": "last", "estimator": "difference_in_means", "n": 4,
        "data_hash": "h", "versions": {"torch": "2"}, "reliability": sure,
    }  # fmt: skip
    return Card.from_flat(kept | changes)


def vector() -> SteeringVector:
    return SteeringVector(numbers(2, D), numbers(2), (0, 2), card(), numbers(2, D))


def moments() -> Moments:
    sites = [ist.Site("resid_post", 0), ist.Site("z", 1)]
    shapes = {sites[0]: (D,), sites[1]: (2, 3)}
    return Moments(
        count=torch.tensor([2, 1]),
        mean={site: numbers(2, *shape).double() for site, shape in shapes.items()},
        scatter={s: numbers(2, *shape, shape[-1]).double() for s, shape in shapes.items()},
        rows=SiteRows(
            {site: numbers(3, *shape) for site, shape in shapes.items()},
            torch.tensor([0, 0, 1]),
            torch.tensor([0, 1, 0]),
        ),
        prompts=2,
        positions="generated",
        model="m",
        fingerprint="f",
        source="s",
    )


def stream_map() -> ResidualMap:
    return ResidualMap(
        kind="ridge",
        source=ModelIdentity("a", "f", 3, D),
        target=ModelIdentity("b", "g", 2, 4),
        component="resid_post",
        position="last",
        layers=((0, 0), (2, 1)),
        weights=numbers(2, D, 4),
        source_mean=numbers(2, D),
        target_mean=numbers(2, 4),
        n=10,
        data_hash="h",
        quality=(Interval(0.5, 0.4, 0.6, 3, "bootstrap"),) * 2,
        penalties=(0.1, None),
        ranks=(None, 3),
    )


TENSORS: dict[str, tuple[Callable[[], Any], type]] = {
    "SteeringVector": (vector, SteeringVector),
    "SteppedVector": (
        lambda: SteppedVector(
            numbers(4, 2, 2, 3), torch.ones(2, 4, dtype=torch.int64), (0, 2), card(component="z")
        ),
        SteppedVector,
    ),
    "Moments": (moments, Moments),
    "Map": (stream_map, ResidualMap),
    "TransportMaps": (lambda: TransportMaps(vector(), numbers(2, D, D)), TransportMaps),
}


def whole_again(read: Any, made: Any, path: Path) -> None:
    """What was read can be shown, saved, and read back the same."""
    repr(made), str(made)
    made.save(path)
    again = read(path)
    assert type(again) is type(made) and str(again) == str(made)


@pytest.mark.parametrize("kind", TENSORS)
@fuzzed
@given(data=st.data())
def test_bytes_of_a_file_of_tensors(kind: str, data: st.DataObject, tmp_path: Path) -> None:
    make, cls = TENSORS[kind]
    path = tmp_path / "v.safetensors"
    make().save(path)
    path.write_bytes(data.draw(any_bytes(path.read_bytes())))
    found = survives(cls.load, path)
    if kind in ("SteeringVector", "SteppedVector"):
        survives(read_vector, path)
    if found is not None:
        whole_again(cls.load, found, path)


@pytest.mark.parametrize("kind", TENSORS)
@fuzzed
@given(data=st.data())
def test_a_file_of_tensors_that_was_made_to_deceive(
    kind: str, data: st.DataObject, tmp_path: Path
) -> None:
    """Its checksum is right, and what it holds is not."""
    make, cls = TENSORS[kind]
    path = tmp_path / "v.safetensors"
    make().save(path)
    tensors, header = read_tensors(
        path, kind, InterpSteerError, (), integers=("count", "counts", "prompt", "position")
    )
    if data.draw(st.booleans()):
        header = data.draw(altered(header))
    else:
        names = st.lists(st.sampled_from(sorted(tensors)), min_size=1, max_size=2, unique=True)
        for name in data.draw(names):
            tensors |= data.draw(st.sampled_from(others(name, tensors.pop(name))))
            tensors = tensors or {"x": torch.ones(1)}
    try:
        write_tensors(path, kind, tensors, header, InterpSteerError)
    except ValueError:
        return  # what cannot be written need not be read
    found = survives(cls.load, path)
    if found is not None:
        whole_again(cls.load, found, path)


def others(name: str, tensor: torch.Tensor) -> list[dict[str, torch.Tensor]]:
    """What may stand in the place of a tensor."""
    changed = [
        tensor.long(), tensor.double(), tensor.half(), tensor.bool(), tensor.to(torch.complex64),
        tensor.bfloat16(), tensor[:1], tensor[:0], tensor.flatten(), tensor[None], tensor.sum(),
        torch.cat([tensor, tensor]), tensor - 5, torch.full_like(tensor.float(), torch.nan),
        torch.full_like(tensor.float(), torch.inf),
    ]  # fmt: skip
    renamed = ["x", f"{name}/../../x", "mean/resid_post.99", "rows/nothing.1", f"{name}/x"]
    return [{}, *({name: one} for one in changed), *({other: tensor} for other in renamed)]


def test_files_of_tensors_have_bounds(tmp_path: Path) -> None:
    path = tmp_path / "v.safetensors"
    path.write_bytes((2**25).to_bytes(8, "little") + b"{" * 2**25)
    with pytest.raises(ist.InterpSteerError, match=r"header has 33,554,432 bytes, more than"):
        SteeringVector.load(path)
    os.truncate(path, 2**31 + 1)
    for load in (SteeringVector.load, SteppedVector.load):
        with pytest.raises(ist.InterpSteerError, match=r"2,147,483,649 bytes, more than the"):
            load(path)
    os.truncate(path, 2**38 + 1)
    for load in (Moments.load, ResidualMap.load, TransportMaps.load):
        with pytest.raises(ist.InterpSteerError, match=r"bytes, more than the 274,877,906,944"):
            load(path)


# ------------------------------------------------------------------ files of other tools

JSON_FORMATS = ("activation_steering", "vllm_lens")


@pytest.mark.parametrize("format", JSON_FORMATS)
@fuzzed
@given(data=st.data())
def test_a_vector_of_another_tool_in_json(format: str, data: st.DataObject, tmp_path: Path) -> None:
    name, whole, _ = sound(format)
    path = tmp_path / name
    path.write_bytes(as_bytes(data.draw(altered_text(json.loads(whole)))))
    found = survives(lambda path: ist.interchange.read(path, format=format), path)
    survives(ist.interchange.read, path)  # whatever it takes it for
    if found is not None:
        whole_again(SteeringVector.load, found, tmp_path / "again.safetensors")


@fuzzed
@given(data=st.data())
def test_the_metadata_beside_a_direction(data: st.DataObject, tmp_path: Path) -> None:
    name, whole, _ = sound("refusal_direction")
    (tmp_path / name).write_bytes(whole)
    beside = {"pos": -1, "layer": 2, "interp_steer": card().to_flat()}
    text = as_bytes(data.draw(altered_text(beside)))
    (tmp_path / "direction_metadata.json").write_bytes(text)
    survives(ist.interchange.read, tmp_path / name, named=tmp_path)


@pytest.mark.parametrize("format", ["repeng", "llama_cpp", "easysteer", "dialz"])
@fuzzed
@given(data=st.data())
def test_the_card_in_a_gguf_file(format: str, data: st.DataObject, tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    path = tmp_path / "v.gguf"
    said = data.draw(altered_text(card().to_flat()))
    writer = gguf.GGUFWriter(path, "controlvector" if format != "dialz" else "steeringvector")
    writer.add_string("interp_steer.format", data.draw(st.sampled_from([format, "x", ""])))
    writer.add_string("interp_steer.card", said.encode(errors="replace").decode())
    writer.add_tensor("direction.1", numbers(D).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    survives(lambda path: ist.interchange.read(path, format=format), path)
    survives(ist.interchange.read, path)


@pytest.mark.parametrize("suffix", [".gguf", ".pt", ".pth", ".safetensors", ".svec", ".json"])
@fuzzed
@given(content=st.binary(max_size=300))
def test_anything_at_all_is_no_vector(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"v{suffix}"
    path.write_bytes(content)
    assert survives(ist.interchange.read, path) is None
