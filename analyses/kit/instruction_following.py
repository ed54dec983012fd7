"""What edits do to obedience: answers that follow an instruction, and how likely they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import interp_steer as ist
from interp_steer.contrast.contrast_set import ContrastSet
from interp_steer.sweeps.grid import answer_cells, breaks_instruction, follows_instruction


@dataclass(frozen=True)
class Answering:
    """How answers are made and graded."""

    graded_tokens: int = 24
    """Tokens of the obedient answer whose log-probability is taken."""
    max_new_tokens: int = 96
    """Where an answer is cut."""
    batch_size: int = 64
    """Rows run at once."""


@dataclass(frozen=True)
class EditedPrompts:
    """One edit of every prompt of some pairs."""

    name: str
    instructed: bool
    """Whether the prompts are asked with the text instruction."""
    steering: Sequence[ist.Intervention]
    """One for each pair."""
    layer: int | None = None
    """Where it acts; None for several layers."""
    draw: int | None = None
    """Which random direction; None for a fitted one."""
    strength: float | None = None
    """In whatever unit the analysis says."""


@dataclass(frozen=True, eq=False)
class InstructionFollowing:
    """The answers of a model to both sides of some pairs, and what edits make of them."""

    model: ist.HookedLM
    pairs: ContrastSet
    asking: Answering
    ledger: ist.Ledger
    said: Mapping[str, Sequence[tuple[int, ...]]]
    """The tokens of the answers without an edit, to ``present`` and ``absent``."""
    strict: Mapping[str, Sequence[bool]]
    """Whether those answers follow the instruction."""

    @classmethod
    def of(
        cls, model: ist.HookedLM, pairs: ContrastSet, asking: Answering, ledger: ist.Ledger
    ) -> InstructionFollowing:
        """Answer both sides, nothing being edited."""
        said, strict = {}, {}
        for side in ("present", "absent"):
            completions = ist.generate(
                model,
                getattr(pairs, side),
                max_new_tokens=asking.max_new_tokens,
                batch_size=asking.batch_size,
                ledger=ledger,
            )
            said[side] = [completion.tokens for completion in completions]
            strict[side] = [
                follows_instruction(pair, completion)["strict"]
                for pair, completion in zip(pairs, completions, strict=True)
            ]
        return cls(model, pairs, asking, ledger, said, strict)

    @property
    def obedient(self) -> list[int]:
        """The pairs whose text instruction the model follows: those whose answer can be graded."""
        return [place for place, told in enumerate(self.strict["present"]) if told]

    def obeyed(self, acts: Sequence[EditedPrompts]) -> list[list[bool]]:
        """Whether the answers under each act follow the instruction, pair by pair.

        Answers under an act at one layer are cut once they have failed.
        """
        rows = [
            (
                ist.Cell(
                    act.name,
                    act.steering[place],
                    act.layer,
                    act.instructed,
                    act.draw,
                    act.strength,
                ),
                pair,
            )
            for act in acts
            for place, pair in enumerate(self.pairs)
        ]
        if not rows:
            return []
        strict = answer_cells(
            self.model,
            rows,
            self.pairs.name,
            settled=breaks_instruction,
            max_new_tokens=self.asking.max_new_tokens,
            batch_size=self.asking.batch_size,
            ledger=self.ledger,
        )["strict"].to_list()
        return self._by_act(strict, len(self.pairs))

    def graded(self, acts: Sequence[EditedPrompts]) -> list[list[float | None]]:
        """The log-probability of the obedient answers under each act, nats a token, pair by pair.

        The answer is the model's own to the text instruction; None where that does not obey.
        """
        kept = self.obedient
        if not kept or not acts:
            return [[None] * len(self.pairs) for _ in acts]
        sides = [self.pairs.present if act.instructed else self.pairs.absent for act in acts]
        answers = [self.said["present"][place][: self.asking.graded_tokens] for place in kept]
        found = ist.logprobs(
            self.model,
            [prompts[place] for prompts in sides for place in kept],
            answers * len(acts),
            [act.steering[place] for act in acts for place in kept],
            batch_size=self.asking.batch_size,
        )
        scores = self._by_act([each.total / len(each.tokens) for each in found], len(kept))
        known = [dict(zip(kept, each, strict=True)) for each in scores]
        return [[each.get(place) for place in range(len(self.pairs))] for each in known]

    def damage(self, acts: Sequence[EditedPrompts]) -> list[list[float]]:
        """How far each act moves what is predicted along the answers to the prompts that do not
        ask for the property, in nats a token, pair by pair."""
        if not acts:
            return []
        answers = [said[: self.asking.graded_tokens] for said in self.said["absent"]]
        moved = ist.divergence(
            self.model,
            self.pairs.absent * len(acts),
            answers * len(acts),
            [steering for act in acts for steering in act.steering],
            batch_size=self.asking.batch_size,
        )
        return self._by_act([each.kl for each in moved], len(self.pairs))

    def unedited(self, instructed: bool) -> EditedPrompts:
        """Nothing being done, with the text instruction or without it."""
        return EditedPrompts("none", instructed, [ist.unsteered] * len(self.pairs))

    @staticmethod
    def _by_act(values: list, n: int) -> list[list]:
        return [values[start : start + n] for start in range(0, len(values), n)]
