"""Bad inputs to the whole public interface: how each is given, the error, and what names its mend.

A table, a row a line.
"""
# ruff: noqa: E501

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import torch

import interp_steer as ist
from interp_steer import errors
from interp_steer.contrast import contrast_set
from interp_steer.contrast.instructions import ifeval_rows
from interp_steer.errors import StatisticsError
from interp_steer.harness import SteeredLM
from interp_steer.harness.steering import make_intervention
from interp_steer.scoring import fluency, ifeval, language

NAN, INF = math.nan, math.inf
QUERIES = [
    f"Name {n} {what}." for n in ("one", "two", "ten") for what in ("trees", "birds", "ships")
]
PHRASINGS = ["No capitals.", "Small letters only.", "In lowercase."]
LOWERCASE = "change_case:english_lowercase"
build = partial(ist.contrast.build, "x", fit=2, select=1, test=1)
Pair = contrast_set.Pair


@dataclass(frozen=True)
class World:
    """What the bad inputs are given to."""

    folder: Path
    checkpoint: Path
    model: ist.HookedLM
    other: ist.HookedLM
    pairs: ist.ContrastSet
    vector: ist.SteeringVector
    stepped: ist.SteppedVector
    records: pl.DataFrame

    @property
    def direction(self) -> ist.Direction:
        return self.vector.at(1)

    @property
    def steer(self) -> ist.Intervention:
        return self.direction.add(2.0)

    @property
    def narrow(self) -> ist.Direction:
        """Of a model that is not here."""
        return replace(self.direction, vector=torch.ones(32), d_model=32)

    @property
    def grid(self) -> list[ist.Cell]:
        return [ist.Cell("none"), ist.Cell("steered", self.steer, 1)]

    def spoilt(self, name: str, content: bytes | None) -> Path:
        """The checkpoint with a file changed, or removed."""
        folder = self.folder / "spoilt"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.checkpoint, folder)
        for path in folder.glob(name):
            path.unlink() if content is None else path.write_bytes(content)
        return folder

    def config(self, **changes: Any) -> Path:
        """The checkpoint with another config."""
        said = json.loads((self.checkpoint / "config.json").read_text()) | changes
        return self.spoilt("config.json", json.dumps(said).encode())

    def run(self, do: Callable[[ist.Run], Any]) -> None:
        """Do something in a results folder."""
        with ist.open_run("x", {"model": "m"}, root=self.folder / "results") as run:
            do(run)


Bad = tuple[Callable[[World], Any], type[errors.InterpSteerError], str]

