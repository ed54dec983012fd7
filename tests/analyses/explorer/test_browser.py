"""Test the explorer in a real browser, at two widths and in ten tabs."""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import interp_steer as ist
from analyses.explorer.form import Limits, Source, SteeringChoice
from analyses.explorer.server import make_application, make_listener
from analyses.explorer.workspace import FitOptions, Workspace
from interp_steer.interventions.operations import Operation
from tests.support.shapes import shapes_unchecked

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium to open the page in (apt-get install chromium)"
)

ITALIAN = "language:response_language?language=it"
OPEN = "element => element.closest('details')?.setAttribute('open', '')"
UNNAMED = """() => [...document.querySelectorAll('button, input:not([type=file]), textarea')]
    .filter(control => control.checkVisibility() && !control.ariaHidden && !control.ariaLabel)
    .filter(control => !control.labels?.length && !control.textContent.trim())
    .filter(control => !control.getAttribute('aria-labelledby'))
    .map(control => control.outerHTML)"""
"""Controls without a name."""
SECONDS = 60
"""A page may take so long to show something, on a machine that is busy with other tests."""


@pytest.fixture(scope="module")
def workspace() -> Iterator[Workspace]:
    with shapes_unchecked():
        fit_options = FitOptions(model="burattino-tiny", n_fit=12, n_select=4, n_test=4)
        yield Workspace(ist.load("burattino-tiny", device="cpu"), fit_options)


@pytest.fixture(scope="module")
def address(workspace: Workspace) -> Iterator[str]:
    app = make_application(workspace, Limits(letters=300))
    server = make_listener(app, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.port}/"
    server.shutdown()
    thread.join(10)
    server.server_close()
    app.server.config["EXPLORER"].queue.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Watched:
    """A page, with its console errors and its requests to other sites."""

    def __init__(self, context: Any, address: str) -> None:
        self.page = context.new_page()
        self.page.set_default_timeout(1000 * SECONDS)
        self.complaints: list[str] = []
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._asked)
        self._own = address
        self.page.goto(address)
        self.page.wait_for_selector("#go")

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self._own, "data:", "blob:")):
            self.complaints.append(f"asked for {request.url}")

    def text(self, side: str) -> str:
        return self.page.locator(f"#text-{side}").evaluate("element => element.textContent")

    def steer(self) -> None:
        """Press the button and wait until the answer is there, and coloured."""
        before = self.answered()
        self.page.click("#go")
        self.until(lambda: self.answered() != before)

    def answered(self) -> str | None:
        """Which answer is shown whole; None before the first."""
        return self.page.get_attribute("#legend", "data-answer")

    def until(self, met: Callable[[], Any]) -> None:
        """Wait until something is so. The page's policy lets nobody evaluate text within it, so
        that playwright's own waiting for an expression is refused."""
        end = time.monotonic() + SECONDS
        while not met():
            assert time.monotonic() < end, (self.page.inner_text("#error"), self.complaints)
            self.page.wait_for_timeout(50)

    def settled(self) -> None:
        """Wait until no view is being made."""
        self.until(lambda: self.page.text_content("#view-status") == "")

    def choose(self, of: str, value: str) -> None:
        """Choose one of a few options that stand side by side."""
        self.page.locator(f"#{of} label", has_text=value).click()

    def overflow(self) -> int:
        """Pixels by which the page is wider than the window."""
        return self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")


@pytest.fixture
def open_page(chromium: Any, address: str) -> Iterator[Any]:
    contexts = []

    def opened(width: int = 1280, height: int = 900) -> Watched:
        context = chromium.new_context(viewport={"width": width, "height": height})
        contexts.append(context)
        return Watched(context, address)

    yield opened
    for context in contexts:
        context.close()


def expected(workspace: Workspace, prompt: str, *steers: SteeringChoice) -> list[str]:
    """What the API answers, without steering and with it."""
    steering = [ist.unsteered, workspace.make_steering(steers)]
    said = ist.generate(workspace.model, [prompt] * 2, steering, max_new_tokens=24)
    return [completion.text for completion in said]


