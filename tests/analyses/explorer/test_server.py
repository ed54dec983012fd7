"""Test the explorer without a browser: forms, the job queue, results and the exported code."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import interp_steer as ist
from analyses.explorer import render
from analyses.explorer.answer import SIDES, AnswerPair, answer_request
from analyses.explorer.callbacks import Explorer, group_cards
from analyses.explorer.download import print_figure
from analyses.explorer.form import (
    Limits,
    Request,
    Source,
    SteeringChoice,
    parse_request,
    parse_strengths,
)
from analyses.explorer.head_view import QUANTITIES, Heads, measure_heads, show_head
from analyses.explorer.jobs import ExplorerError, Job, JobQueue
from analyses.explorer.layout import FIELDS
from analyses.explorer.server import is_allowed_host, make_application
from analyses.explorer.sweep_view import SweepResult, run_sweep
from analyses.explorer.views import VIEWS, ViewResult
from analyses.explorer.workspace import SAVED, FitOptions, Workspace
from figures.printing import export
from figures.style.drawing import Drawing
from interp_steer.errors import InterpSteerError
from interp_steer.interventions.operations import Operation
from tests.support.shapes import shapes_unchecked

LOWER, ITALIAN = "change_case:english_lowercase", "language:response_language?language=it"
PROMPT = "Tell me about the castle."
SMALL = FitOptions(model="burattino-tiny", n_fit=12, n_select=4, n_test=4)


@pytest.fixture(scope="module")
def workspace() -> Iterator[Workspace]:
    with shapes_unchecked():
        yield Workspace(ist.load("burattino-tiny", device="cpu"), SMALL)


@pytest.fixture
def queue() -> Iterator[JobQueue]:
    queue = JobQueue(max_waiting=4, max_tabs=3)
    yield queue
    queue.close()


def done(work: Iterator[None], job: Job) -> Any:
    """Run a job's work without a queue and return the result."""
    for _ in work:
        pass
    return job.result


def answer(workspace: Workspace, request: Request) -> AnswerPair:
    job = Job("answer", 0, 0)
    return done(answer_request(workspace, request, job), job)


# ------------------------------------------------------------------ the queue
def test_the_newest_request_of_a_tab_counts(queue: JobQueue) -> None:
    gate, begun, late = threading.Event(), threading.Event(), []

    def slow(job: Job) -> Iterator[None]:
        begun.set()
        gate.wait(10)
        yield
        late.append("slow")

    def fast(job: Job) -> Iterator[None]:
        job.report(result="fast")
        yield

    first = queue.submit("a", "answer", slow)
    begun.wait(10)
    second = queue.submit("a", "answer", fast)
    other = queue.submit("b", "answer", fast)
    gate.set()
    assert queue.wait(second).state == queue.wait(other).state == "done"
    assert queue.wait(first).state == "stopped" and not late
    assert second.result == "fast" and queue.tab("a").jobs["answer"] is second


def test_answers_go_before_the_rest_of_a_sweep(queue: JobQueue) -> None:
    order: list[str] = []
    gate = threading.Event()

    def sweep(job: Job) -> Iterator[None]:
        gate.wait(10)
        for at in range(3):
            order.append(f"sweep {at}")
            yield

    def answer(job: Job) -> Iterator[None]:
        order.append("answer")
        yield

    long = queue.submit("a", "sweep", sweep, rank=2)
    short = queue.submit("b", "answer", answer, rank=0)
    assert queue.ahead(short) == 0
    gate.set()
    queue.wait(short)
    queue.wait(long)
    assert order in (
        ["sweep 0", "answer", "sweep 1", "sweep 2"],
        ["answer", "sweep 0", "sweep 1", "sweep 2"],
    )


def test_a_full_queue_refuses_and_a_closed_tab_leaves_it(queue: JobQueue) -> None:
    gate = threading.Event()

    def wait(job: Job) -> Iterator[None]:
        gate.wait(10)
        job.report()
        yield

    jobs = [queue.submit("a", f"kind {at}", wait) for at in range(4)]
    with pytest.raises(ExplorerError, match="waiting for the model"):
        queue.submit("b", "answer", wait)
    queue.leave("a")
    gate.set()
    assert [queue.wait(job).state for job in jobs] == ["stopped"] * 4