# fmt: off
MODELS: dict[str, Bad] = {
    "no name": (lambda w: ist.load(""), errors.ModelError, "'' names no model; give a bundled model"),
    "no model at all": (lambda w: ist.load(None), errors.ModelError, "None names no model; give"),
    "no folder": (lambda w: ist.load("./nowhere"), errors.ModelError, "folder './nowhere' does not exist; give"),
    "a folder that leads away": (lambda w: ist.load("../../x"), errors.ModelError, "folder '../../x' does not exist"),
    "a name that is too long": (lambda w: ist.load("a" * 5000), errors.ModelError, "File name too long.; give a bundled"),
    "a name that is nowhere": (lambda w: ist.load("no/such-model"), errors.ModelError, "neither a bundled model nor a folder"),
    "an empty folder": (lambda w: ist.load(w.folder / "empty"), errors.ModelError, "give the folder that save_pretrained wrote"),
    "a file": (lambda w: ist.load(w.checkpoint / "config.json"), errors.ModelError, "give the folder that save_pretrained wrote"),
    "a config that is none": (lambda w: ist.load(w.spoilt("config.json", b"{")), errors.ModelError, r"config.json is not JSON .*; make it again"),
    "weights that are cut": (lambda w: ist.load(w.spoilt("*.safetensors", b"\0" * 99)), errors.ModelError, "it needs config.json and whole"),
    "weights of another width": (lambda w: ist.load(w.config(hidden_size=128)), errors.ModelError, "other shapes than its config.json states"),
    "an unknown architecture": (lambda w: ist.load(w.config(model_type="x")), errors.ModelError, "model type `x`"),
    "no tokenizer": (lambda w: ist.load(w.spoilt("tok*", None)), errors.ModelError, "save one next to the weights with tokenizer.save_pretrained"),
    "an unknown dtype": (lambda w: ist.load(w.checkpoint, dtype="float13"), errors.ModelError, "use float32, bfloat16 or float16"),
    "a device that is none": (lambda w: ist.load(w.checkpoint, device="toaster"), errors.ModelError, "is not available; use one of cpu"),
    "a device that is not there": (lambda w: ist.load(w.checkpoint, device="cuda:99"), errors.ModelError, "is not available; use one of cpu"),
    "two devices": (lambda w: ist.load(w.checkpoint, device="cpu", device_map="auto"), errors.ModelError, "give one of the two"),
    "a revision of a folder": (lambda w: ist.load(w.checkpoint, revision="main"), errors.ModelError, "leave it out, or give the name of a model"),
    "a format without a place": (lambda w: ist.load(w.checkpoint, prompt_format="Q:"), errors.ModelError, r"write \{x\} in its place"),
    "a format that is a number": (lambda w: ist.load(w.checkpoint, prompt_format=7), errors.ModelError, r"give a text with \{x\}"),
    "a name to wrap": (lambda w: ist.wrap("gpt2"), errors.ModelError, "give a name or folder to interp_steer.load"),
    "a wrapped model to wrap": (lambda w: ist.wrap(w.model), errors.ModelError, "boot one with TransformerBridge.boot_transformers"),
}
TEXTS: dict[str, Bad] = {
    "no queries": (lambda w: build([], PHRASINGS), errors.ContrastError, "0 queries cannot serve the 3 splits .*; give at least 3"),
    "one text for queries": (lambda w: build("Name a tree.", PHRASINGS), errors.ContrastError, "queries is one text, .*; give a list"),
    "one text for phrasings": (lambda w: build(QUERIES, "No capitals."), errors.ContrastError, "phrasings is one text, .*; give a list"),
    "too few phrasings": (lambda w: build(QUERIES, PHRASINGS[:2]), errors.ContrastError, "2 phrasings cannot serve .*; give at least 3"),
    "a blank phrasing": (lambda w: build(QUERIES, ["", *PHRASINGS]), errors.ContrastError, "phrasings, number 0, is ''; give texts"),
    "queries that are numbers": (lambda w: build([1, 2, 3], PHRASINGS), errors.ContrastError, "queries, number 0, is 1; give texts"),
    "fewer than no pairs": (lambda w: build(QUERIES, PHRASINGS, fit=-1), errors.ContrastError, "give whole numbers from 0 up"),
    "half a pair": (lambda w: build(QUERIES, PHRASINGS, fit=1.5), errors.ContrastError, "give whole numbers from 0 up"),
    "too many pairs": (lambda w: build(QUERIES, PHRASINGS, fit=99), errors.ContrastError, "give more queries or phrasings, or ask for fewer"),
    "no name of a set": (lambda w: ist.contrast.build("", QUERIES, PHRASINGS, fit=1, select=1, test=1), errors.ContrastError, "give another"),
    "a name that no line holds": (lambda w: ist.ContrastSet("a@b", w.pairs.pairs), errors.ContrastError, "holds one of @ .*; give another"),
    "an unknown instruction": (lambda w: ist.world.instruction("lowercase"), errors.ContrastError, "choose one of change_case:english_capital"),
    "unknown arguments": (lambda w: ist.world.instruction(LOWERCASE, where={"x": 1}), errors.ContrastError, "it has some like"),
    "a blank word": (lambda w: ist.contrast.word(" ", QUERIES), errors.ContrastError, "give one that can be asked for"),
    "sides that are the same": (lambda w: Pair("a", "b", "b"), errors.ContrastError, "'present' must carry the instruction"),
    "a side that is a number": (lambda w: Pair("a", 5, "b"), errors.ContrastError, "present is 5; give a text, or a conversation"),
    "a split that is none": (lambda w: Pair("a", "b", "c", split="train"), errors.ContrastError, "use one of fit, select, test"),
    "no pairs": (lambda w: ist.ContrastSet("x", ()), errors.ContrastError, "give at least one pair"),
    "pairs that are texts": (lambda w: ist.ContrastSet("x", ("a",)), errors.ContrastError, r"give each as ist.contrast.Pair"),
    "a split without pairs": (lambda w: w.pairs.fit.test, errors.ContrastError, "give some rows the split 'test'"),
    "rows that lack a column": (lambda w: ist.ContrastSet.from_dataset([{"query": "a"}], name="x"), errors.ContrastError, "rename its columns or add them"),
    "a folder of no parallel files": (lambda w: ist.contrast.parallel.from_files(w.folder), errors.ContrastError, "give a folder with"),
    "more items than there are": (lambda w: ist.world.parallel(9999), errors.ContrastError, "ask for 1 to 412"),
    "a data set that is none": (lambda w: ifeval_rows.read("x" * 5000), errors.ContrastError, "give google/IFEval .*, its JSONL file"),
}
FITS: dict[str, Bad] = {
    "a name for a model": (lambda w: ist.fit("gpt2", w.pairs), errors.ModelError, r"give the result of ist.load\(...\)"),
    "a list for a set": (lambda w: ist.fit(w.model, ["a"]), errors.ContrastError, "make one with ist.contrast.build"),
    "a site that does not write": (lambda w: ist.fit(w.model, w.pairs, component="resid_mid"), errors.SiteError, "attn_out of the same layer instead"),
    "a layer that is not there": (lambda w: ist.fit(w.model, w.pairs, layers=[9]), errors.SiteError, "use a layer from 0 to 3"),
    "a layer from the end": (lambda w: ist.fit(w.model, w.pairs, layers=[-1]), errors.SiteError, "layers count from 0"),
    "one layer in no list": (lambda w: ist.fit(w.model, w.pairs, layers=3), errors.SiteError, r"give a list of layers, such as \[3\]"),
    "no layers": (lambda w: ist.fit(w.model, w.pairs, layers=[]), errors.CaptureError, "give at least one"),
    "an unknown estimator": (lambda w: ist.fit(w.model, w.pairs, estimator="mean"), errors.VectorError, "use 'difference_in_means', 'pca'"),
    "an unknown position": (lambda w: ist.fit(w.model, w.pairs, position="first"), errors.CaptureError, "use 'last', 'all', 'generated' or an index"),
    "a truth for a position": (lambda w: ist.fit(w.model, w.pairs, position=True), errors.CaptureError, "'generated' or an index"),
    "a position beyond a prompt": (lambda w: ist.fit(w.model, w.pairs, position=500), errors.CaptureError, "use an index from -"),
    "pairs of many tokens": (lambda w: ist.fit(w.model, w.pairs, position="all", estimator="pca"), errors.VectorError, "use 'last' or an index"),
    "answers without room": (lambda w: ist.fit(w.model, w.pairs, position="generated", max_new_tokens=999), errors.CaptureError, "lower max_new_tokens"),
    "a folder that cannot be": (lambda w: ist.fit(w.model, w.pairs, options=ist.capture.CaptureOptions(checkpoint="/proc/x")), errors.CaptureError, "give another folder"),
    "no steps": (lambda w: ist.fit_steps(w.model, w.pairs, n_steps=0), errors.CaptureError, "max_new_tokens is 0"),
    "answers to other pairs": (lambda w: ist.fit_steps(w.model, w.pairs, answers=(["a"], ["b"])), errors.CaptureError, "give an answer to each prompt"),
    "one text to capture": (lambda w: ist.capture.capture_moments(w.model, "one"), errors.CaptureError, "give a list of them"),
    "a site in words": (lambda w: ist.capture.capture_moments(w.model, ["a"], ["resid_post.1"]), errors.CaptureError, r"give sites such as ist.Site\("),
    "a checkpoint without a folder": (lambda w: ist.capture.capture_moments(w.model, ["a"], options=ist.capture.CaptureOptions(checkpoint=w.folder / "no" / "x")), errors.CaptureError, "does not exist; make it"),
    "a prompt that is too long": (lambda w: ist.capture.capture_moments(w.model, ["a b " * 400]), errors.ModelError, "shorten it"),
    "no draws": (lambda w: ist.trust.fit_with_reliability(w.model, w.pairs, draws=0), errors.VectorError, "draw at least 2"),
    "a pair alone": (lambda w: ist.trust.fit_with_reliability(w.model, w.pairs.fit[:1]), errors.VectorError, "4 groups or more"),
    "an unknown map": (lambda w: ist.fit_transport(w.model, w.pairs, "linear"), errors.VectorError, "use 'mean', 'coordinates', 'gaussian'"),
    "a map of heads": (lambda w: ist.fit_transport(w.model, w.pairs, component="z"), errors.VectorError, "fit maps at another component"),
    "too few texts to share": (lambda w: ist.transfer.fit_map(w.model, w.other, ["a"]), errors.TransferError, "give at least 3"),
    "an unknown kind of map": (lambda w: ist.transfer.fit_map(w.model, w.other, QUERIES, "magic"), errors.TransferError, "use one of procrustes, ridge"),
    "a penalty below 0": (lambda w: ist.transfer.fit_map(w.model, w.other, QUERIES, penalties=[-1]), errors.TransferError, "must be numbers from 0 up"),
    "layers that are no pairs": (lambda w: ist.transfer.fit_map(w.model, w.other, QUERIES, layers=[1]), errors.TransferError, r"give pairs \(source, target\)"),
    "a vector of the target": (lambda w: ist.transfer.map_vector(w.vector, w.other, w.model, QUERIES), errors.VectorError, r"or map it with ist.transfer.map"),
}
STEERING: dict[str, Bad] = {
    "a layer it was not read at": (lambda w: w.vector.at(9), errors.VectorError, "use one of those, or fit one with"),
    "a layer in words": (lambda w: w.vector.at("1"), errors.SiteError, "layers count from 0"),
    "a place beyond the model": (lambda w: w.vector.at(1, apply_layer=9), errors.SiteError, "use a layer from 0 to 3"),
    "no number": (lambda w: w.direction.add(NAN), errors.InterventionError, "coefficient is nan; give a finite number"),
    "a number in words": (lambda w: w.direction.add("much"), errors.InterventionError, "'much' is not a number; give a finite one"),
    "unknown positions": (lambda w: w.direction.add(1, "everywhere"), errors.InterventionError, r"use one of all, prompt, .* or first\(n\)"),
    "positions that are a list": (lambda w: w.direction.add(1, [1]), errors.InterventionError, r"use one of all, prompt"),
    "a schedule in words": (lambda w: w.direction.add(1, schedule="start"), errors.InterventionError, "give one of ist.schedules"),
    "an endless target": (lambda w: w.direction.project(INF), errors.InterventionError, "give a finite number"),
    "no target": (lambda w: (w.vector + w.vector).at(1).project(), errors.InterventionError, r"give one, such as project\(target=2.0\)"),
    "to divide by nothing": (lambda w: w.vector / 0, errors.VectorError, "use another number"),
    "a sum of two models": (lambda w: w.vector + ist.fit(w.other, w.pairs), errors.VectorError, "combine vectors of the same fingerprint"),
    "a head that is not there": (lambda w: w.stepped.only(heads=[(0, 9)]), errors.VectorError, "heads run from 0 to 3"),
    "a vector of another model": (lambda w: w.vector.check(w.other), errors.VectorError, r"fit one with ist.fit\(model, pairs\)"),
    "a vector in no folder": (lambda w: w.vector.save(w.folder / "no" / "x.safetensors"), errors.VectorError, "make its folder"),
    "to compose words": (lambda w: ist.compose(["add"]), errors.InterventionError, r"say what it does, as vector.at\(layer\)"),
    "a line that is none": (lambda w: ist.Intervention.parse("steer", {}), errors.InterventionError, "a canonical line looks like"),
    "a line of an unknown name": (lambda w: ist.Intervention.parse("ablate(x@resid_post.1)", {"case": w.vector}), errors.InterventionError, r"not among the directions given \(case\)"),
    "a line without a number": (lambda w: ist.Intervention.parse("add(case@resid_post.1)", {"case": w.vector}), errors.InterventionError, "add takes coefficient="),
    "no steps to diminish over": (lambda w: ist.schedules.diminishing(0), errors.InterventionError, "give from 1 to 4095"),
    "half a step": (lambda w: ist.schedules.diminishing(2.5), errors.InterventionError, "a whole number"),
    "a rate that never ends": (lambda w: ist.schedules.exponential(1 - 1e-12), errors.InterventionError, "give from 1 to 4095"),
    "weights that are words": (lambda w: ist.schedules.of(lambda step: "x", 3), errors.InterventionError, "a weight of a schedule is not a number: .*'x'"),
    "a schedule that is none": (lambda w: ist.schedules.parse("linear(3)"), errors.InterventionError, r"use one of fixed, start, diminishing\(30\)"),
    "a schedule for the prompt": (lambda w: w.direction.add(1, "prompt", ist.schedules.Dynamic()), errors.InterventionError, "give it positions='generated'"),
    "a strength that is none": (lambda w: ist.Strength.parse("2 kl"), errors.InterventionError, "such as 2, 0.1residual, 0.3kl"),
    "an unknown unit": (lambda w: ist.Strength(1.0, "furlong"), errors.InterventionError, "one of the units norm, residual"),
    "a threshold that is no cosine": (lambda w: ist.conditions.Condition(w.direction, 2.0), errors.InterventionError, "give a value from -1 to 1"),
    "a condition of another model": (lambda w: ist.conditions.Condition(w.narrow, 0.1).fires(w.model, ["a"]), errors.InterventionError, "fit one with ist.fit"),
    "a condition of no layers": (lambda w: ist.conditions.choose_condition(w.model, w.vector, w.pairs, layers=[]), errors.InterventionError, "give at least one"),
}
ANSWERS: dict[str, Bad] = {
    "no prompts": (lambda w: ist.generate(w.model, []), errors.GenerationError, "give at least one"),
    "one text for prompts": (lambda w: ist.generate(w.model, "Sea?"), errors.GenerationError, r"prompts is one text, 'Sea\?'; give a list"),
    "a blank prompt": (lambda w: ist.generate(w.model, [" "]), errors.GenerationError, "prompt 0 is empty, ' '; leave it out"),
    "a prompt that is a number": (lambda w: ist.generate(w.model, [3]), errors.GenerationError, "give a text, or the turns of a chat"),
    "half a character": (lambda w: ist.generate(w.model, ["\ud800"]), errors.ModelError, "read its text again as UTF-8"),
    "a turn of nobody's": (lambda w: ist.generate(w.model, [[{"role": "x", "content": "a"}]]), errors.ModelError, "write .'role': 'system'"),
    "no tokens to answer in": (lambda w: ist.generate(w.model, ["a"], max_new_tokens=0), errors.GenerationError, "ask for 1 or more"),
    "half a token": (lambda w: ist.generate(w.model, ["a"], max_new_tokens=2.5), errors.GenerationError, "ask for 1 or more"),
    "an answer without room": (lambda w: ist.generate(w.model, ["a"], max_new_tokens=999), errors.GenerationError, "lower max_new_tokens, or shorten the prompt"),
    "no batch": (lambda w: ist.generate(w.model, ["a"], batch_size=0), errors.GenerationError, "give at least 1"),
    "a vector in place of what it does": (lambda w: ist.generate(w.model, ["a"], w.vector), errors.GenerationError, r"say what it does, as vector.at\(layer\).project"),
    "too few interventions": (lambda w: ist.generate(w.model, ["a", "b"], [w.steer]), errors.GenerationError, "give one for all, or one per prompt"),
    "a direction of another width": (lambda w: ist.generate(w.model, ["a"], w.narrow.add(1)), errors.InterventionError, "or map its vector with ist.transfer.map"),
    "an unknown way through": (lambda w: ist.generate(w.model, ["a"], options=ist.GenerationOptions(through="magic")), errors.GenerationError, "give one of 'plain', 'hook_points'"),
    "a path for a ledger": (lambda w: ist.generate(w.model, ["a"], ledger="x.jsonl"), errors.GenerationError, r"give ist.Ledger\(path\)"),
    "a folder for a ledger": (lambda w: ist.Ledger(w.folder), errors.GenerationError, "give another path"),
    "no temperature": (lambda w: ist.Sampling(temperature=0), errors.GenerationError, "sampling=None to decode greedily"),
    "a seed in words": (lambda w: ist.Sampling(seed="x"), errors.GenerationError, "give an integer"),
    "answers to other prompts": (lambda w: ist.logprobs(w.model, ["a", "b"], ["c"]), errors.GenerationError, "give a list, one per prompt"),
    "an answer of nothing": (lambda w: ist.logprobs(w.model, ["a"], [""]), errors.GenerationError, "give a text that has some"),
    "a token that is not there": (lambda w: ist.logprobs(w.model, ["a"], [[420]]), errors.GenerationError, "go from 0 to 419"),
    "no cells": (lambda w: ist.sweep(w.model, [], w.pairs), errors.GenerationError, "give at least one Cell"),
    "a cell that is none": (lambda w: ist.sweep(w.model, [w.steer], w.pairs), errors.GenerationError, r"put it in a cell, such as ist.Cell"),
    "texts for pairs": (lambda w: ist.sweep(w.model, w.grid, QUERIES), errors.ContrastError, "make one with ist.contrast.build"),
    "an error of two": (lambda w: ist.race(w.model, w.grid, w.pairs, w.model, error=2), errors.ScoringError, "0.05 drops the best cell once in 20"),
    "a race of nobody": (lambda w: ist.race(w.model, [], w.pairs, w.model), errors.GenerationError, "give at least one Cell"),
    "an unknown rule": (lambda w: ist.select_layer(w.records.with_columns(degenerate=False), "best"), errors.ScoringError, "choose one of paper, interval"),
    "records that lack a column": (lambda w: ist.select_layer(w.records), errors.ScoringError, "with_fluency adds degenerate"),
    "a cluster that is nowhere": (lambda w: ist.Cluster(w.model, "127.0.0.1:1"), errors.GenerationError, "start one with `ray start --head`"),
}
NUMBERS: dict[str, Bad] = {
    "more successes than trials": (lambda w: ist.statistics.wilson(5, 3), StatisticsError, "0 <= successes <= n"),
    "half a success": (lambda w: ist.statistics.wilson(1.5, 3), StatisticsError, "counts must be"),
    "a level in percent": (lambda w: ist.statistics.wilson(1, 3, level=95), StatisticsError, "0.95 is usual"),
    "nothing to resample": (lambda w: ist.statistics.bootstrap([]), StatisticsError, "pass a flat list of at least one"),
    "a value that is none": (lambda w: ist.statistics.bootstrap([1, NAN]), StatisticsError, "leave them out and say how many"),
    "an unknown method": (lambda w: ist.statistics.bootstrap([1, 2], method="magic"), StatisticsError, "by one of percentile, basic, BCa"),
    "outcomes that do not pair": (lambda w: ist.statistics.mcnemar([True], [True, False]), StatisticsError, "pass one of each per prompt"),
    "nothing to verify": (lambda w: ifeval.verify("x", [], []), errors.ScoringError, "give at least one id"),
    "an id that is misspelt": (lambda w: ifeval.verify("x", ["punctuation:no_coma"], [{}]), errors.ScoringError, "the nearest known are punctuation:no_comma"),
    "an argument that is missing": (lambda w: ifeval.verify("x", ["keywords:existence"], [{}]), errors.ScoringError, "pass keywords in kwargs"),
    "a keyword that is no expression": (lambda w: ifeval.verify("x", ["keywords:existence"], [{"keywords": ["("]}]), errors.ScoringError, "escape it with re.escape"),
    "one text for texts": (lambda w: fluency.perplexity(w.model, "text"), errors.ScoringError, "give a list of them"),
    "a language that is unknown": (lambda w: language.detect("ciao", ["it", "xx"]), errors.ScoringError, "it does not know xx; give two"),
}
FILES: dict[str, Bad] = {
    "a config that is a number": (lambda w: ist.open_run("x", 5, root=w.folder), errors.RunError, "give a dataclass or a mapping"),
    "a config with no number": (lambda w: ist.open_run("x", {"a": NAN}, root=w.folder), errors.RunError, "give texts, finite numbers"),
    "a root that is a file": (lambda w: ist.open_run("x", {}, root=w.folder / "v.safetensors"), errors.RunError, "move the file, or give another results root"),
    "a root that is no path": (lambda w: ist.open_run("x", {}, root="a\0b"), errors.RunError, "give another results root"),
    "results that are not there": (lambda w: ist.Run.read(w.folder / "none"), errors.RunError, "run the analysis that leaves it"),
    "words in a summary": (lambda w: w.run(lambda run: run.leave(summary={"a": "b"})), errors.RunError, "leave a number, an Interval, or None"),
    "a number for a vector": (lambda w: w.run(lambda run: run.leave(3)), errors.RunError, r"give what has save\(path\)"),
    "a vector left twice": (lambda w: w.run(lambda run: (run.leave(w.vector), run.leave(w.vector))), errors.RunError, "give each a name"),
    "records in a list": (lambda w: w.run(lambda run: run.write_records([1])), errors.RunError, "give a polars DataFrame"),
    "records elsewhere": (lambda w: w.run(lambda run: run.write_records(w.records, "../x")), errors.RunError, "give a plain name"),
    "a number for a figure": (lambda w: w.run(lambda run: run.draw("x", 3)), errors.RunError, "give what figures"),
    "a file elsewhere": (lambda w: w.run(lambda run: run.file("../../x")), errors.RunError, "give a plain name"),
    "a file of another kind": (lambda w: ist.interchange.read(w.folder / "v.txt"), errors.InterchangeError, "vectors are read from .gguf, "),
    "a file that is not there": (lambda w: ist.interchange.read(w.folder / "v.gguf"), errors.InterchangeError, "cannot be read.*; give a file"),
    "an unknown format": (lambda w: ist.interchange.write(w.vector, w.folder / "x.gguf", format="gguf"), errors.InterchangeError, "use one of repeng, llama_cpp"),
    "what a format cannot hold": (lambda w: ist.interchange.write(w.direction.project(), w.folder / "x.gguf", format="repeng"), errors.InterchangeError, "use add or shift, or the format lm_eval"),
    "steps for another tool": (lambda w: ist.interchange.write(w.stepped, w.folder / "x.gguf", format="repeng"), errors.InterchangeError, "take one step's"),
    "an unknown option": (lambda w: ist.interchange.write(w.vector, w.folder / "x.gguf", format="repeng", gain=3), errors.InterchangeError, "its options are"),
    "no vector in a file": (lambda w: ist.SteeringVector.load(w.checkpoint / "model.safetensors"), errors.VectorError, "give a file that interp_steer saved"),
}
HARNESS: dict[str, Bad] = {
    "no model": (lambda w: SteeredLM.create_from_arg_string("layer=1"), errors.ModelError, "give pretrained=NAME"),
    "an unknown argument": (lambda w: SteeredLM.create_from_arg_string(f"pretrained={w.checkpoint},gate=1"), errors.ModelError, "it takes pretrained, vector, "),
    "steering without a vector": (lambda w: SteeredLM.create_from_arg_string(f"pretrained={w.checkpoint},layer=1"), errors.ModelError, "give vector=PATH.safetensors"),
    "a batch of none": (lambda w: SteeredLM(w.model, batch_size=0), errors.ModelError, "give a number from 1 up, or 'auto'"),
    "an unknown operation": (lambda w: make_intervention(w.vector, 1, "melt"), errors.InterventionError, "takes 'add', "),
    "no layer": (lambda w: make_intervention(w.vector), errors.InterventionError, "choose one, as in layer=5"),
    "a layer in words to lm-eval": (lambda w: SteeredLM.create_from_arg_string(f"pretrained={w.checkpoint},vector={w.folder}/v.safetensors,layer=x"), errors.SiteError, "layers count from 0"),
}
LINES: dict[str, tuple[list[str], str]] = {
    "an unknown analysis": (["layer_swep"], "did you mean layer_sweep"),
    "an unknown model": (["layer_sweep", "--model", "no/such"], "give a bundled model"),
    "a model that leads away": (["layer_sweep", "--model", "../../x"], "does not exist"),
    "an unknown field": (["layer_sweep", "--mode", "x"], "--model STR"),
    "a field in words": (["layer_sweep", "--n-select", "many"], "--n-select INT"),
    "an unknown choice": (["layer_sweep", "--search", "some"], "whole"),
    "a seed in words": (["layer_sweep", "--seed", "x"], "--seed INT"),
    "an unknown instruction": (["layer_sweep", "--instruction", "x"], "choose one of"),
    "an unknown operation": (["layer_sweep", "--operations", "melt"], "write project, add:2"),
    "a root that is none": (["layer_sweep", "--results", "/proc/x"], "give another results root"),
    "outputs that are nowhere": (["published", "--outputs", "/nowhere"], "give the folder of one"),
}
