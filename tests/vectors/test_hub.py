"""Vectors go to a hub and come back the same, and what is wrong there is said with the mend."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
import yaml

import interp_steer as ist
from interp_steer.errors import HubError, VectorError
from interp_steer.vectors import hub
from tests.support.hub_server import TOKEN, Hub, served
from tests.support.vectors import stepped, vector

MINE = "you/lowercase"


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub on this machine, which the client may reach; no token of whoever runs the tests."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    huggingface_hub.utils.disable_progress_bars()
    with served() as running:
        yield running


@pytest.fixture
def fetch(online: Hub, tmp_path: Path) -> Callable[..., ist.SteeringVector]:
    def fetch(repo_id: str = MINE, **given: Any) -> ist.SteeringVector:
        known: dict[str, Any] = {"cache_dir": tmp_path / "cache", "endpoint": online.url}
        return ist.SteeringVector.from_hub(repo_id, **(known | given))

    return fetch


def push(to: Hub, what: Any = None, repo_id: str = MINE, **given: Any) -> str:
    known: dict[str, Any] = {"token": TOKEN, "endpoint": to.url}
    return (what or vector()).push_to_hub(repo_id, **(known | given))


def same(a: Any, b: Any) -> bool:
    """Bit for bit, the card too."""

    def tensors(of: Any) -> dict[str, torch.Tensor]:
        return {name: value for name, value in vars(of).items() if isinstance(value, torch.Tensor)}

    mine, theirs = tensors(a), tensors(b)
    return (type(a), a.card, a.layers, *mine) == (type(b), b.card, b.layers, *theirs) and all(
        torch.equal(mine[name], theirs[name]) for name in mine
    )


@pytest.mark.parametrize("lfs", [False, True], ids=["in the commit", "by Git LFS"])
def test_what_was_pushed_comes_back_the_same(
    online: Hub, fetch: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, lfs: bool
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    online.lfs = lfs
    sent = replace(vector(), baseline=torch.randn(4, 6))
    commit = push(online, sent)
    assert bool(online.stored) == lfs
    assert commit == online.repos[MINE].branches["main"]
    assert same(fetch(), sent) and same(fetch(revision=commit), sent)
    assert set(online.repos[MINE].commits[commit]) == {".gitattributes", hub.FILE, "README.md"}


def test_a_vector_of_several_steps_too(online: Hub, tmp_path: Path) -> None:
    push(online, stepped())
    given: dict[str, Any] = {"cache_dir": tmp_path, "endpoint": online.url}
    assert same(ist.SteppedVector.from_hub(MINE, **given), stepped())
    with pytest.raises(VectorError, match="holds SteppedVector, not SteeringVector"):
        ist.SteeringVector.from_hub(MINE, **given)


def test_a_commit_is_for_ever_and_a_branch_moves(online: Hub, fetch: Callable[..., Any]) -> None:
    first = push(online)
    second = push(online, 2 * vector())
    assert first != second
    assert same(fetch(), 2 * vector()) and same(fetch(revision=first), vector())
    assert push(online, 2 * vector()) == second  # nothing changed, so that there is no new commit
    third = push(online, 3 * vector(), revision="stronger")
    assert push(online, 3 * vector(), revision="stronger") == third
    assert same(fetch(revision="stronger"), 3 * vector()) and same(fetch(), 2 * vector())


def test_a_fetched_commit_is_read_without_the_hub(
    online: Hub, fetch: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = push(online)
    fetch(revision=commit)
    before = len(online.asked)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert same(fetch(revision=commit), vector()) and len(online.asked) == before


def test_a_private_repository_is_seen_with_the_token(
    online: Hub, fetch: Callable[..., Any]
) -> None:
    assert push(online, private=True, repo_id="lowercase")  # without a namespace it is one's own
    assert online.repos[MINE].private
    assert same(fetch(token=TOKEN), vector())
    with pytest.raises(
        HubError, match="the repository does not exist, or the token may not see it"
    ):
        fetch(token=False, revision=online.repos[MINE].branches["main"][:-1] + "x")


def test_the_page_is_made_from_the_card(online: Hub) -> None:
    sent = vector(model="google/gemma-2-2b-it", revision="299a856", split="fit", name="x: [y]\n# z")
    push(online, sent)
    page = online.repos[MINE].files("main")["README.md"].decode()  # type: ignore[index]
    header, text = re.fullmatch(r"---\n(.*?)\n---\n(.*)", page, re.DOTALL).groups()  # type: ignore[union-attr]
    assert yaml.safe_load(header) == {
        "base_model": "google/gemma-2-2b-it",
        "library_name": "interp_steer",
        "tags": list(hub.TAGS),
    }
    assert "# x: [y] # z\n" in text and f"```text\n{sent.card}\n```" in text
    assert 'ist.load("google/gemma-2-2b-it", revision="299a856")' in text
    assert f'ist.SteeringVector.from_hub("{MINE}").check(model)' in text


@pytest.mark.parametrize("name", ["burattino-instruct", "/home/you/gemma", "a/b/c", "a b"])
def test_what_is_no_model_of_the_hub_is_not_linked(name: str) -> None:
    assert hub.find_base_model(vector(model=name).card) is None
    assert "base_model" not in hub.write_page(vector(model=name), MINE)


def test_a_page_steers_at_a_layer_that_has_a_direction() -> None:
    some = vector()
    directions = some.directions.clone()
    directions[2:] = 0
    assert "vector.at(1)" in hub.write_page(replace(some, directions=directions), MINE)
    assert "vector.shift(1.0)" in hub.write_page(stepped(), MINE)
    with pytest.raises(VectorError, match="zero everywhere"):
        hub.write_page(replace(some, directions=torch.zeros(4, 6)), MINE)


def test_nothing_is_made_for_a_vector_that_is_zero(online: Hub) -> None:
    with pytest.raises(VectorError, match="zero everywhere"):
        push(online, replace(vector(), directions=torch.zeros(4, 6)))
    assert not online.repos


def test_the_lines_of_the_page_run(
    online: Hub, tmp_path: Path, burattino_instruct: ist.HookedLM
) -> None:
    pairs = ist.world.instruction("change_case:english_lowercase", fit=4, select=1, test=1)
    push(online, ist.fit(burattino_instruct, pairs))
    page = online.repos[MINE].files("main")["README.md"].decode()  # type: ignore[index]
    lines = re.search(r"```python\n(.*?)```", page, re.DOTALL)[1]  # type: ignore[index]
    assert len(lines.splitlines()) == 5
    place = {"HF_ENDPOINT": online.url, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
    ran = subprocess.run(
        [sys.executable, "-c", lines],
        env=os.environ | place,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    assert len(ran.stdout.split()) > 1 and f"GET /{MINE}/resolve/main/{hub.FILE}" in online.asked


# ---------------------------------------------------------------------- what can be wrong


def test_a_name_that_no_repository_has(online: Hub, fetch: Callable[..., Any]) -> None:
    for name in ("a/b/c", "a b", "x--y", "..", ""):
        with pytest.raises(HubError, match="namespace/name"):
            push(online, repo_id=name)
        with pytest.raises(HubError, match="namespace/name"):
            fetch(name)
    assert not online.asked


def test_what_is_not_there(online: Hub, fetch: Callable[..., Any]) -> None:
    push(online)
    with pytest.raises(
        HubError, match="'you/other' cannot be fetched: the repository does not exist"
    ):
        fetch("you/other", token=TOKEN)
    with pytest.raises(
        HubError, match="the repository does not exist, or the token may not see it"
    ):
        fetch("you/other")
    with pytest.raises(HubError, match=r"at revision 'old' .* no such revision"):
        fetch(revision="old")
    with pytest.raises(HubError, match=r"v2\.safetensors of .* no such file"):
        fetch(filename="v2.safetensors")
    online.repos[MINE].gated = True
    with pytest.raises(HubError, match="gated; ask for access"):
        fetch()


def test_no_token_and_one_that_may_not_write(online: Hub) -> None:
    for token in (None, False, "hf_reads"):
        with pytest.raises(HubError, match=r"refuses the token \(401\).*hf auth login"):
            push(online, token=token)
    with pytest.raises(HubError, match="no token is set; run `hf auth login`"):
        push(online, token=True)
    with pytest.raises(HubError, match=r"refuses the token \(403\)"):
        push(online, repo_id="others/lowercase")
    assert not online.repos


def test_offline(online: Hub, fetch: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for act in (fetch, lambda: push(online)):
        with pytest.raises(HubError, match="HF_HUB_OFFLINE is set"):
            act()
    assert not online.asked


def test_no_connection(
    online: Hub, fetch: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "time.sleep", lambda seconds: None
    )  # the client waits before it tries again
    nowhere = "http://127.0.0.1:9"
    for act in (lambda: fetch(endpoint=nowhere), lambda: push(online, endpoint=nowhere)):
        with pytest.raises(HubError, match=r"127\.0\.0\.1:9 cannot be reached"):
            act()


@pytest.mark.parametrize(
    "trouble, match",
    [
        ((418, b"{}"), "answered 418"),
        ((200, b"<html>log in first</html>"), "did not answer as a hub does"),
        ((404, b""), "no such|answered 404"),
    ],
    ids=["a teapot", "a page to log in", "nothing there"],
)
def test_what_is_no_hub(
    online: Hub, fetch: Callable[..., Any], trouble: tuple[int, bytes], match: str
) -> None:
    online.trouble = trouble
    with pytest.raises(HubError, match=match):
        push(online)
    with pytest.raises(HubError, match=r"answered|did not answer as a hub does|cannot be reached"):
        fetch()


def test_a_place_that_cannot_be_written(
    online: Hub, fetch: Callable[..., Any], tmp_path: Path
) -> None:
    push(online)
    (tmp_path / "file").write_text("")
    with pytest.raises(HubError, match="give another cache_dir="):
        fetch(cache_dir=tmp_path / "file" / "cache")


@pytest.mark.parametrize(
    "content, match",
    [(b"", "cannot be read as safetensors"), (b"\x80\x04cos\nsystem\n", "cannot be read as safe")],
    ids=["empty", "a pickle"],
)
def test_what_was_fetched_is_read_by_the_loader(
    online: Hub, fetch: Callable[..., Any], content: bytes, match: str
) -> None:
    push(online)
    online.repos[MINE].commit("main", {hub.FILE: content})
    with pytest.raises(VectorError, match=match):
        fetch()