def test_tabs_that_are_silent_are_forgotten(queue: JobQueue) -> None:
    first = queue.tab("0")
    for name in "123":
        queue.tab(name)
    assert queue.tab("3") is not first and queue.tab("0") is not first


def test_errors_are_words(queue: JobQueue, capsys: pytest.CaptureFixture[str]) -> None:
    def foreseen(job: Job) -> Iterator[None]:
        yield
        raise ExplorerError("There is no such thing; choose another.")

    def unforeseen(job: Job) -> Iterator[None]:
        yield
        raise ZeroDivisionError("secret/path.py")

    assert queue.wait(queue.submit("a", "x", foreseen)).message.startswith("There is no such thing")
    said = queue.wait(queue.submit("a", "y", unforeseen)).message
    assert "ZeroDivisionError" in said and "secret" not in said and "Traceback" not in said
    assert "secret" in capsys.readouterr().err
    assert queue.wait(queue.submit("a", "z", lambda job: iter(()))).state == "done"  # it goes on


# ------------------------------------------------------------------ forms
def form(**changes: Any) -> dict[str, Any]:
    card = dict.fromkeys(FIELDS) | {"name": LOWER, "layers": [1]}
    steer = {name: changes.pop(name, value) for name, value in card.items()}
    usual = {"prompt": PROMPT, "max_new_tokens": "8", "temperature": "0", "seed": "0"}
    return usual | {"read_layer": ""} | changes | {"steers": [steer]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prompt": "x" * 4001}, "4,001 characters; 4,000 are allowed"),
        ({"prompt": " \n"}, "prompt is empty"),
        ({"name": None}, "No vector is chosen"),
        ({"layers": []}, "No layer is chosen"),
        ({"layers": [99]}, "from 0 to 3"),
        ({"operation": "add", "strength": ""}, "The strength is missing"),
        ({"operation": "add", "strength": "much"}, "The strength is 'much'"),
        ({"operation": "add", "strength": "nan"}, "give a number from -10000 to 10000"),
        ({"operation": "add", "strength": "1", "unit": "miles"}, "The unit is 'miles'"),
        ({"operation": "drop"}, "The operation is 'drop'"),
        ({"schedule": "sometimes"}, "schedule 'sometimes' is unknown"),
        ({"schedule": "steps(" + "1;" * 300 + "1)"}, "characters; 400 are allowed"),
        ({"positions": "nowhere"}, "unknown positions"),
        ({"max_new_tokens": "100000"}, "from 1 to 256"),
        ({"max_new_tokens": "1.5"}, "give a whole number"),
        ({"temperature": "-1"}, "The temperature is '-1'"),
        ({"estimator": "guess"}, "The estimator is 'guess'"),
    ],
)
def test_forms_are_refused_in_words(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InterpSteerError) as refused:
        parse_request(form(**changes), Limits(), 4)
    assert words in str(refused.value)


anything = st.none() | st.text(max_size=12) | st.integers() | st.floats() | st.lists(st.integers())


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from([*FIELDS, "prompt", "max_new_tokens", "seed"]), anything))
def test_whatever_comes_in_a_form_is_an_ask_or_refused(changes: dict[str, Any]) -> None:
    with contextlib.suppress(InterpSteerError):
        request = parse_request(form(**changes), Limits(), 4)
        assert all(0 <= layer < 4 for choice in request.choices for layer in choice.layers)
        assert 1 <= request.max_new_tokens <= 256


def test_strengths_are_read_once_and_in_order() -> None:
    found = parse_strengths("2, 0.5; 2,-1,", "kl", Limits())
    assert [str(one) for one in found] == ["-1kl", "0.5kl", "2kl"]
    with pytest.raises(ExplorerError, match="no strengths"):
        parse_strengths(" , ", "norm", Limits())


