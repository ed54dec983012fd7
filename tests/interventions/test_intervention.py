"""Edits against the formulas they stand for, written out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interp_steer.errors import InterventionError, SiteError
from interp_steer.interventions import schedules
from interp_steer.interventions.intervention import (
    Direction,
    Edit,
    Intervention,
    compose,
    row_hooks,
    unsteered,
)
from interp_steer.interventions.operations import Operation
from interp_steer.interventions.positions import Clock, span
from interp_steer.interventions.schedules import diminishing, exponential, fixed, start
from interp_steer.models.sites import Site

# Checking types at run time draws from `random`, which Hypothesis warns of.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random`")

N_LAYERS, D_MODEL, HEADS = 4, 8, (2, 3)
POSITIONS = ("all", "prompt", "generated", "not_bos", "first(1)", "first(3)", "last")


def make(
    name: str = "lower",
    source: str = "resid_post.1",
    site: str | None = None,
    target: float | None = 1.5,
    seed: int = 0,
    steps: int | None = None,
) -> Direction:
    read, applied = Site.parse(source), Site.parse(site or source)
    shape = (*([] if steps is None else [steps]), *applied.shape(*HEADS, D_MODEL))
    vector = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return Direction(vector, target, name, read, applied, "tiny", N_LAYERS, D_MODEL)


class Named:
    """A source of directions that makes the one asked for, as a steering vector would."""

    def __init__(self, name: str, target: float | None = 1.5) -> None:
        self.name, self.target = name, target

    def direction(self, source: Site, site: Site) -> Direction:
        return make(self.name, str(source), str(site), self.target)


finite = st.floats(-50, 50, width=32)
weights_by_step = st.sampled_from(
    [fixed, fixed, start, diminishing(2), exponential(0.5), schedules.of(lambda i: i - 1.0, 4)]
)
names = st.from_regex(r"[a-z(+,=][a-z (+),=:_-]{0,12}[a-z(+,=]", fullmatch=True)
sites = st.builds(
    Site, st.sampled_from(["resid_pre", "resid_post", "attn_out", "z"]), st.integers(0, 3)
)


@st.composite
def edits(draw, site: st.SearchStrategy[Site] = sites) -> Edit:
    where = draw(site)
    source = draw(st.sampled_from([where, Site(where.component, 0)]))
    steps = draw(st.sampled_from([None, None, 1, 3]))
    direction = make(
        draw(names), str(source), str(where), seed=draw(st.integers(0, 5)), steps=steps
    )
    operation = draw(st.sampled_from([each for each in Operation if not each.needs_map]))
    value = 0.0 if operation.parameter is None else draw(finite)
    return Edit(
        direction, operation, value, draw(st.sampled_from(POSITIONS)), draw(weights_by_step)
    )


interventions = st.lists(edits(), max_size=4).map(lambda found: Intervention(tuple(found)))
at_one_site = st.lists(edits(st.just(Site("resid_post", 1))), max_size=3).map(
    lambda found: Intervention(tuple(found))
)


def reached(positions: str, index: int, step: int) -> bool:
    """Whether a position is edited, from the definitions in words."""
    if index < 0:
        return False
    return {
        "all": True,
        "prompt": step <= 0,
        "generated": step >= 0,
        "not_bos": index > 0,
        "last": step == 0,
        "first(1)": step == 0,
        "first(3)": 0 <= step <= 2,
    }[positions]


def by_hand(activation, interventions, clock):
    """One row, one position, one edit at a time, in float64."""
    edited = activation.double().clone()
    for row, intervention in enumerate(interventions):
        for edit in intervention.edits:
            for pos in range(activation.shape[1]):
                if not reached(
                    edit.positions, int(clock.index[row, pos]), int(clock.step[row, pos])
                ):
                    continue
                x, step = edited[row, pos], max(int(clock.step[row, pos]), 0)
                v = edit.direction.vector.double()
                if edit.direction.stepped:
                    v = v[min(step, len(v) - 1)]
                u = v / v.norm()
                a = edit.schedule.weights[min(step, len(edit.schedule.weights) - 1)]
                along = (x * u).sum()
                edited[row, pos] = {
                    "add": x + a * edit.value * u,
                    "shift": x + a * edit.value * v,
                    "turn": at_length(x + a * edit.value * u, x.norm()),
                    "project": x + a * (edit.value - along) * u,
                    "ablate": x - a * along * u,
                }[edit.operation]
    return edited


def at_length(x, length):
    return x / x.norm() * length


def run(hooks, activation):
    for _, hook in hooks:
        activation = hook(activation, hook=None)
    return activation


def close(a, b, tolerance=2e-4):
    return torch.allclose(a.double(), b.double(), rtol=1e-5, atol=tolerance)


@settings(deadline=None)
@given(finite, finite, st.integers(0, 50))
def test_operations_are_their_formulas(coefficient, target, seed):
    direction = make(seed=seed)
    x = torch.randn(2, 3, D_MODEL, generator=torch.Generator().manual_seed(seed + 1)) * 5
    along = x @ direction.unit
    across = x - along[..., None] * direction.unit

    added = run(direction.add(coefficient).fwd_hooks(), x)
    assert close(added, x + coefficient * direction.unit)
    turned = run(direction.turn(coefficient).fwd_hooks(), x)
    assert close(turned.norm(dim=-1), x.norm(dim=-1))
    assert close(torch.cosine_similarity(turned, added, dim=-1), torch.ones(2, 3), 1e-5)
    projected = run(direction.project(target).fwd_hooks(), x)
    assert close(projected @ direction.unit, torch.full((2, 3), target))
    assert close(projected - target * direction.unit, across)
    assert close(run(direction.project().fwd_hooks(), x) @ direction.unit, torch.full((2, 3), 1.5))
    ablated = run(direction.ablate().fwd_hooks(), x)
    assert close(ablated, across) and close(ablated @ direction.unit, torch.zeros(2, 3))


def test_z_is_read_over_all_heads_in_either_layout():
    direction = make(source="z.2")
    x = torch.randn(2, 3, *HEADS)
    per_head = run(direction.project(2.0).fwd_hooks(), x)
    assert close((per_head * direction.unit).sum((-1, -2)), torch.full((2, 3), 2.0))
    assert per_head.shape == x.shape
    flat = run(direction.project(2.0).fwd_hooks(), x.flatten(2))
    assert torch.equal(flat, per_head.flatten(2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("positions", POSITIONS)
def test_strength_zero_changes_no_bit(dtype, positions):
    x = torch.randn(2, 5, D_MODEL).to(dtype)
    clock = Clock()
    clock.begin(torch.ones(2, 5, dtype=torch.long))
    steered = run(make().add(0.0, positions).fwd_hooks(clock), x)
    assert torch.equal(steered, x) and steered.dtype == dtype


@settings(max_examples=60, deadline=None)
@given(st.lists(at_one_site, min_size=1, max_size=4), st.data())
def test_rows_of_a_batch_are_edited_as_by_hand(rows, data):
    lengths = [data.draw(st.integers(1, 5)) for _ in rows]
    width = max(lengths)
    mask = torch.tensor([[0] * (width - n) + [1] * n for n in lengths])
    clock = Clock()
    hooks = row_hooks(rows, clock)
    assert len(hooks) == any(row.edits for row in rows)
    clock.begin(mask)
    x = torch.randn(len(rows), width, D_MODEL, generator=torch.Generator().manual_seed(1))
    assert close(run(hooks, x), by_hand(x, rows, clock), 1e-3)
    for _ in range(4):
        clock.tick()
        if len(clock.rows) > 1 and data.draw(st.booleans()):
            dropped = data.draw(st.integers(0, len(clock.rows) - 1))
            clock.keep(torch.tensor([i for i in range(len(clock.rows)) if i != dropped]))
        left = [rows[i] for i in clock.rows.tolist()]
        x = torch.randn(len(left), 1, D_MODEL, generator=torch.Generator().manual_seed(2))
        assert close(run(hooks, x), by_hand(x, left, clock), 1e-3)


@settings(max_examples=40, deadline=None)
@given(st.lists(interventions, min_size=1, max_size=4))
def test_hooks_sit_at_the_sites_that_are_written_and_nowhere_else(rows):
    written = {edit.direction.site.hook_name for row in rows for edit in row.edits}
    hooks = row_hooks(rows, Clock())
    assert [name for name, _ in hooks] == [site.hook_name for site in compose(rows).sites]
    assert {name for name, _ in hooks} == written and len(hooks) == len(written)


@settings(max_examples=40, deadline=None)
@given(at_one_site, at_one_site)
def test_composition_is_one_after_the_other(a, b):
    clock = Clock()
    clock.begin(torch.tensor([[0, 1, 1, 1]]))
    x = torch.randn(1, 4, D_MODEL, generator=torch.Generator().manual_seed(3))
    both = run((a + b).fwd_hooks(clock), x)
    assert close(both, run(b.fwd_hooks(clock), run(a.fwd_hooks(clock), x)), 1e-3)
    assert a + unsteered == a == unsteered + a
    assert compose([a, b]) == a + b and compose([]) == unsteered


def test_order_matters_at_one_site():
    x = torch.randn(1, 2, D_MODEL)
    add, project = make().add(7.0), make().project(2.0)
    unit = make().unit
    assert close(run((add + project).fwd_hooks(), x) @ unit, torch.full((1, 2), 2.0))
    assert close(run((project + add).fwd_hooks(), x) @ unit, torch.full((1, 2), 9.0))


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 3), st.booleans())
def test_first_n_is_exactly_n_steps_and_generated_has_the_first(length, n, pads, cached):
    clock = Clock()
    clock.begin(torch.tensor([[0] * pads + [1] * length]))
    steered = {"first": [], "generated": [], "prompt": [], "last": [], "all": [], "not_bos": []}
    for step in range(10):
        for name in steered:
            where = span(f"first({n})" if name == "first" else name)
            for index, at in zip(clock.index[0].tolist(), clock.step[0].tolist(), strict=True):
                inside = index >= where.first_index and where.first_step <= at < where.end_step
                # Without a cache every pass holds the earlier positions again; count the new ones.
                if inside and (step == 0 or at == step):
                    steered[name].append(index)
        whole = torch.tensor([[0] * pads + [1] * (length + step + 1)])
        clock.tick() if cached else clock.begin(whole, torch.tensor([length]))
    first = length - 1
    assert steered["first"] == list(range(first, first + n))
    assert steered["generated"] == list(range(first, first + 10))
    assert steered["last"] == [first]
    assert [i for i in steered["prompt"] if i >= 0] == list(range(length))
    assert [i for i in steered["all"] if i >= 0] == list(range(first + 10))
    assert steered["not_bos"] == list(range(1, first + 10))


def test_prompt_lengths_place_a_given_answer():
    clock = Clock()
    clock.begin(torch.tensor([[0, 1, 1, 1], [1, 1, 1, 1]]), torch.tensor([2, 1]))
    assert clock.step.tolist() == [[-2, -1, 0, 1], [0, 1, 2, 3]]
    assert clock.index.tolist() == [[-1, 0, 1, 2], [0, 1, 2, 3]]


@settings(deadline=None)
@given(interventions)
def test_the_canonical_line_parses_back(intervention):
    line = str(intervention)
    parsed = Intervention.parse(line, Named)
    assert str(parsed) == line
    assert len(parsed.edits) == len(intervention.edits)
    for a, b in zip(parsed.edits, intervention.edits, strict=True):
        assert (a.operation, a.value, a.positions) == (b.operation, b.value, b.positions)
        assert (a.direction.source, a.direction.site) == (b.direction.source, b.direction.site)
    known = {edit.direction.name: Named(edit.direction.name) for edit in intervention.edits}
    assert str(Intervention.parse(line, known)) == line


def test_canonical_lines_as_documented():
    lower = make("english_lowercase", "resid_post.2")
    moved = make("x", "resid_post.2", "resid_post.3")
    assert str(lower.project()) == "project(english_lowercase@resid_post.2)"
    assert str(lower.project(0.5)) == "project(english_lowercase@resid_post.2, target=0.5)"
    assert str(moved.add(2, "generated") + lower.ablate("first(3)")) == (
        "add(x[resid_post.2]@resid_post.3, coefficient=2.0, positions=generated)"
        " + ablate(english_lowercase@resid_post.2, positions=first(3))"
    )
    assert str(unsteered) == "unsteered" == str(Intervention.parse("unsteered", {}))


@pytest.mark.parametrize(
    "line, mend",
    [
        ("", "looks like"),
        ("bend(x@resid_post.1)", "looks like"),
        ("turn(x@resid_post.1)", "turn takes coefficient="),
        ("shift(x@resid_post.1)", "shift takes coefficient="),
        ("shift(x@resid_post.2-1, coefficient=1.0)", "a range of layers rises"),
        ("shift(x@resid_post.0-99999999, coefficient=1.0)", "ends below"),
        ("ablate(x[resid_post.0]@resid_post.1-2)", "read where it acts"),
        ("ablate(x@resid_post.1) + ablate(x@resid_post.2)", "not canonical"),
        ("add(x@resid_post.1, coefficient=1.0, schedule=often)", "schedule 'often' is unknown"),
        ("add(x@resid_post.1, coefficient=1.0, schedule=fixed)", "not canonical"),
        ("project(x@resid_post.1) ", "looks like"),
        (" + project(x@resid_post.1)", "not canonical"),
        ("project(x@resid_post.1)project(x@resid_post.1)", "looks like"),
        ("project(x@resid_post.1, target=1.50)", "not canonical"),
        ("project(x@resid_post.1, target=1.5)", "not canonical"),
        ("project(x[resid_post.1]@resid_post.1)", "not canonical"),
        ("project(x@resid_post.1, coefficient=2.0)", "project may take target="),
        ("add(x@resid_post.1)", "add takes coefficient="),
        ("ablate(x@resid_post.1, target=2.0)", "ablate takes neither a coefficient nor a target"),
        ("add(x@resid_post.1, coefficient=nan)", "finite"),
        ("add(x@resid_post.1, coefficient=two)", "not a number"),
        ("add(x@resid_post.1, coefficient=2.0, positions=odd)", "unknown positions"),
        ("add(x@resid_mid.1, coefficient=2.0)", "attn_out"),
        ("project(y@resid_post.1)", "not among the directions given"),
    ],
)
def test_lines_that_do_not_parse(line, mend):
    with pytest.raises(InterventionError, match=mend):
        Intervention.parse(line, {"x": Named("x")})


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_strengths_that_are_not_finite(number):
    with pytest.raises(InterventionError, match="finite"):
        make().add(number)
    with pytest.raises(InterventionError, match="finite"):
        make().project(number)
    with pytest.raises(InterventionError, match="finite"):
        make(target=number)
    with pytest.raises(InterventionError, match="finite"):
        Edit(make(), Operation.ADD, number)


@pytest.mark.parametrize(
    "positions", ["", "everything", "first", "first(0)", "first(-1)", "first(03)"]
)
def test_unknown_positions(positions):
    with pytest.raises(InterventionError, match=r"use one of all, .* or first\(n\)"):
        make().add(1.0, positions)


def test_directions_that_cannot_be():
    def of(vector, site="resid_post.1", name="x"):
        at = Site.parse(site)
        return Direction(vector, None, name, at, at, "tiny", N_LAYERS, D_MODEL)

    with pytest.raises(InterventionError, match="norm 0"):
        of(torch.zeros(D_MODEL))
    with pytest.raises(InterventionError, match="norm nan"):
        of(torch.full((D_MODEL,), math.nan))
    with pytest.raises(InterventionError, match=r"shape \(7,\).*\(8,\)"):
        of(torch.ones(7))
    with pytest.raises(InterventionError, match="n_heads, d_head"):
        of(torch.ones(6), "z.1")
    with pytest.raises(SiteError, match="0 to 3"):
        of(torch.ones(D_MODEL), "resid_post.4")
    for name in ("", "a@b", "a[b", "a]b", " a", "a ", "a\nb"):
        with pytest.raises(InterventionError, match="rename"):
            of(torch.ones(D_MODEL), name=name)
    with pytest.raises(InterventionError, match="carries no target"):
        of(torch.ones(D_MODEL)).project()
    with pytest.raises(InterventionError, match="unknown operation"):
        make().apply("scale", 1.0)


@pytest.mark.parametrize("operation", [each for each in Operation if not each.needs_map])
def test_an_operation_is_applied_by_name_as_by_its_method(operation):
    direction = make()
    method = getattr(direction, operation.value)
    amount = () if operation.parameter is None else (2.5,)
    by_method = method(*amount, positions="generated", schedule=start)
    by_name = direction.apply(operation.value, *amount, positions="generated", schedule=start)
    assert by_name == by_method
    assert by_name.edits[0].operation is operation


def test_amounts_that_an_operation_does_not_take():
    with pytest.raises(InterventionError, match=r"ablate takes no amount; leave 2\.0 out"):
        make().apply("ablate", 2.0)
    with pytest.raises(InterventionError, match="coefficient None is not a number"):
        make().apply("add")
    with pytest.raises(InterventionError, match=r"ist\.fit_transport"):
        make().apply("transport", 1.0)


def test_hooks_that_meet_the_wrong_pass():
    with pytest.raises(InterventionError, match=r"fwd_hooks\(clock\)"):
        make().add(1.0, "generated").fwd_hooks()
    [(_, hook)] = make().add(1.0).fwd_hooks()
    with pytest.raises(InterventionError, match="8 components"):
        hook(torch.ones(1, 2, 9), hook=None)
    clock = Clock()
    clock.begin(torch.ones(2, 3, dtype=torch.long))
    [(_, hook)] = make().add(1.0).fwd_hooks(clock)
    with pytest.raises(InterventionError, match="begin or tick"):
        hook(torch.ones(2, 1, D_MODEL), hook=None)
    [(_, hook)] = row_hooks([make().add(1.0)] * 3, clock)
    with pytest.raises(InterventionError, match="one intervention per row"):
        hook(torch.ones(2, 3, D_MODEL), hook=None)
    [(_, hook)] = row_hooks([make().add(1.0)] * 3, None)
    with pytest.raises(InterventionError, match="one intervention per row"):
        hook(torch.ones(2, 3, D_MODEL), hook=None)
    with pytest.raises(InterventionError, match="pad on the left"):
        clock.begin(torch.tensor([[1, 0]]))
    at = Site("resid_post", 1)
    wide = Direction(torch.ones(9), None, "w", at, at, "wide", N_LAYERS, 9)
    with pytest.raises(InterventionError, match="8 and 9"):
        (make().add(1.0) + wide.add(1.0)).fwd_hooks()


def test_gradients_flow_through_a_hook_used_in_inference_before():
    with torch.inference_mode():
        [(_, hook)] = make().project(2.0).fwd_hooks()
        hook(torch.ones(1, 2, D_MODEL), hook=None)
    x = torch.ones(1, 2, D_MODEL, requires_grad=True)
    hook(x, hook=None).sum().backward()
    assert x.grad is not None and bool(torch.isfinite(x.grad).all())
