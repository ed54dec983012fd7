"""Files from elsewhere that are damaged, foreign or hostile: one of our errors, and nothing run."""

from __future__ import annotations

import base64
import json
import os
import pickle
import re
import struct
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import interp_steer as ist
from interp_steer.errors import InterchangeError, InterchangeWarning, InterpSteerError
from interp_steer.interchange import FORMATS
from interp_steer.interchange.checked_files import LARGEST, LARGEST_TEXT, check_name
from tests.support import foreign
from tests.support.foreign import (
    ONES,
    TWO,
    WIDTH,
    carded,
    entry,
    sound,
    text,
    write_pt,
    write_steer_path,
)

pytestmark = pytest.mark.filterwarnings("ignore::interp_steer.errors.InterchangeWarning")


class Hostile:
    """Pickles as an order to make a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


def svec(path: Path, directions: Any, **more: Any) -> Path:
    return text(path / "v.svec", json.dumps({"directions": directions, **more}))


def archive(path: Path, **entries: Any) -> Path:
    """A torch.save archive with its entries changed: None leaves one out, a tuple adds another."""
    sound = write_pt(path / "sound.pt", TWO)
    with zipfile.ZipFile(sound) as old, zipfile.ZipFile(path / "v.pt", "w") as new:
        for each in old.infolist():
            new.writestr(each.filename, old.read(each), compress_type=entries.get("packing", 0))
        for name in entries.get("names", ()):
            new.writestr(name, b"0")
    return path / "v.pt"


def header(keys: int, tensors: int, rest: bytes = b"") -> bytes:
    return struct.pack("<IIQQ", 0x46554747, 3, tensors, keys) + rest


def string(said: str) -> bytes:
    return struct.pack("<Q", len(said)) + said.encode()


def tensor(name: str, dims: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    sizes = struct.pack(f"<I{len(dims)}Q", len(dims), *dims)
    return string(name) + sizes + struct.pack("<IQ", kind, offset)


def raw_gguf(path: Path, *tensors: bytes, data: int = 64) -> Path:
    found = header(0, len(tensors), b"".join(tensors))
    return text(path / "v.gguf", found + b"\0" * (-len(found) % 32 + data))


def sparse_file(path: Path, size: int) -> Path:
    """Of so many bytes, which take no room on the disk."""
    with open(path, "wb") as opened:
        opened.truncate(size)
    return path


def easysteer(path: Path, said: str) -> Path:
    return foreign.write_gguf(path / "v.gguf", TWO, method="diffmean", texts={"easysteer": said})


def wire(
    path: Path, directions: Any = TWO, packed: dict[str, Any] | None = None, **more: Any
) -> Path:
    """A request of vllm-lens, one of its vectors changed."""
    said = foreign.vllm_lens_object(directions, **more)
    if packed is not None:
        said["activations"] |= packed
    return foreign.write_json(path / "v.json", [said])


def zeros(size: int) -> str:
    """So many zeros, packed."""
    return base64.b64encode(pyarrow.compress(b"\0" * size, "zstd", asbytes=True)).decode()


BAD: dict[str, tuple[Callable[[Path], Path], dict[str, Any], str]] = {
    # ------------------------------------------------------------------ no file, or too large
    "nothing there": (lambda p: p / "v.pt", {}, "regular file|cannot be read"),
    "a folder": (lambda p: (p / "v.pt").mkdir() or p / "v.pt", {}, "regular file"),
    "a device": (
        lambda p: (p / "v.svec").symlink_to("/dev/zero") or p / "v.svec",
        {},
        "regular file",
    ),
    "a name that is no path": (lambda p: Path("a\0b.pt"), {}, "cannot be read|regular file"),
    "a large .pt": (
        lambda p: sparse_file(p / "v.pt", LARGEST + 1),
        {},
        "more than the 536,870,912",
    ),
    "a large .gguf": (lambda p: sparse_file(p / "v.gguf", LARGEST + 1), {}, "more than the"),
    "a large .safetensors": (
        lambda p: sparse_file(p / "v.safetensors", LARGEST + 1),
        {},
        "more than the",
    ),
    "a large .svec": (lambda p: sparse_file(p / "v.svec", LARGEST_TEXT + 1), {}, "more than the"),
    "an empty .pt": (lambda p: text(p / "v.pt", ""), {}, "archive of torch.save"),
    "an empty .gguf": (lambda p: text(p / "v.gguf", ""), {}, "v.gguf is not a GGUF file"),
    "an empty .safetensors": (
        lambda p: text(p / "v.safetensors", ""),
        {},
        "v.safetensors is not a safetensors",
    ),
    "an empty .svec": (lambda p: text(p / "v.svec", ""), {}, "is not JSON"),
    # ------------------------------------------------------------------ archives of torch.save
    "the layout before 1.6": (
        lambda p: torch.save(TWO, p / "v.pt", _use_new_zipfile_serialization=False) or p / "v.pt",
        {},
        "before PyTorch 1.6",
    ),
    "a packed archive": (lambda p: archive(p, packing=8), {}, "compressed entries"),
    "a packed bomb": (
        lambda p: archive(p, packing=zipfile.ZIP_BZIP2),
        {},
        "compressed entries",
    ),
    "an entry above the folder": (
        lambda p: archive(p, names=["archive/../../etc/passwd"]),
        {},
        "lead out of it",
    ),
    "an absolute entry": (lambda p: archive(p, names=["/etc/passwd"]), {}, "lead out of it"),
    "five thousand entries": (
        lambda p: archive(p, names=[f"archive/{n}" for n in range(5000)]),
        {},
        "more than 4096",
    ),
    "another archive": (
        lambda p: zipfile.ZipFile(p / "v.pt", "w").writestr("a", b"b") or p / "v.pt",
        {},
        "no archive|cannot be read",
    ),
    "a view of a trillion": (
        lambda p: write_pt(p / "v.pt", {1: torch.zeros(1).expand(10**12)}),
        {},
        "claims 1,000,000,000,000 numbers",
    ),
    # ------------------------------------------------------------------ what is in them
    "integers": (lambda p: write_pt(p / "v.pt", {1: torch.ones(3).int()}), {}, "a torch.int32"),
    "complex numbers": (
        lambda p: write_pt(p / "v.pt", {1: torch.ones(3, dtype=torch.complex64)}),
        {},
        "a torch.complex64",
    ),
    "a sparse tensor": (lambda p: write_pt(p / "v.pt", {1: ONES.to_sparse()}), {}, "dense tensor"),
    "a tensor that is nowhere": (
        lambda p: write_pt(p / "v.pt", {1: ONES.to("meta")}),
        {},
        "dense tensor",
    ),
    "two axes": (lambda p: write_pt(p / "v.pt", {1: torch.ones(2, 3)}), {}, r"shape \(2, 3\)"),
    "nothing in it": (lambda p: write_pt(p / "v.pt", {1: torch.ones(0)}), {}, "none of them empty"),
    "nan": (lambda p: write_pt(p / "v.pt", {1: ONES / 0 * 0}), {}, "nan or inf"),
    "beyond float32": (
        lambda p: write_pt(p / "v.pt", {1: ONES.double() * 1e300}),
        {},
        "beyond float32",
    ),
    "widths that differ": (
        lambda p: write_pt(p / "v.pt", {1: ONES, 2: torch.ones(3)}),
        {},
        r"directions of \[3, 6\] numbers",
    ),
    "a list": (lambda p: write_pt(p / "v.pt", [ONES]), {}, "of none of the formats"),
    "an empty dictionary": (lambda p: write_pt(p / "v.pt", {}), {}, "of none of the formats"),
    "layers that are text": (
        lambda p: write_pt(p / "v.pt", {"layer_activations": {"a": ONES}}),
        {},
        "should hold tensors by layer, and holds 'a'",
    ),
    "a layer that is no number": (
        lambda p: write_pt(p / "v.pt", {"layer_activations": {True: ONES}}),
        {},
        "should hold tensors by layer",
    ),
    "another layer type": (
        lambda p: write_pt(p / "v.pt", {"layer_activations": TWO, "layer_type": "mlp"}),
        {},
        "acts inside a block",
    ),
    "layers from the end without a model": (
        lambda p: write_pt(p / "v.pt", {-1: ONES}),
        {},
        "give model= to count by",
    ),
    "two names of one layer": (
        lambda p: (
            save_file({"1": ONES, "layer_activations.1": ONES + 1}, p / "v.safetensors")
            or p / "v.safetensors"
        ),
        {},
        "should hold tensors by layer",
    ),
    "a checkpoint": (
        lambda p: save_file({"lm_head.weight": ONES}, p / "v.safetensors") or p / "v.safetensors",
        {},
        "holds 'lm_head.weight'",
    ),
    # ------------------------------------------------------------------ lm-eval
    "a hookpoint that leads away": (
        lambda p: write_steer_path(p / "v.pt", {"../../layers.1": entry()}),
        {},
        "the hookpoint .*module.s name",
    ),
    "a hookpoint that only a model has": (
        lambda p: write_steer_path(p / "v.pt", {"layers.1.mlp": entry()}),
        {},
        "give model= to know which place",
    ),
    "two hookpoints of one layer": (
        lambda p: write_steer_path(p / "v.pt", {"layers.1": entry(), "h.1": entry()}),
        {},
        r"two entries for resid_post\.1",
    ),
    "an unknown action": (
        lambda p: write_steer_path(p / "v.pt", {"layers.1": entry(action="melt")}),
        {},
        "neither 'add' nor 'clamp'",
    ),
    "an unknown setting": (
        lambda p: write_steer_path(p / "v.pt", {"layers.1": entry(gate=1.0)}),
        {},
        "has gate at 'layers.1', which lm-eval does not know",
    ),
    "a head": (
        lambda p: write_steer_path(p / "v.pt", {"layers.1": entry(head_index=2)}),
        {},
        "no module has",
    ),
    "adding with a bias": (
        lambda p: write_steer_path(p / "v.pt", {"layers.1": entry(bias=ONES)}),
        {},
        "which lm-eval refuses as well",
    ),
    "a bias of another width": (
        lambda p: write_steer_path(
            p / "v.pt", {"layers.1": entry(action="clamp", bias=torch.ones(2))}
        ),
        {},
        "has 2 numbers, not 6",
    ),
    "a coefficient that is none": (
        lambda p: write_steer_path(p / "v.pt", {"layers.1": entry(steering_coefficient="2")}),
        {},
        "coefficient .* finite number",
    ),
    "an endless coefficient": (
        lambda p: write_steer_path(
            p / "v.pt", {"layers.1": entry(steering_coefficient=float("inf"))}
        ),
        {},
        "coefficient .* finite number",
    ),
    "nothing to clamp along": (
        lambda p: write_steer_path(
            p / "v.pt", {"layers.1": {"steering_vector": ONES * 0, "action": "clamp"}}
        ),
        {},
        "resid_post.1 of .* is zero",
    ),
    # ------------------------------------------------------------------ GGUF
    "another kind of GGUF": (
        lambda p: raw_gguf(p, tensor("token_embd.weight", (4, 4))),
        {"format": "repeng"},
        "has a tensor 'token_embd.weight'",
    ),
    "a direction that leads away": (
        lambda p: raw_gguf(p, tensor("direction.../../1", (4,))),
        {},
        "has a tensor 'direction.../../1'",
    ),
    "a layer written otherwise": (
        lambda p: raw_gguf(p, tensor("direction.01", (4,))),
        {},
        "tensor",
    ),
    "one direction twice": (
        lambda p: raw_gguf(p, tensor("direction.1", (4,)), tensor("direction.1", (4,))),
        {},
        "damaged.*duplicated",
    ),
    "integers in GGUF": (
        lambda p: raw_gguf(p, tensor("direction.1", (4,), kind=26)),
        {},
        "in I32; directions are read in F32 and F16",
    ),
    "a quantised direction": (
        lambda p: raw_gguf(p, tensor("direction.1", (32,), kind=2)),
        {},
        "unquantised",
    ),
    "two axes in GGUF": (
        lambda p: raw_gguf(p, tensor("direction.1", (2, 2))),
        {},
        r"shape \(2, 2\)",
    ),
    "a direction beyond the file": (
        lambda p: raw_gguf(p, tensor("direction.1", (2**40,))),
        {},
        "ends at byte",
    ),
    "a size that wraps around": (
        lambda p: raw_gguf(p, tensor("direction.1", (2**33, 2**33))),
        {},
        "damaged|shape",
    ),
    "a place beyond the file": (
        lambda p: raw_gguf(p, tensor("direction.1", (4,), offset=2**63)),
        {},
        "damaged",
    ),
    "no directions": (
        lambda p: raw_gguf(p),
        {"format": "repeng"},
        "no direction that can be taken",
    ),
    "endless keys": (
        lambda p: text(p / "v.gguf", header(2**62, 0)),
        {},
        "ends at byte",
    ),
    "endless tensors": (lambda p: text(p / "v.gguf", header(0, 2**62)), {}, "ends at byte"),
    "an endless list": (
        lambda p: text(p / "v.gguf", header(1, 0, string("a") + struct.pack("<IIQ", 9, 0, 2**62))),
        {},
        "ends at byte",
    ),
    "a list of a million": (
        lambda p: text(
            p / "v.gguf",
            header(1, 0, string("a") + struct.pack("<IIQ", 9, 0, 10**6) + b"\0" * 10**6),
        ),
        {},
        "more than 16384 pieces",
    ),
    "lists in lists in lists": (
        lambda p: text(
            p / "v.gguf",
            header(1, 0, string("a") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 5000),
        ),
        {},
        "damaged",
    ),
    "an endless text": (
        lambda p: text(p / "v.gguf", header(1, 0, struct.pack("<Q", 2**63))),
        {},
        "damaged",
    ),
    "directions of another component": (
        lambda p: easysteer(p, '{"version":1,"component":"router_logits","metadata":null}'),
        {},
        "directions of 'router_logits', .* extract them from hidden_states",
    ),
    "EasySteer's JSON of another version": (
        lambda p: easysteer(p, '{"version":2}'),
        {},
        "not of version 1",
    ),
    "EasySteer's JSON that is none": (lambda p: easysteer(p, "[1"), {}, "is not JSON"),
    # ------------------------------------------------------------------ JSON
    "no JSON": (lambda p: text(p / "v.svec", "{"), {}, "is not JSON"),
    "no text": (lambda p: text(p / "v.svec", b"\xff\xfe\x00"), {}, "a UTF-8 file"),
    "JSON without end": (lambda p: text(p / "v.svec", "[" * 200_000), {}, "is not JSON"),
    "NaN": (
        lambda p: text(p / "v.svec", '{"directions": {"1": [NaN]}}'),
        {},
        "NaN is not a number",
    ),
    "other JSON": (lambda p: text(p / "v.svec", "[1, 2]"), {}, "of none of the formats"),
    "no layers": (lambda p: svec(p, {}), {}, "should have directions by layer"),
    "a layer that leads away": (lambda p: svec(p, {"../1": [1.0]}), {}, "directions by layer"),
    "a layer below 0": (lambda p: svec(p, {"-1": [1.0]}), {}, "directions by layer"),
    "one layer twice": (lambda p: svec(p, {"1": [1.0], "01": [2.0]}), {}, "two directions for one"),
    "texts for numbers": (
        lambda p: svec(p, {"1": ["1.0"]}),
        {},
        "direction 1 of .* list of numbers",
    ),
    "truths for numbers": (
        lambda p: svec(p, {"1": [True]}),
        {},
        "direction 1 of .* list of numbers",
    ),
    "lists for numbers": (
        lambda p: svec(p, {"1": [[1.0]]}),
        {},
        "direction 1 of .* list of numbers",
    ),
    "a number beyond all": (
        lambda p: text(p / "v.svec", '{"directions": {"1": [1' + "0" * 400 + "]}}"),
        {},
        "out of range|nan or inf",
    ),
    "a number of a million digits": (
        lambda p: text(p / "v.svec", '{"directions": {"1": [' + "1" * 10**6 + "]}}"),
        {},
        "not JSON|out of range",
    ),
    # ------------------------------------------------------------------ vllm-lens
    "a large .json": (lambda p: sparse_file(p / "v.json", LARGEST_TEXT + 1), {}, "more than the"),
    "no vectors": (lambda p: text(p / "v.json", "[]"), {}, "of none of the formats"),
    "no vectors, said to be": (
        lambda p: text(p / "v.json", '[{"scale": 1}]'),
        {"format": "vllm_lens"},
        "should hold objects of activations and layer_indices",
    ),
    "a length that decides": (lambda p: wire(p, norm_match=True), {}, "has norm_match, by which"),
    "a length that perhaps decides": (lambda p: wire(p, norm_match="no"), {}, "has norm_match"),
    "directions by position": (
        lambda p: wire(p, {1: torch.ones(2, WIDTH)}, position_indices=[0, 4]),
        {},
        r"shape \(1, 2, 6\), for 2 positions",
    ),
    "no layer at all": (lambda p: wire(p, layer_indices=[]), {}, "has none"),
    "a layer from the end": (lambda p: wire(p, layer_indices=[1, -1]), {}, "from 0 to 4095"),
    "a layer that is a truth": (lambda p: wire(p, layer_indices=[1, True]), {}, "from 0 to 4095"),
    "a layer twice": (lambda p: wire(p, layer_indices=[1, 1]), {}, "no layer twice"),
    "a layer too many": (lambda p: wire(p, layer_indices=[1, 2, 3]), {}, "2 directions for the"),
    "a scale that is none": (lambda p: wire(p, scale="2"), {}, "the scale of vector 0"),
    "an endless scale": (lambda p: wire(p, scale=10**400), {}, "give a finite number"),
    "a scale beyond float32": (
        lambda p: wire(p, {1: ONES * 1e30}, scale=1e29),
        {},
        "what layer 1 of .* beyond float32",
    ),
    "vectors that differ in width": (
        lambda p: foreign.write_json(
            p / "v.json",
            [foreign.vllm_lens_object(each) for each in (TWO, {1: torch.ones(3)})],
        ),
        {},
        "vector 1 of .* has 3 numbers at layer 1, and one before it 6",
    ),
    "activations without a shape": (lambda p: wire(p, packed={"shape": 3}), {}, "have no shape"),
    "activations that are a list": (lambda p: wire(p, activations=[1.0]), {}, "have no shape"),
    "a shape below 0": (lambda p: wire(p, packed={"shape": [-1, 6]}), {}, "must be an integer"),
    "a shape beyond all": (
        lambda p: wire(p, packed={"shape": [2**31, 2**31]}),
        {},
        "claim .* bytes, more than the",
    ),
    "a shape of nothing": (lambda p: wire(p, packed={"shape": []}), {}, "not the 4 bytes"),
    "another shape": (lambda p: wire(p, packed={"shape": [2, 5]}), {}, "not the 40 bytes"),
    "a shape of one axis": (lambda p: wire(p, packed={"shape": [12]}), {}, "must have 2 axes"),
    "objects for numbers": (lambda p: wire(p, packed={"dtype": "object"}), {}, "of type 'object'"),
    "integers for numbers": (
        lambda p: wire(p, {1: ONES.short()}),
        {},
        "of type 'int16'; store them as one of float64, float32, float16, or bfloat16",
    ),
    "a packing that is not known": (
        lambda p: wire(p, packed={"compression": "pickle"}),
        {},
        "packed as 'pickle'; zstd is known",
    ),
    "no data": (lambda p: wire(p, packed={"data": None}), {}, "cannot be unpacked"),
    "data that is no base64": (lambda p: wire(p, packed={"data": "?!"}), {}, "cannot be unpacked"),
    "data that is not packed": (
        lambda p: wire(p, packed={"data": "AAAA"}),
        {},
        "cannot be unpacked .OSError",
    ),
    "a packed bomb of numbers": (
        lambda p: wire(p, packed={"data": zeros(2**30)}),
        {},
        "not the 48 bytes of .2, 6. in float32",
    ),
    "numbers that are none": (lambda p: wire(p, {1: ONES / 0}), {}, "nan or inf"),
    "a damaged card of a request": (lambda p: wire(p, interp_steer=[]), {}, "card in .* damaged"),
    # ------------------------------------------------------------------ cards
    "a card that is none": (
        lambda p: svec(p, {"1": [1.0]}, interp_steer=3),
        {},
        "card in .* damaged",
    ),
    "a card without sizes": (lambda p: carded(p, d_model="6"), {}, "d_model of the card"),
    "a card of another width": (lambda p: carded(p, d_model=7), {}, "must have the shape"),
    "a card of fewer layers": (lambda p: carded(p, n_layers=1), {}, "out of range"),
    "a card of endless layers": (lambda p: carded(p, n_layers=10**12), {}, "n_layers of the card"),
    "a card of another place": (
        lambda p: carded(p, component="z"),
        {},
        "use resid_post or resid_pre",
    ),
    "a card with more": (lambda p: carded(p, more=1), {}, "damaged, or of a later version"),
    "a card without versions": (lambda p: carded(p, versions=[1]), {}, "damaged"),
    "a card that is sure of nothing": (lambda p: carded(p, reliability={"n": "x"}), {}, "damaged"),
    "a name that leads away": (lambda p: carded(p, name="../../x"), {}, "holds a path separator"),
    "a name that is a path": (lambda p: carded(p, name="/etc/x"), {}, "holds a path separator"),
    "a name of two lines": (lambda p: carded(p, name="a\nb"), {}, "a control character"),
    "a name that was given": (
        lambda p: write_pt(p / "v.pt", TWO),
        {"name": "a/b"},
        "give another one with name=",
    ),
    # ------------------------------------------------------------------ one direction
    "a direction of no layer": (
        lambda p: write_pt(p / "direction.pt", ONES),
        {},
        "direction_metadata.json is not beside it; give layer=",
    ),
    "a layer in words": (
        lambda p: (
            text(p / "direction_metadata.json", '{"layer": "1"}')
            and write_pt(p / "direction.pt", ONES)
        ),
        {},
        "must be an integer",
    ),
    "metadata that is none": (
        lambda p: text(p / "direction_metadata.json", "[]") and write_pt(p / "direction.pt", ONES),
        {},
        "does not say at which layer",
    ),
    "a position there is not": (
        lambda p: write_pt(p / "v.pt", torch.ones(2, 3, WIDTH)),
        {"position": -3},
        "from -2 to -1",
    ),
    "only the embedding": (
        lambda p: write_pt(p / "direction.pt", ONES),
        {"layer": 0},
        "no direction that can be taken .layer 0 of the file acts on the embedding",
    ),
    "weights of no layer": (
        lambda p: write_pt(p / "A_weight.pt", ONES[None]),
        {},
        "in the YAML of the run; give layer=",
    ),
    "one of several concepts": (
        lambda p: write_pt(p / "A_weight.pt", torch.ones(5, WIDTH)),
        {"layer": 1},
        "has 5 concepts; choose one",
    ),
    "a concept there is not": (
        lambda p: write_pt(p / "A_weight.pt", torch.ones(5, WIDTH)),
        {"layer": 1, "concept": 5},
        "from 0 to 4",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_wrong_with_a_file_is_said(what: str, tmp_path: Path) -> None:
    make, options, match = BAD[what]
    path = make(tmp_path)
    start = time.process_time()
    with pytest.raises(InterpSteerError, match=match), warnings.catch_warnings():
        warnings.simplefilter("ignore", InterchangeWarning)
        ist.interchange.read(path, **options)
    assert time.process_time() - start < 5  # and not years, as counts in a file would have it


@pytest.mark.parametrize(
    "format", [name for name, each in FORMATS.items() if ".pt" in each.suffixes]
)
def test_a_hostile_pickle_is_refused_and_not_run(format: str, tmp_path: Path) -> None:
    mark = tmp_path / "run"
    hostile = Hostile(mark)
    contents: dict[str, Any] = {
        "steering_vectors": {"layer_activations": {1: hostile}},
        "lm_eval": {"layers.1": {"steering_vector": hostile, "action": "add"}},
        "refusal_direction": hostile,
        "axbench": [hostile],
    }
    for keyword in ({}, {"_use_new_zipfile_serialization": False}, {"pickle_protocol": 4}):
        torch.save(contents[format], tmp_path / "v.pt", **keyword)
        with pytest.raises(
            InterchangeError, match=r"posix\.system|before PyTorch|more than tensors"
        ):
            ist.interchange.read(tmp_path / "v.pt", format=format)
        assert not mark.exists()
    (tmp_path / "v.pt").write_bytes(pickle.dumps(hostile))
    with pytest.raises(InterchangeError, match=r"archive of torch\.save"):
        ist.interchange.read(tmp_path / "v.pt", format=format)
    assert not mark.exists()
    # The file would have been made: opened as other tools open it, it is.
    torch.save(contents[format], tmp_path / "v.pt")
    torch.load(tmp_path / "v.pt", weights_only=False)
    assert mark.exists()


def test_the_tools_own_object_is_code_and_is_refused(tmp_path: Path) -> None:
    write_pt(tmp_path / "v.pt", {"a": foreign.Pickled(TWO)})
    with pytest.raises(InterchangeError, match=r"would run tests\.support\.foreign\.Pickled"):
        ist.interchange.read(tmp_path / "v.pt")


@given(st.text(max_size=12))
@settings(max_examples=200, deadline=None)
def test_a_name_that_is_let_through_stays_in_its_folder(name: str) -> None:
    try:
        safe = check_name(name, "a name")
    except InterchangeError:
        return
    inside = Path("/folder") / f"{safe}.safetensors"
    assert os.path.normpath(inside) == str(inside) and inside.parent == Path("/folder")
    assert not re.search(r"[\x00-\x1f@\[\]]", safe)


# ------------------------------------------------------------------ the fuzzer


@pytest.mark.parametrize("format", FORMATS)
@given(data=st.data())
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_no_damage_makes_anything_but_our_errors(
    format: str, data: st.DataObject, tmp_path: Path
) -> None:
    name, whole, options = sound(format)
    damaged = bytearray(whole)
    kind = data.draw(st.sampled_from(["cut", "flip", "zeros", "insert", "swap"]))
    place = data.draw(st.integers(0, len(whole) - 1))
    size = data.draw(st.integers(1, 16))
    if kind == "cut":
        del damaged[place:]
    elif kind == "flip":
        damaged[place] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "zeros":
        damaged[place : place + size] = data.draw(st.sampled_from([b"\0", b"\xff"])) * size
    elif kind == "insert":
        damaged[place:place] = data.draw(st.binary(min_size=1, max_size=16))
    else:
        damaged[place : place + size] = damaged[:size]
    path = tmp_path / name
    path.write_bytes(bytes(damaged))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InterchangeWarning)
        try:
            vector = ist.interchange.read(path, format=format, **options)
        except InterpSteerError as error:
            assert str(error)
        else:
            assert vector.directions.isfinite().all()


def test_the_fuzzed_files_are_sound_before_they_are_damaged(tmp_path: Path) -> None:
    for format in FORMATS:
        name, whole, options = sound(format)
        (tmp_path / name).write_bytes(whole)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InterchangeWarning)
            assert ist.interchange.read(tmp_path / name, format=format, **options).layers