def test_fields_of_a_card_come_together() -> None:
    flat = {f"{name}-{at}": f"{name}{at}" for name in FIELDS for at in range(3)}
    found = group_cards(flat | {"prompt": "p"})
    assert found["prompt"] == "p" and found["steers"][2]["unit"] == "unit2"
    assert [*found["steers"][0]] == list(FIELDS)


# ------------------------------------------------------------------ who may ask
@given(st.ip_addresses(), st.integers(1, 65535))
def test_addresses_and_given_names_are_answered_to(address: Any, port: int) -> None:
    name = f"[{address}]" if address.version == 6 else str(address)
    assert is_allowed_host(f"{name}:{port}", ())
    assert is_allowed_host("LocalHost:8050", {"localhost"})
    for stranger in ("evil.example", f"{address}.evil.example", "localhost.evil.example", ""):
        assert not is_allowed_host(f"{stranger}:{port}", {"localhost"})


def test_the_server_answers_its_own_page_alone(workspace: Workspace) -> None:
    app = make_application(workspace)
    client = app.server.test_client()
    try:
        page = client.get("/")
        assert page.status_code == 200
        assert "://" not in page.get_data(as_text=True).replace("http://www.w3.org", "")
        assert "default-src 'self'" in page.headers["Content-Security-Policy"]
        assert client.get("/", headers={"Host": "evil.example"}).status_code == 403
        foreign = client.post("/gone/x", headers={"Origin": "http://evil.example"})
        assert foreign.status_code == 403
        assert "other sites" in foreign.get_data(as_text=True)
        assert client.post("/gone/x").status_code == 204
        layouts = [client.get("/_dash-layout").get_data() for _ in range(2)]
        assert layouts[0] != layouts[1]  # each tab has a name of its own
    finally:
        app.server.config["EXPLORER"].queue.close()


def test_the_command_line_has_the_page_beside_the_analyses(tmp_path: Path) -> None:
    def asked(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "analyses", *arguments], capture_output=True, text=True
        )

    shown = asked("explore", "--help").stdout
    assert "--host" in shown and "--results" not in shown and "WARNING" in shown


# ------------------------------------------------------------------ answers, and their code
STEERINGS = {
    "projection": (SteeringChoice(Source(LOWER), (1,)),),
    "addition": (
        SteeringChoice(
            Source(ITALIAN), (1, 2), Operation.ADD, ist.Strength(3.0), "diminishing(6)", "generated"
        ),
    ),
    "two": (
        SteeringChoice(
            Source(LOWER, position="generated"), (2,), Operation.ADD, ist.Strength(2.0, "residual")
        ),
        SteeringChoice(
            Source(ITALIAN, estimator="pca"), (1,), Operation.PROJECT, ist.Strength(1.5)
        ),
    ),
    "dynamic": (
        SteeringChoice(
            Source(ITALIAN), (1,), Operation.ADD, ist.Strength(2.0), "dynamic(0.5)", "generated"
        ),
    ),
    "heads": (
        SteeringChoice(Source(LOWER, component="z"), (2,), Operation.ADD, ist.Strength(2.0)),
    ),
    "ablation": (SteeringChoice(Source(LOWER), (0, 3), Operation.ABLATE),),
    "turn": (
        SteeringChoice(
            Source(ITALIAN), (2,), Operation.TURN, ist.Strength(6.0), "fixed", "generated"
        ),
    ),
}


