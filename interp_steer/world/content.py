"""Read the content of an answer about the bundled world, in any language and format.

Steering the language of an answer must not remove its content (paper B: "original abilities
kept"). The content can be read without a model, because the facts of the world are known.
"""

from __future__ import annotations

from dataclasses import dataclass

from interp_steer.errors import ScoringError
from interp_steer.world.facts import default_world
from interp_steer.world.reading import names_entity, read_claims


@dataclass(frozen=True)
class Content:
    """The statements of an answer about its subject; a repeated statement counts once."""

    names_subject: bool
    """Whether the answer names the subject, in any of the five languages."""
    true: int
    """Different true statements about the subject."""
    false: int
    """Different false ones."""
    statements: int
    """Different statements that can be read, including those about other entities."""

    @property
    def is_preserved(self) -> bool:
        """Check that the subject is named, with more true statements about it than false."""
        return self.names_subject and self.true > self.false


def check_content(answer: str, subject: str) -> Content:
    """Read the statements of an answer about the entity that was asked about.

    The style of the answer does not matter: a loop of one true sentence has content too. Report
    fluency as well (:mod:`interp_steer.scoring.fluency`), and compare with the unsteered model,
    asked in the same language: the bundled models know their facts in English; in Italian they
    name most subjects and say little that is true.

    Args:
        answer: in any of the world's languages and any format.
        subject: key of an entity, such as ``item.subject`` of what
            :func:`interp_steer.world.translations.parallel` gives.

    Returns:
        The counts of statements; only statements in the words of the grammar can be read.

    Raises:
        ScoringError: for a subject that the world does not have.

    Example:
        >>> check_content("Il mulino è molto antico.", "mill").names_subject
        True
    """
    if subject not in default_world().entities:
        raise ScoringError(
            f"the bundled world has no entity {subject!r}; give the key of one, such as 'castle'"
        )
    truth = {claim.fact: claim.true for claim in read_claims(answer, subject)}
    about = [true for fact, true in truth.items() if fact.subject == subject]
    return Content(names_entity(answer, subject), sum(about), len(about) - sum(about), len(truth))
