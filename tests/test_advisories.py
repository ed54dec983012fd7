"""What is known against a pinned package is said; what nobody could look up is not called safe."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "advisories.py"

SAFE = {"name": "einops", "version": "0.8.2", "vulns": []}
SKIPPED = {"name": "torch", "skip_reason": "Dependency not found on PyPI and could not be audited"}
BAD = {
    "name": "jinja2",
    "version": "3.1.0",
    "vulns": [
        {
            "id": "PYSEC-1",
            "aliases": ["CVE-1"],
            "fix_versions": ["3.1.4"],
            "description": "A template\nruns code.",
        },
        {"id": "PYSEC-2", "fix_versions": [], "description": "x" * 5000},
    ],
}


@pytest.fixture(scope="module")
def advisories() -> ModuleType:
    spec = importlib.util.spec_from_file_location("advisories", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_known_vulnerability_is_named(advisories: ModuleType) -> None:
    lines, vulnerable = advisories.report({"dependencies": [SAFE, BAD, SKIPPED]})
    text = "\n".join(lines)
    assert vulnerable and "2 of 3 packages could be looked up" in lines[0]
    assert "jinja2 3.1.0: PYSEC-1 CVE-1, fixed in 3.1.4" in text and "A template runs code." in text
    assert "PYSEC-2, fixed in no version yet" in text and len(text) < 1000
    assert "no known vulnerability" not in text and "einops" not in text


def test_what_was_not_looked_up_is_not_called_safe(advisories: ModuleType) -> None:
    lines, vulnerable = advisories.report({"dependencies": [SKIPPED]})
    assert not vulnerable and "0 of 1" in lines[0] and "nothing is known" in lines[1]
    lines, vulnerable = advisories.report({"dependencies": [SAFE, SKIPPED]})
    assert not vulnerable and "1 of 2" in lines[0] and "no known vulnerability" in lines[1]


def test_advisories_that_cannot_be_reached_fail_nothing(tmp_path: Path) -> None:
    """Nobody answers at the address; where pip-audit is missing, that is as good as no answer."""
    pins = tmp_path / "pins.txt"
    pins.write_text("einops==0.8.2\n")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(pins), "-s", "osv", "--osv-url", "http://127.0.0.1:9"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0 and "nothing is known" in done.stdout
