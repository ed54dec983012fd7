"""Sample prompts that two models share and that never ask for the steered instruction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import Any

from analyses.geometry.subspaces import get_family
from analyses.kit.instruction_sets import arguments, instruction_id
from interp_steer.contrast import ContrastSet, plain_text
from interp_steer.contrast.instructions import registry
from interp_steer.errors import OptionError
from interp_steer.world import LANGUAGES, Query, list_queries, model_answers

PROMPT_SETS = {
    "plain": "ask for no format",
    "others": "ask for formats of other families",
    "kin": "ask for other formats, including formats of the same families",
    "broad": "are as in kin, or are in other languages and ask for no format",
}
"""Sets of shared prompts. A family is the part of an IFEval id before the colon."""

FOREIGN = tuple(language for language in LANGUAGES if language != "en")
"""Languages of the bundled world other than English."""

PLAIN = 4
"""In sets that ask for formats, one in this number of prompts asks for no format."""


def sample_shared_prompts(asking: str, steered: Sequence[str], n: int, seed: int) -> list[str]:
    """Sample requests from the training queries of the bundled models, which no contrast set uses.

    Args:
        asking: one of :data:`PROMPT_SETS`. In ``"kin"`` every second format is of a steered family,
            if that family has another format: another id, or the same id with other arguments,
            such as another language. In ``"broad"`` half of the prompts are ``"kin"`` prompts, and
            the others are requests in :data:`FOREIGN`, which do not mention their language.
        steered: the steered instructions, which no prompt asks for.
        n: number of prompts.
        seed: seed of the choice of requests, formats and phrasings.

    Raises:
        OptionError: if the set is unknown, or more prompts are asked for than there are requests.
    """
    if asking not in PROMPT_SETS:
        raise OptionError(
            f"unknown set of shared prompts {asking!r}; give one of {', '.join(PROMPT_SETS)}"
        )
    if n < 1:
        raise OptionError(f"{n} shared prompts were asked for; give 1 or more")
    if asking == "broad":
        kin = sample_shared_prompts("kin", steered, (n + 1) // 2, seed)
        foreign = [
            _sample_queries((n // 2 + at) // len(FOREIGN), seed, language)
            for at, language in enumerate(FOREIGN)
        ]
        return [*kin, *(query.text for queries in foreign for query in queries)]
    chosen = _sample_queries(n, seed)
    families = {get_family(name) for name in steered}
    whole = {instruction_id(name) for name in steered if not arguments(name)}
    others = [known for known in registry.IDS if get_family(known) not in families]
    kin = [known for known in registry.IDS if get_family(known) in families and known not in whole]
    turns = {"plain": [], "others": [others], "kin": [kin or others, others]}[asking]
    rng = Random(f"shared prompts/{asking}/{seed}")
    prompts = []
    for number, query in enumerate(chosen):
        if not turns or number % PLAIN == 0:
            prompts.append(query.text)
        else:
            prompts.append(_add_format(query, turns[number % len(turns)], steered, rng))
    return prompts


def _sample_queries(n: int, seed: int, language: str = "en") -> list[Query]:
    """Sample requests in a language."""
    known = list_queries("train", language)
    if not 0 <= n <= len(known):
        raise OptionError(
            f"{n} shared prompts in {language} were asked for, but there are {len(known)} "
            "requests; give fewer"
        )
    return Random(f"shared prompts/{seed}").sample(known, n)


def _add_format(query: Query, ids: Sequence[str], steered: Sequence[str], rng: Random) -> str:
    """Add one of some formats to a request, but never a steered one."""
    topic = model_answers.topic(query.subject, query.style)
    kwargs: Mapping[str, Any] = {}
    chosen = ids[0]
    for _ in range(100):
        chosen = rng.choice(ids)
        kwargs = registry.get(chosen).sample(rng, topic)
        if not any(_matches(name, chosen, kwargs) for name in steered):
            break
    else:
        return query.text  # every argument of the format is steered
    index = rng.choice(registry.phrasing_indices("trained"))
    return registry.attach(query.text, registry.phrase(chosen, kwargs, index, rng))


def _matches(name: str, known: str, kwargs: Mapping[str, Any]) -> bool:
    wanted = arguments(name)
    return instruction_id(name) == known and all(kwargs.get(k) == v for k, v in wanted.items())


def check_apart(prompts: Iterable[str], sets: Iterable[ContrastSet]) -> None:
    """Refuse shared prompts that begin with a request of a contrast set.

    Raises:
        OptionError: if a prompt does.
    """
    requests = {plain_text(query) for pairs in sets for query in pairs.queries}
    for prompt in prompts:
        text = plain_text(prompt)
        if any(text.startswith(query) for query in requests):
            raise OptionError(
                f"the shared prompt {prompt!r} contains a request of a contrast set; give prompts "
                "without such requests"
            )
