"""Prepare the work of all contenders: a model, prompts, and a direction for each layer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch

import interp_steer as ist
from analyses.speed.checkpoints import SIZES, checkpoint, texts
from interp_steer.contrast.instructions import LOWERCASE
from interp_steer.models import BUNDLED_NAMES, Query, bundled_path


@dataclass(frozen=True, eq=False)
class Work:
    """Model with the prompts and the vector of the work."""

    name: str
    folder: Path
    model: ist.HookedLM
    pairs: ist.ContrastSet
    """Queries with and without an instruction, or with other random words."""
    vector: ist.SteeringVector

    @classmethod
    def on(cls, name: str, root: Path, *, fit: int, select: int, seed: int = 0) -> Work:
        """Prepare a bundled model, or a random one of :data:`SIZES`.

        Args:
            name: the model.
            root: the folder of random models.
            fit: number of pairs on which vectors are fitted and capture is timed.
            select: number of pairs that sweeps ask.
            seed: seed of the draw.
        """
        if name in SIZES:
            folder = checkpoint(name, root)
            model = ist.load(folder, prompt_format="{x}")
            queries, phrasings = texts(fit + select + 1, seed), texts(3, seed + 1, 4, 8)
            pairs = ist.contrast.build(
                "words", queries, phrasings, fit=fit, select=select, test=1, seed=seed
            )
        else:
            folder = bundled_path(name) if name in BUNDLED_NAMES else Path(name)
            model = ist.load(name)
            pairs = ist.world.instruction(LOWERCASE, fit=fit, select=select, test=1, seed=seed)
        return cls(name, folder, model, pairs, ist.fit(model, pairs.fit))

    @property
    def grid(self) -> list[ist.Cell]:
        """Return the unsteered cell, and a projection at every layer in turn."""
        steered = [
            ist.Cell("steered", self.vector.at(layer).project(), layer)
            for layer in self.vector.layers
        ]
        return [ist.Cell("none"), *steered]

    def rows(self) -> list[tuple[ist.Cell, Query, list[int]]]:
        """Return every cell with every prompt, and the prompt's token ids."""
        prompts = self.pairs.select.absent
        tokens = self.model.tokenize(prompts)
        return [
            (cell, prompt, ids)
            for cell in self.grid
            for prompt, ids in zip(prompts, tokens, strict=True)
        ]

    @property
    def sides(self) -> tuple[list[str], list[str]]:
        """Return the prompts of capture, with and without the property, as texts to tokenize.

        A tokenizer puts its own BOS before a text, but a chat template has already written one.
        """
        bos, fit = str(self.model.tokenizer.bos_token or ""), self.pairs.fit
        present, absent = (
            [self.model.render(prompt).removeprefix(bos) for prompt in side]
            for side in (fit.present, fit.absent)
        )
        return present, absent

    def write(self, file: Path, **more: Any) -> Path:
        """Write the work into a file for contenders in other environments."""
        document = {
            "folder": str(self.folder.resolve()),
            "threads": torch.get_num_threads(),
            "sides": self.sides,
            "pad_token": self.model.tokenizer.convert_ids_to_tokens(self.model.pad_id),
            "stop_ids": sorted(self.model.stop_ids),
            **more,
        }
        file.write_text(json.dumps(document), "utf-8")
        return file


def draw_rows(rows: Sequence[Any], n: int, lap: int) -> list[int]:
    """Draw the rows of a slow contender in a lap: different in each lap, the same for all
    contenders."""
    return Random(lap).sample(range(len(rows)), min(n, len(rows)))
