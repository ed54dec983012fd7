"""Prompts that two models share, none of which asks for what is steered towards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import Any

from analyses.geometry.subspaces import family
from analyses.kit.instruction_sets import arguments, instruction_id
from interp_steer.contrast.contrast_set import ContrastSet, plain_text
from interp_steer.contrast.instructions import registry
from interp_steer.errors import OptionError
from interp_steer.world import model_answers
from interp_steer.world.facts import LANGUAGES
from interp_steer.world.queries import Query, list_queries

ASKING = {
    "plain": "ask for no format",
    "others": "ask for formats of other families",
    "kin": "ask for other formats, of the same families too",
    "broad": "ask for the like, or come in other languages and ask for no format",
}
"""What shared prompts ask for. A family is what stands before the colon of an id."""

FOREIGN = tuple(language for language in LANGUAGES if language != "en")
"""The other languages of the bundled world."""

PLAIN = 4
"""One prompt in so many asks for no format, of those that others ask for one."""


def shared_prompts(asking: str, steered: Sequence[str], n: int, seed: int) -> list[str]:
    """Requests that the bundled models may have been trained on, so that no contrast set has them.

    Args:
        asking: one of :data:`ASKING`. Of ``"kin"`` every second format is of a family that is
            steered towards, where that family has another: an id of its own, or the same with
            other arguments, such as another language. Of ``"broad"`` every second is such a
            prompt, and the others are requests in :data:`FOREIGN`, which the models are asked
            in, and answer in, without a word of it.
        steered: the names of the instructions that are steered towards; none is ever asked for.
        n: how many.
        seed: of the choice of requests, formats and phrasings.

    Raises:
        OptionError: for another way of asking, or more prompts than there are requests.
    """
    if asking not in ASKING:
        raise OptionError(f"prompts that ask {asking!r} are unknown; use {', '.join(ASKING)}")
    if n < 1:
        raise OptionError(f"{n} shared prompts were asked for; give a number from 1 up")
    if asking == "broad":
        kin = shared_prompts("kin", steered, (n + 1) // 2, seed)
        spoken = [
            _requests((n // 2 + at) // len(FOREIGN), seed, language)
            for at, language in enumerate(FOREIGN)
        ]
        return [*kin, *(query.text for each in spoken for query in each)]
    chosen = _requests(n, seed)
    families = {family(name) for name in steered}
    whole = {instruction_id(name) for name in steered if not arguments(name)}
    others = [one for one in registry.IDS if family(one) not in families]
    kin = [one for one in registry.IDS if family(one) in families and one not in whole]
    turns = {"plain": [], "others": [others], "kin": [kin or others, others]}[asking]
    rng = Random(f"shared prompts/{asking}/{seed}")
    prompts = []
    for number, query in enumerate(chosen):
        if not turns or number % PLAIN == 0:
            prompts.append(query.text)
        else:
            prompts.append(_told(query, turns[number % len(turns)], steered, rng))
    return prompts


def _requests(n: int, seed: int, language: str = "en") -> list[Query]:
    """Some requests in a language, drawn from all that there are."""
    known = list_queries("train", language)
    if not 0 <= n <= len(known):
        raise OptionError(
            f"{n} shared prompts in {language} were asked for; there are {len(known)} requests"
        )
    return Random(f"shared prompts/{seed}").sample(known, n)


def _told(query: Query, ids: Sequence[str], steered: Sequence[str], rng: Random) -> str:
    """The request with a format of some, that is none of those steered towards."""
    topic = model_answers.topic(query.subject, query.style)
    kwargs: Mapping[str, Any] = {}
    one = ids[0]
    for _ in range(100):
        one = rng.choice(ids)
        kwargs = registry.get(one).sample(rng, topic)
        if not any(_is(name, one, kwargs) for name in steered):
            break
    else:
        return query.text  # every argument that it is ever given is steered towards
    index = rng.choice(registry.phrasing_indices("trained"))
    return registry.attach(query.text, registry.phrase(one, kwargs, index, rng))


def _is(name: str, one: str, kwargs: Mapping[str, Any]) -> bool:
    wanted = arguments(name)
    return instruction_id(name) == one and all(kwargs.get(k) == v for k, v in wanted.items())


def check_apart(prompts: Iterable[str], sets: Iterable[ContrastSet]) -> None:
    """Refuse shared prompts that begin with a request of a contrast set.

    Raises:
        OptionError: naming one.
    """
    asked = {plain_text(query) for pairs in sets for query in pairs.queries}
    for prompt in prompts:
        text = plain_text(prompt)
        if any(text.startswith(query) for query in asked):
            raise OptionError(
                f"{prompt!r} is shared by the models and asks what a contrast set asks; give "
                "prompts of one kind or the other"
            )
