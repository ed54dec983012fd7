"""What an answer about the bundled world says, whatever the language and format it is said in.

To steer the language of an answer must not take away its content (paper B: "original abilities
kept"). Whether it does can be read without a model: the world's facts are known.
"""

from __future__ import annotations

from dataclasses import dataclass

from interp_steer.errors import ScoringError
from interp_steer.world.facts import default_world
from interp_steer.world.reading import names_entity, read_claims


@dataclass(frozen=True)
class Content:
    """What an answer says of its subject; a statement that is repeated counts once."""

    names_subject: bool
    """Whether it names the subject, in any of the five languages."""
    true: int
    """Different true statements about the subject."""
    false: int
    """Different false ones."""
    statements: int
    """Different statements that can be read at all, those about other entities included."""

    @property
    def is_preserved(self) -> bool:
        """Whether it names the subject and says more of it that is true than that is false."""
        return self.names_subject and self.true > self.false


def check_content(answer: str, subject: str) -> Content:
    """Read what an answer says of the entity that was asked about.

    It does not see how the answer is written: a loop of one true sentence says it too. Put fluency
    beside it (:mod:`interp_steer.scoring.fluency`), and compare with what the model says unsteered
    when it is asked in that language: the bundled models know their facts in English, and in
    Italian name most subjects and say little of them that is true.

    Args:
        answer: in any of the world's languages and any format.
        subject: key of an entity, such as ``item.subject`` of what
            :func:`interp_steer.world.translations.parallel` gives.

    Returns:
        What is read; in words other than the grammar's nothing is.

    Raises:
        ScoringError: for a subject that the world does not have.

    Example:
        >>> content("Il mulino è molto antico.", "mill").names_subject
        True
    """
    if subject not in default_world().entities:
        raise ScoringError(
            f"the bundled world has no entity {subject!r}; give the key of one, such as 'castle'"
        )
    said = {one.fact: one.true for one in read_claims(answer, subject)}
    about = [true for fact, true in said.items() if fact.subject == subject]
    return Content(names_entity(answer, subject), sum(about), len(about) - sum(about), len(said))
