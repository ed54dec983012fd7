"""Any interventions together, from the command line: read and applied where they say."""

from __future__ import annotations

import polars as pl
import pytest

import interp_steer as ist
from analyses.instructions import interventions
from analyses.kit.cli import command_line
from analyses.kit.operations import Placement, Steerer
from interp_steer.errors import InterpSteerError
from interp_steer.statistics.intervals import Interval
from interp_steer.statistics.records import share_of

QUOTATION = "startend:quotation"
ITALIAN = "language:response_language?language=it"
SIZES = ["--n-fit", "16", "--n-select", "4", "--n-test", "4", "--max-new-tokens", "48"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a:b=project@3->5", Placement("a:b", "project", 3, 5)),
        ("a:b?c=less than=add:2@4", Placement("a:b?c=less than", "add:2", 4, 4)),
        ("a:b=generated/add:2@first(3)@0", Placement("a:b", "generated/add:2@first(3)", 0, 0)),
        ("x=1/v.safetensors=add:-1@7->2", Placement("x=1/v.safetensors", "add:-1", 7, 2)),
    ],
)
def test_an_intervention_is_read_with_both_its_layers(text, expected):
    found = Placement.parse(text)
    assert found == expected
    assert f"{found.vector}={found.operation}@{found.layers}" == text


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("a:b=project", "'a:b=project'.*LAYER->LAYER"),
        ("a:b=project@three", "'a:b=project@three'"),
        ("a:b=project@3->", "'a:b=project@3->'"),
        ("project@3", "'project@3'"),
        ("a:b=push@3", "'push'"),
        ("a:b=add@3", "'add'"),
        ("v.safetensors=generated/add:2@3", "leave out 'generated/'"),
    ],
)
def test_what_is_no_intervention_is_refused_with_the_mend(wrong, said):
    with pytest.raises(InterpSteerError, match=said):
        Placement.parse(wrong)


@pytest.mark.parametrize("read", [0, 2])
@pytest.mark.parametrize("operation", ["project", "add:2", "project:1", "add:0.1residual"])
def test_a_vector_read_at_one_layer_acts_at_another(tiny, read, operation):
    queries = ["One.", "Two.", "Three.", "Four."]
    pairs = ist.contrast.build("x", queries, ["Be brief.", "Short."], fit=3, select=1, test=0)
    model = tiny("llama3")
    steerer = Steerer.fit(model, pairs, [operation])
    vector = steerer.vectors["last"]
    steer = steerer.steering(read, operation, apply_layer=1)
    [edit] = steer.edits
    assert f"x[resid_post.{read}]@resid_post.1" in str(steer)
    assert edit.direction.vector.equal(vector.at(read).vector)
    # What acts is the direction of the one layer at the other, and nothing else.
    tokens = model.pad(model.tokenize(queries[:1])).tokens
    names = [f"blocks.{layer}.hook_resid_post" for layer in (0, 1)]

    def cached(steering: ist.Intervention):
        kept = {}

        def keep(name: str):
            return name, lambda x, hook: kept.update({name: x.clone()})

        model.bridge.run_with_hooks(tokens, fwd_hooks=[*steering.fwd_hooks(), *map(keep, names)])
        return kept

    before, after = cached(ist.unsteered), cached(steer)
    assert after[names[0]].equal(before[names[0]])
    moved = (after[names[1]] - before[names[1]])[0]
    along = moved @ edit.direction.unit
    assert along.abs().max() > 0
    assert moved.allclose(along[:, None] * edit.direction.unit, atol=1e-4)


def test_interventions_compose_each_at_its_own_layers(run):
    given = ["--interventions", f"{QUOTATION}=project@3->4", f"{ITALIAN}=project@5"]
    results = run("interventions", *given, *SIZES)["interventions"]
    records = results.records()
    assert records is not None
    # Four requests: under none, each of two, both, random directions, in words, in words and both.
    assert records.height == 4 * 7
    lines = {
        row["setting"]: row["applied"] for row in records.unique("setting").iter_rows(named=True)
    }
    first, second = "quotation[resid_post.3]@resid_post.4", "response_language it@resid_post.5"
    assert lines["steered"] == f"project({first}) + project({second})" == lines["both"]
    assert lines["none"] == lines["instruction"] == "unsteered"
    assert (
        lines["random"].count("random-0(") == 2 and "[resid_post.3]@resid_post.4" in lines["random"]
    )
    alone = records.filter(pl.col("setting") == "alone").unique("operation")
    assert dict(alone.select("operation", "applied").rows()) == {
        "quotation=project@3->4": f"project({first})",
        "response_language it=project@5": f"project({second})",
    }
    assert records["strict"].equals(records[QUOTATION] & records[ITALIAN])
    table = results.records("interference")
    assert table is not None and table.height == 7 * (2 + 2)
    steered = records.filter(pl.col("setting") == "steered")
    for name in (QUOTATION, ITALIAN):
        expected = share_of(steered, name)
        row = table.filter((pl.col("vectors") == "all at once") & (pl.col("property") == name))
        assert row.select("share", "low", "high").row(0) == (
            expected.value,
            expected.low,
            expected.high,
        )
        assert results.summary[f"share.all at once.{name}.low"] == expected.low
    for acting in ("all at once", "quotation=project@3->4", "random directions"):
        assert results.summary[f"kl.{acting}"] > 0
        assert results.summary[f"perplexity_ratio.{acting}.low"] > 0
    assert set(results.captions) == {"interference", "all_at_once", "each_property"}
    assert len(list(results.path.glob("vectors*.safetensors"))) == 2