@pytest.mark.parametrize("name", STEERINGS)
def test_the_answers_are_the_apis_and_so_are_those_of_the_code(
    name: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    temperature = 0.7 if name == "two" else 0.0
    request = Request(PROMPT, STEERINGS[name], max_new_tokens=14, temperature=temperature, seed=3)
    answers = answer(workspace, request)
    assert (
        answers.completions is not None and answers.tokens is not None and answers.steps is not None
    )
    steering = workspace.make_steering(request.choices)
    api = ist.generate(
        workspace.model,
        [PROMPT] * 2,
        [ist.unsteered, steering],
        max_new_tokens=14,
        sampling=request.sampling,
    )
    assert list(answers.completions) == api
    assert answers.texts == (api[0].text, api[1].text)
    for side, text in zip(SIDES, answers.texts, strict=True):
        assert "".join(span.children for span in render.make_spans(answers, side)) == text
    assert answers.steps["property"].n_unique() == len(request.choices)
    monkeypatch.setattr(ist, "load", lambda given: workspace.model)  # loaded already
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        left: dict[str, Any] = {}
        exec(compile(answers.code, "copied.py", "exec"), left)
    assert said.getvalue() == f"{api[0].text}\n{api[1].text}\n"
    assert str(left["steer"]) == str(steering) == answers.completions[1].applied


def test_the_code_loads_the_model_that_was_given(workspace: Workspace) -> None:
    answers = answer(
        workspace, Request('A "quoted"\nprompt', STEERINGS["projection"], max_new_tokens=2)
    )
    assert "model = ist.load('burattino-tiny')" in answers.code
    assert "fit=12, select=4, test=4" in answers.code
    compile(answers.code, "copied.py", "exec")


def test_projections_are_those_of_a_trace(workspace: Workspace) -> None:
    request = Request(PROMPT, STEERINGS["projection"], max_new_tokens=6, read_layer=1)
    answers = answer(workspace, request)
    assert answers.tokens is not None and answers.target is not None
    steered = answers.tokens.filter(answers.tokens["answer_id"] == "steered")["projection"]
    assert steered.to_list() == pytest.approx([answers.target] * len(steered), abs=1e-3)
    assert Request(PROMPT, request.choices).read_at(range(4)) == 2  # not where all are the same


def test_a_saved_vector_steers_as_it_did(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source(LOWER)
    vector = workspace.get_vector(source)
    name, content = render.save_vector_file(workspace, source)
    (tmp_path / name).write_bytes(content)
    again = ist.SteeringVector.load(tmp_path / name)
    assert torch.equal(again.directions, vector.directions) and again.card == vector.card
    key = workspace.open_file(name, content)
    assert key in [option["value"] for option in workspace.list_options()]
    steer = SteeringChoice(Source(key), (1,), Operation.ADD, ist.Strength(2.0))
    answers = answer(workspace, Request(PROMPT, (steer,), max_new_tokens=6))
    fitted = SteeringChoice(source, (1,), Operation.ADD, ist.Strength(2.0))
    assert answers.texts == answer(workspace, Request(PROMPT, (fitted,), max_new_tokens=6)).texts
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ist, "load", lambda given: workspace.model)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(answers.code, {})
    assert said.getvalue() == "\n".join([*answers.texts, ""])


@pytest.mark.parametrize("content", [b"", b"no safetensors", b"\x80\x04pickle" * 99])
def test_what_is_no_vector_is_refused_by_its_name(workspace: Workspace, content: bytes) -> None:
    with pytest.raises(InterpSteerError, match=r"mine\.safetensors") as refused:
        workspace.open_file("mine.safetensors", content)
    assert "/tmp" not in str(refused.value)


def test_names_that_stand_for_nothing_are_refused(workspace: Workspace) -> None:
    for name in (f"{SAVED}gone", "no:such", "language:response_language?language=xx"):
        with pytest.raises(InterpSteerError):
            workspace.get_vector(Source(name))
    with pytest.raises(ExplorerError, match="press Steer first"):
        render.save_vector_file(workspace, Source(LOWER, position="all"))


# ------------------------------------------------------------------ views
def test_a_sweep_fills_its_map(workspace: Workspace) -> None:
    job = Job("sweep", 2, 0)
    steer = SteeringChoice(Source(LOWER), (1,), Operation.ADD)
    strengths = parse_strengths("1, 3", "norm", Limits())
    work = run_sweep(workspace, steer, strengths, 2, 6, 160, job)
    sizes = []
    for _ in work:
        if isinstance(job.result, SweepResult):
            sizes.append(len(job.result.records))
    assert sizes == [4 * (layer + 1) for layer in range(workspace.model.n_layers)]  # as it goes
    found = job.result
    assert isinstance(found, SweepResult) and found.measures == ["follow", "kl"]
    drawing = found.drawing("kl", (2, 3.0))
    assert drawing is not None and len(drawing.figure.layout.shapes) == 1
    assert render.find_clicked_cell(found, {"points": [{"x": 1, "y": 2}]}) == (2, 3.0)
    with pytest.raises(InterpSteerError, match="a cell"):
        render.find_clicked_cell(found, {"points": []})
    with pytest.raises(ExplorerError, match="8 cells; 4 are allowed"):
        done(run_sweep(workspace, steer, strengths, 2, 6, 4, job), job)


@pytest.mark.parametrize("name", VIEWS)
def test_views_draw_figures_that_say_what_they_show(name: str, workspace: Workspace) -> None:
    workspace.get_vector(Source(ITALIAN))  # another to compare with
    job = Job("view", 1, 0)
    seen = done(VIEWS[name](workspace, STEERINGS["projection"], job), job)
    assert isinstance(seen, ViewResult) and seen.drawings
    for drawing in seen.drawings.values():
        assert isinstance(drawing, Drawing) and drawing.caption.endswith(".")


def test_views_refuse_what_they_cannot_show_in_words(workspace: Workspace) -> None:
    heads = (SteeringChoice(Source(LOWER, component="z"), (1,)),)
    for name in ("lens", "propagation"):
        job = Job("view", 1, 0)
        with pytest.raises(InterpSteerError):
            done(VIEWS[name](workspace, heads, job), job)


def test_heads_are_measured_and_seen_from_near(workspace: Workspace) -> None:
    job = Job("view", 1, 0)
    heads = done(measure_heads(workspace, Source(LOWER), job), job)
    assert isinstance(heads, Heads)
    assert len(heads.table) == workspace.model.n_layers * workspace.model.n_heads
    assert all(heads.drawing(quantity).caption for quantity in QUANTITIES)
    near = done(show_head(workspace, heads, 1, 0, job), job)
    assert ("head", "1.0") in near.facts
    assert set(near.drawings) == {"head_sides", "head_raised", "head_lowered"}
    with pytest.raises(ExplorerError, match=r"no head 99\.0"):
        done(show_head(workspace, heads, 99, 0, job), job)


def test_ten_tabs_get_their_own_answers(workspace: Workspace) -> None:
    queue = JobQueue()
    explorer = Explorer(workspace, queue, Limits())
    prompts = [
        f"Tell me about the {what}." for what in ["castle", "sea", "school", "fox", "king"]
    ] * 2
    flat = {f"{name}-{at}": None for name in FIELDS for at in range(3)}
    flat |= {"name-0": LOWER, "layers-0": [1], "max_new_tokens": "8", "seed": "0"}
    jobs = [
        explorer.submit_answer(f"tab {at}", flat | {"prompt": prompt})
        for at, prompt in enumerate(prompts)
    ]
    said = [queue.wait(job).result.texts[0] for job in jobs]
    queue.close()
    api = ist.generate(workspace.model, prompts[:5], max_new_tokens=8)
    assert said == [completion.text for completion in api] * 2


@pytest.mark.slow
@pytest.mark.skipif(export.browser() is None, reason="no Chrome or Chromium to print with")
@pytest.mark.parametrize(
    ("kind", "start"), [("pdf", b"%PDF"), ("svg", b"<svg"), ("png", b"\x89PNG")]
)
def test_figures_are_saved(kind: str, start: bytes, workspace: Workspace) -> None:
    job = Job("view", 1, 0)
    seen = done(VIEWS["card"](workspace, STEERINGS["projection"], job), job)
    content = print_figure(seen.drawings["norms"], "norms", kind, workspace)
    assert content.startswith(start)
    assert workspace.model.fingerprint.encode() in content or kind == "pdf"
    with pytest.raises(ExplorerError, match="not as 'exe'"):
        print_figure(seen.drawings["norms"], "norms", "exe", workspace)
