"""The self-check: real defects of a bridge refused by name, and healthy models let through."""

from __future__ import annotations

from collections.abc import Callable
from functools import partialmethod
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformer_lens.model_bridge.generalized_components import (
    AttentionBridge,
    BlockBridge,
    GatedMLPBridge,
    LinearBridge,
)

from interp_steer.errors import ModelError
from interp_steer.models.loading import load
from interp_steer.models.self_check import check_both_paths
from tests.support.checkpoints import write_checkpoint


def test_a_bridge_with_other_numbers_is_refused(
    checkpoint: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    true_forward = GatedMLPBridge.forward
    monkeypatch.setattr(
        GatedMLPBridge, "forward", lambda self, *args: true_forward(self, *args) * 1.01
    )
    with pytest.raises(ModelError, match=r"logits are not plain .*differ by \d.*allowed.*check=F"):
        load(checkpoint("llama3"), device="cpu")
    load(checkpoint("llama3"), device="cpu", check=False)


def test_a_hook_point_that_is_not_what_its_name_says_is_refused(
    checkpoint: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    # attn_out read before the norm that follows it, which is not what the residual stream gets.
    true_init = BlockBridge.__init__
    before_the_norm = {"hook_attn_out": "attn.hook_out"}
    monkeypatch.setattr(
        BlockBridge, "__init__", partialmethod(true_init, hook_alias_overrides=before_the_norm)
    )
    with pytest.raises(ModelError, match=r"is not resid_post in layer 0: they differ by \d"):
        load(checkpoint("gemma2"), device="cpu")


def test_a_z_that_is_not_what_the_output_projection_reads_is_refused(
    checkpoint: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    aliases = dict(AttentionBridge.hook_aliases) | {"hook_z": "q.hook_out"}
    monkeypatch.setattr(AttentionBridge, "hook_aliases", aliases)
    with pytest.raises(ModelError, match=r"not its output projection of z in layer 0: they diff"):
        load(checkpoint("llama2"), device="cpu")


def test_a_hook_point_whose_writes_go_nowhere_is_refused(
    checkpoint: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def deaf(self: LinearBridge, value: Tensor) -> Tensor:
        self.hook_in(value)  # shown to the hooks, and what they return is dropped
        return self.hook_out(self._original_component(value))

    monkeypatch.setattr(LinearBridge, "forward", deaf)
    with pytest.raises(
        ModelError, match=r"a write at z\.0 does not do on the bridge .*moves .*differ by \d"
    ):
        load(checkpoint("llama2"), device="cpu")


@pytest.mark.parametrize(
    ("architecture", "dtype"),
    [("gemma2", torch.bfloat16), ("phi3", torch.bfloat16), ("gpt2", torch.float16)],
)
def test_the_self_check_holds_in_half_precision(
    architecture: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    folder = write_checkpoint(architecture, tmp_path, dtype=dtype)
    assert load(folder, device="cpu").dtype == dtype
    assert load(folder, device="cpu", dtype="float32").dtype == torch.float32


@pytest.mark.parametrize("bundled", ["burattino_base", "burattino_instruct"])
def test_the_bundled_models_pass_their_self_check(
    bundled: str, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(bundled)
    check_both_paths(model)
    assert model.name == bundled.replace("_", "-")
    assert model.stop_ids
