"""Sites: names that parse back, names that TransformerLens has, shapes that activations have."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from interp_steer.errors import SiteError
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.sites import COMPONENTS, Site
from tests.support.checkpoints import ARCHITECTURES

sites = st.builds(Site, st.sampled_from(COMPONENTS), st.integers(0, 10_000))


@given(sites)
def test_a_site_parses_back_from_its_text(site: Site) -> None:
    assert Site.parse(str(site)) == site


@given(st.lists(sites, max_size=20))
def test_sites_are_ordered_by_component_then_layer(some: list[Site]) -> None:
    assert sorted(some) == sorted(some, key=lambda site: (site.component, site.layer))


@given(st.text())
def test_any_other_text_is_refused_with_the_errors_own_name(text: str) -> None:
    try:
        site = Site.parse(text)
    except SiteError:
        return
    assert site.component in COMPONENTS
    assert str(site) == text or str(int(text.rpartition(".")[2])) != text.rpartition(".")[2]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_site_is_a_hook_point_with_the_shape_it_says(
    architecture: str, tiny: Callable[[str], HookedLM]
) -> None:
    model = tiny(architecture)
    batch = model.pad(model.tokenize(["Tell me about the castle.", "Hello."]))
    with torch.inference_mode():
        _, cache = model.bridge.run_with_cache(
            batch.tokens, attention_mask=batch.attention_mask, return_cache_object=False
        )
    for component in COMPONENTS:
        for site in model.sites(component):
            shape = site.shape(model.n_heads, model.d_head, model.d_model)
            assert cache[site.hook_name].shape == (*batch.tokens.shape, *shape)


def test_what_the_model_does_not_have_is_named() -> None:
    with pytest.raises(SiteError, match=r"'resid'; use one of resid_pre, .*mlp_out, z"):
        Site("resid", 0)
    with pytest.raises(SiteError, match=r"never reaches the residual stream .*attn_out"):
        Site("resid_mid", 0)
    with pytest.raises(SiteError, match="layer -1 is negative; layers count from 0"):
        Site("z", -1)
    with pytest.raises((SiteError, TypeCheckError)):  # the second where types are checked
        Site("z", 1.5)  # type: ignore[arg-type]
    with pytest.raises(SiteError, match=r"z\.8 is out of range: the model has 8 layers.*0 to 7"):
        Site("z", 8).check(8)
    with pytest.raises(SiteError, match=r"not a site; write component\.layer"):
        Site.parse("resid_post[5]")
    assert Site("z", 7).check(8) == Site("z", 7)
