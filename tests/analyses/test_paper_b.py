"""The whole of paper B hands to its parts what both know, and leaves them their own sizes."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from analyses import paper_b
from analyses.kit.parts import configure


@pytest.mark.parametrize("analysis", paper_b.EXPERIMENTS, ids=lambda one: one.__name__)
def test_parts_are_configured_as_if_run_alone(analysis):
    whole = paper_b.Config()
    assert asdict(configure(analysis, whole)) == asdict(analysis.Config())
    other = configure(analysis, replace(whole, model="burattino-gemma"))
    assert other.model == "burattino-gemma"
    assert asdict(replace(other, model=whole.model)) == asdict(analysis.Config())