def short(page: Any) -> None:
    """Ask for a short answer."""
    page.locator("summary", has_text="Answer").click()
    page.fill("#max_new_tokens", "24")


@pytest.mark.parametrize("width", [1280, 390])
def test_a_user_types_steers_and_reads(width: int, open_page: Any, workspace: Workspace) -> None:
    watched = open_page(width)
    page = watched.page
    assert watched.overflow() <= 0
    page.fill("#prompt", "Tell me about the sea.")
    short(page)
    page.fill("#strength-0", "2")
    watched.steer()
    steer = SteeringChoice(Source(ITALIAN), (1,), Operation.ADD, ist.Strength(2.0))
    assert [watched.text("unsteered"), watched.text("steered")] == expected(
        workspace, "Tell me about the sea.", steer
    )
    assert page.inner_text("#applied") == str(workspace.make_steering([steer]))
    assert page.locator("#steps .main-svg").first.is_visible()
    assert watched.overflow() <= 0
    assert page.locator("#text-steered").bounding_box()["width"] > 0.4 * min(width, 700)
    for view in ("heads", "lens", "cosines", "propagation", "card"):
        page.locator(f"#view input[value={view}]").check(force=True)
        page.locator(f"#view-{view} figure:not([hidden]) .main-svg").first.wait_for()
        watched.settled()
        assert not page.is_visible("#view-error"), page.inner_text("#view-error")
        assert watched.overflow() <= 0, view
    assert watched.complaints == []


def test_a_click_on_the_map_steers_there(open_page: Any, workspace: Workspace) -> None:
    watched = open_page()
    page = watched.page
    short(page)
    page.fill("#sweep-strengths", "1, 4")
    page.fill("#sweep-prompts", "2")
    page.click("#sweep-go")
    rows = page.locator("#sweep .yaxislayer-above text")
    watched.until(lambda: rows.count() == workspace.model.n_layers)
    watched.settled()
    page.locator("#block-sweep").scroll_into_view_if_needed()
    box = page.locator("#sweep .nsewdrag").bounding_box()
    layers = workspace.model.n_layers
    at = box["x"] + 0.75 * box["width"], box["y"] + box["height"] * (layers - 2.5) / layers
    page.mouse.move(at[0] - 4, at[1])
    page.wait_for_timeout(300)
    page.mouse.click(*at)
    watched.until(lambda: page.input_value("#strength-0") == "4")
    assert page.inner_text("#layers-0").strip() == "2"
    watched.until(lambda: watched.answered())
    assert "resid_post.2" in page.inner_text("#applied")
    steer = SteeringChoice(Source(ITALIAN), (2,), Operation.ADD, ist.Strength(4.0))
    assert watched.text("steered") == expected(workspace, "Tell me about the castle.", steer)[1]
    assert watched.complaints == []


def test_a_click_on_a_head_shows_it(open_page: Any) -> None:
    watched = open_page()
    page = watched.page
    page.locator("#view input[value=heads]").check(force=True)
    page.wait_for_selector("#heads .nsewdrag")
    watched.settled()
    page.locator("#block-heads").scroll_into_view_if_needed()
    box = page.locator("#heads .nsewdrag").first.bounding_box()
    page.mouse.move(box["x"] + 6, box["y"] + box["height"] - 10)
    page.wait_for_timeout(300)
    page.mouse.click(box["x"] + 10, box["y"] + box["height"] - 8)
    page.wait_for_selector("#head_sides .main-svg")
    assert page.locator("#facts-heads dd").first.inner_text() == "0.0"
    page.fill("#head-layer", "1")  # the same without a mouse
    page.press("#head-layer", "Enter")
    watched.until(lambda: page.locator("#facts-heads dd").first.inner_text() == "1.0")
    assert watched.complaints == []


