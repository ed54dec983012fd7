"""Measure how edits change instruction following: do answers follow, and how likely are they?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import interp_steer as ist
from interp_steer.contrast import ContrastSet
from interp_steer.sweeps import answer_cells, breaks_instruction, follows_instruction


@dataclass(frozen=True)
class Answering:
    """Options of generating and grading answers."""

    graded_tokens: int = 24
    """Number of tokens of the obedient answer whose log-probability is measured."""
    max_new_tokens: int = 96
    """Maximum number of new tokens per answer."""
    batch_size: int = 64
    """Number of rows run at once."""


@dataclass(frozen=True)
class EditedPrompts:
    """One edit of every prompt of some pairs."""

    name: str
    instructed: bool
    """Whether the prompts have the text instruction."""
    steering: Sequence[ist.Intervention]
    """The intervention for each pair."""
    layer: int | None = None
    """The layer of the edit; None for several layers."""
    draw: int | None = None
    """The number of the random direction; None for a fitted one."""
    strength: float | None = None
    """The strength, in the unit of the analysis."""


@dataclass(frozen=True, eq=False)
class InstructionFollowing:
    """Answers of a model to both sides of some pairs, with and without edits."""

    model: ist.HookedLM
    pairs: ContrastSet
    asking: Answering
    ledger: ist.Ledger
    answer_tokens: Mapping[str, Sequence[tuple[int, ...]]]
    """The tokens of the unedited answers to ``present`` and ``absent``."""
    strict: Mapping[str, Sequence[bool]]
    """Whether the unedited answers follow the instruction."""

    @classmethod
    def of(
        cls, model: ist.HookedLM, pairs: ContrastSet, asking: Answering, ledger: ist.Ledger
    ) -> InstructionFollowing:
        """Answer both sides without an edit."""
        tokens, strict = {}, {}
        for side in ("present", "absent"):
            completions = ist.generate(
                model,
                getattr(pairs, side),
                max_new_tokens=asking.max_new_tokens,
                batch_size=asking.batch_size,
                ledger=ledger,
            )
            tokens[side] = [completion.tokens for completion in completions]
            strict[side] = [
                follows_instruction(pair, completion)["strict"]
                for pair, completion in zip(pairs, completions, strict=True)
            ]
        return cls(model, pairs, asking, ledger, tokens, strict)

    @property
    def obedient(self) -> list[int]:
        """Return the pairs whose text instruction the model follows."""
        return [place for place, obeys in enumerate(self.strict["present"]) if obeys]

    def check_answers(self, acts: Sequence[EditedPrompts]) -> list[list[bool]]:
        """Check whether the answers under each edit follow the instruction, pair by pair.

        Answers under an edit at one layer are stopped once they have failed.
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

    def score_answers(self, acts: Sequence[EditedPrompts]) -> list[list[float | None]]:
        """Return the log-probability of the obedient answers under each edit, in nats per token.

        The obedient answer is the model's own answer to the text instruction. The value of a pair
        is None where the model does not follow the text.
        """
        obedient = self.obedient
        if not obedient or not acts:
            return [[None] * len(self.pairs) for _ in acts]
        sides = [self.pairs.present if act.instructed else self.pairs.absent for act in acts]
        answers = [
            self.answer_tokens["present"][place][: self.asking.graded_tokens] for place in obedient
        ]
        scores_of_rows = ist.logprobs(
            self.model,
            [prompts[place] for prompts in sides for place in obedient],
            answers * len(acts),
            [act.steering[place] for act in acts for place in obedient],
            batch_size=self.asking.batch_size,
        )
        scores = self._by_act(
            [each.total / len(each.tokens) for each in scores_of_rows], len(obedient)
        )
        known = [dict(zip(obedient, each, strict=True)) for each in scores]
        return [[each.get(place) for place in range(len(self.pairs))] for each in known]

    def damage(self, acts: Sequence[EditedPrompts]) -> list[list[float]]:
        """Return how far each edit moves the predictions, in nats per token, pair by pair.

        The predictions are those along the answers to the prompts that do not ask for the property.
        """
        if not acts:
            return []
        answers = [tokens[: self.asking.graded_tokens] for tokens in self.answer_tokens["absent"]]
        moved = ist.divergence(
            self.model,
            self.pairs.absent * len(acts),
            answers * len(acts),
            [steering for act in acts for steering in act.steering],
            batch_size=self.asking.batch_size,
        )
        return self._by_act([each.kl for each in moved], len(self.pairs))

    def unedited(self, instructed: bool) -> EditedPrompts:
        """Return the prompts without an edit, with the text instruction or without it."""
        return EditedPrompts("none", instructed, [ist.unsteered] * len(self.pairs))

    @staticmethod
    def _by_act(values: list, n: int) -> list[list]:
        return [values[start : start + n] for start in range(0, len(values), n)]