def test_a_saved_vector_acts_in_place_of_an_id(run, burattino_instruct, tmp_path):
    pairs = ist.world.instruction(QUOTATION, fit=16, select=4, test=0)
    vector = ist.fit(burattino_instruct, pairs)
    vector.save(tmp_path / "mine.safetensors")
    given = ["--interventions", f"{tmp_path}/mine.safetensors=project@4", *SIZES]
    results = run("interventions", *given)["interventions"]
    records = results.records()
    assert records is not None
    # Its name is that of an instruction, which answers are checked for.
    steered = records.filter(pl.col("setting") == "steered")
    assert steered["applied"].unique().to_list() == ["project(quotation@resid_post.4)"]
    assert steered["strict"].equals(steered[QUOTATION])
    [kept] = results.path.glob("vectors*.safetensors")
    assert ist.SteeringVector.load(kept).directions.equal(vector.directions)


def test_what_cannot_act_is_refused_with_the_mend(capsys, tmp_path, burattino_base):
    pairs = ist.world.instruction(QUOTATION, fit=4, select=0, test=0)
    vector = ist.fit(burattino_base, pairs)
    vector.save(tmp_path / "base.safetensors")

    def said(*given: str) -> str:
        asked = ["interventions", *SIZES, "--results", str(tmp_path), "--interventions", *given]
        assert command_line(asked) == 2
        return " ".join(capsys.readouterr().err.split())

    assert "cannot steer burattino-instruct" in said(f"{tmp_path}/base.safetensors=project@4")
    assert "missing.safetensors" in said("missing.safetensors=project@4")
    assert "is given twice" in said(*[f"{QUOTATION}=project@4"] * 2)
    assert "--interventions VECTOR=OPERATION@LAYER" in said()
    assert "has no direction at resid_post.8" in said(f"{QUOTATION}=project@8")
    assert "resid_post.9 is out of range" in said(f"{QUOTATION}=project@4->9")
    assert "no/such" in said("no/such:id=project@4")


def test_a_vector_of_unknown_name_asks_what_to_check_for(tiny):
    queries = ["One.", "Two.", "Three.", "Four."]
    pairs = ist.contrast.build("mine", queries, ["Be brief.", "Hm."], fit=3, select=1, test=0)
    saved = {"v.safetensors": ist.fit(tiny("llama3"), pairs)}
    placed = [Placement.parse("v.safetensors=project@1")]
    with pytest.raises(InterpSteerError, match="'mine'; give --prop"):
        interventions.properties_to_check(placed, saved, ())
    assert interventions.properties_to_check(placed, saved, [ITALIAN]) == [ITALIAN]


def test_what_is_kept_is_counted_over_none(tiny):
    queries = ["One.", "Two.", "Three.", "Four."]
    pairs = ist.contrast.build("a", queries, ["Be brief.", "Hm."], fit=3, select=1, test=0)
    steerer = Steerer.fit(tiny("llama3"), pairs, ["project"])
    placed = [Placement.parse(f"a=project@{layer}") for layer in (1, 2)]
    acting = [
        interventions.Acting(placed[0], steerer, "a"),
        interventions.Acting(placed[1], steerer, None),
    ]

    def share(value: float) -> Interval:
        return Interval(value, value, value, 4, "by hand")

    found = {
        ("none", "a"): share(0.25),
        ("a=project@1", "a"): share(0.75),
        ("a=project@2", "a"): share(1.0),
        ("all at once", "a"): share(0.5),
    }
    assert interventions.shares_kept(found, acting) == {"kept.a=project@1": 0.5}
    ineffective = found | {("a=project@1", "a"): share(0.25)}
    assert interventions.shares_kept(ineffective, acting) == {}