def test_errors_are_words_and_go_away(open_page: Any) -> None:
    watched = open_page()
    page = watched.page
    short(page)
    for name, value, words in (
        ("strength-0", "much", "The strength is 'much'"),
        ("schedule-0", "sometimes", "schedule 'sometimes' is unknown"),
        ("seed", "-1", "The seed is '-1'"),
    ):
        before = page.input_value(f"#{name}")
        page.locator(f"#{name}").evaluate(OPEN)
        page.fill(f"#{name}", value)
        page.click("#go")
        page.wait_for_selector(f"#error:has-text({words!r})")
        assert "Traceback" not in page.inner_text("body")
        page.fill(f"#{name}", before)
    page.evaluate("document.getElementById('prompt').removeAttribute('maxlength')")
    page.fill("#prompt", "x" * 400)
    page.click("#go")
    page.wait_for_selector("#error:has-text('400 characters; 300 are allowed')")
    page.fill("#prompt", "Tell me about the fox.")
    watched.steer()
    assert not page.is_visible("#error") and watched.text("steered")
    assert watched.complaints == []


def test_the_keyboard_is_enough(open_page: Any) -> None:
    watched = open_page()
    page = watched.page
    short(page)
    reached: set[str] = set()
    page.focus("#prompt")
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.name"))
    wanted = {"name-0", "layers-0", "operation-0", "strength-0", "unit-0", "more", "go", "stop"}
    assert wanted <= reached
    unnamed = page.evaluate(UNNAMED)
    assert unnamed == []
    page.focus("#prompt")
    page.keyboard.press("Control+a")
    page.keyboard.type("Tell me about the school.")
    page.keyboard.press("Control+Enter")
    watched.until(lambda: watched.answered())
    assert watched.complaints == []


def test_vectors_are_saved_opened_and_combined(
    open_page: Any, workspace: Workspace, tmp_path: Path
) -> None:
    watched = open_page()
    page = watched.page
    short(page)
    watched.steer()
    with page.expect_download() as saved:
        page.click("#save-vector-0")
    path = tmp_path / saved.value.suggested_filename
    saved.value.save_as(path)
    vector = ist.SteeringVector.load(path)
    assert vector.check(workspace.model).card == workspace.get_vector(Source(ITALIAN)).card
    with page.expect_file_chooser() as chooser:
        page.click("#upload button")
    chooser.value.set_files(path)
    watched.until(lambda: vector.name in page.inner_text("#name-0"))
    page.click("#more")
    page.wait_for_selector("#card-1", state="visible")
    page.click("#name-1")
    page.keyboard.type("lowercase")
    page.locator(".dash-dropdown-option", has_text="english lowercase").first.click()
    page.keyboard.press("Escape")
    watched.steer()
    applied = page.inner_text("#applied")
    assert re.match(r"add\(response_language it@.* \+ add\(english_lowercase@", applied)
    code = page.locator("#code").evaluate("element => element.textContent")
    assert f"ist.SteeringVector.load({path.name!r})" in code
    page.click("#remove-1")
    page.wait_for_selector("#card-1", state="hidden")
    watched.steer()
    assert "english_lowercase" not in page.inner_text("#applied")
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"nothing")
    with page.expect_file_chooser() as chooser:
        page.click("#upload button")
    chooser.value.set_files(bad)
    page.wait_for_selector("#error:has-text('bad.safetensors')")
    assert watched.complaints == []


@pytest.mark.slow
def test_ten_tabs_at_once(chromium: Any, address: str, workspace: Workspace) -> None:
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    about = ["castle", "sea", "school", "fox", "king"]
    prompts = [f"Tell me about the {what}." for what in about] * 2
    steer = SteeringChoice(Source(ITALIAN), (1,), Operation.ADD, ist.Strength(3.0))
    answers = [
        expected(workspace, prompt, steer) for prompt in prompts
    ]  # before others run the model
    try:
        tabs = [Watched(context, address) for _ in prompts]
        for tab, prompt in zip(tabs, prompts, strict=True):
            short(tab.page)
            tab.page.fill("#prompt", prompt)
            tab.page.click("#go")
            tab.page.click("#go")  # an impatient user
        for tab, answer in zip(tabs, answers, strict=True):
            tab.until(tab.answered)
            assert [tab.text("unsteered"), tab.text("steered")] == answer
            assert tab.complaints == []
    finally:
        context.close()
