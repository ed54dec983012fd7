"""Turn a query into the exact text that a model reads, and determine which tokens end an answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import jinja2
from transformers import PreTrainedTokenizerBase

from interp_steer.errors import ModelError
from interp_steer.models.backends.protocol import Wrapped

Message: TypeAlias = Mapping[str, str]
"""One turn of a chat: ``{"role": "system" | "user" | "assistant", "content": text}``."""

Query: TypeAlias = str | Sequence[Message]
"""The question of a user: a text, or the turns of a chat. Where the last turn is the assistant's,
the model continues that turn."""

_PROBE = "Pinocchio"  # an assistant's answer that a template is unlikely to contain or to rewrite


@dataclass(frozen=True)
class PromptFormat:
    """The format that turns a query into a prompt.

    Args:
        name: ``"chat"`` (the tokenizer's chat template), ``"qa"`` (``Q: {x}\\nA:``) or
            ``"custom"``.
        template: the chat template's source, a text with ``{x}`` in the place of the query, or a
            function from the query to the prompt.
        stop_strings: texts that end an answer, in addition to the model's stop tokens.

    Raises:
        ModelError: for an unknown name, or a text without ``{x}``.

    Example:
        >>> PromptFormat.of("User: {x}\\nBot:").name
        'custom'
    """

    name: str
    template: str | Callable[[Any], str]
    stop_strings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.name not in ("chat", "qa", "custom"):
            raise ModelError(
                f"prompt format {self.name!r} is unknown; use 'chat', 'qa' or 'custom'"
            )
        filled_in = self.name != "chat" and isinstance(self.template, str)
        if filled_in and "{x}" not in self.template:  # type: ignore[operator]
            raise ModelError(
                f"prompt format {self.template!r} has no place for the query; "
                "write {x} in its place, as in 'Q: {x}\\nA:'"
            )

    @classmethod
    def of(cls, given: PromptFormat | str | Callable[[Any], str]) -> PromptFormat:
        """Make a format from a text with ``{x}``, a function, or a format (which is returned).

        Raises:
            ModelError: for anything else.
        """
        if isinstance(given, PromptFormat):
            return given
        if isinstance(given, str) or callable(given):
            return cls("custom", given)
        raise ModelError(
            f"prompt_format is a {type(given).__name__}; give a text with {{x}} in the place of "
            "the query, a function from the query to the prompt, or a PromptFormat"
        )

    @classmethod
    def for_tokenizer(cls, tokenizer: PreTrainedTokenizerBase) -> PromptFormat:
        """Return the format of the tokenizer's chat template, or else questions and answers."""
        if not tokenizer.chat_template:
            return question_answer
        # A tokenizer may have several named templates; get_chat_template picks the default.
        template = tokenizer.get_chat_template()
        return cls("chat", template, _closing_text(tokenizer, template))

    def render(
        self, tokenizer: PreTrainedTokenizerBase, query: Query, system: str | None = None
    ) -> str:
        """Render the prompt, up to the place where the model's answer begins.

        Args:
            tokenizer: has the special tokens that a chat template writes.
            query: a text, or the turns of a chat. A last turn of the assistant is written unchanged
                after the prompt, and the model continues it.
            system: a system message before the query.

        Returns:
            The text, with special tokens written out.

        Raises:
            ModelError: for malformed turns, or when the template or function refuses the query.
        """
        if callable(self.template):
            return self._call(self.template, query, system)
        messages = _as_messages(query, system)
        begun = messages.pop()["content"] if messages[-1]["role"] == "assistant" else ""
        if self.name == "chat":
            prompt = _apply(tokenizer, self.template, messages, add_generation_prompt=True)
            return prompt + begun
        templates = {"system": "{x}\n", "user": self.template, "assistant": " {x}\n"}
        turns = (
            templates[message["role"]].replace("{x}", message["content"]) for message in messages
        )
        return "".join(turns) + (begun and f" {begun}")

    @staticmethod
    def _call(function: Callable[[Any], str], query: Query, system: str | None) -> str:
        if system is not None:
            raise ModelError(
                "a prompt format that is a function takes only the query; "
                "write the system text inside the function, or give a text with {x}"
            )
        prompt = function(query)
        if not isinstance(prompt, str):
            raise ModelError(
                f"the prompt format returned a {type(prompt).__name__} for {query!r}; "
                "return the prompt's text"
            )
        return prompt


question_answer = PromptFormat("qa", "Q: {x}\nA:", ("Q:",))
"""The format of base models: a question to be continued by its answer, up to the next question."""


def check_text(text: str, index: int) -> None:
    """Check that a tokenizer can read a prompt.

    Args:
        text: the prompt.
        index: the number of the prompt, for the error message.

    Raises:
        ModelError: for half a character (a lone surrogate).
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ModelError(
            f"prompt {index} has half a character ({error}), which no tokenizer reads; read its "
            "text again as UTF-8"
        ) from error


def closing_token(tokenizer: PreTrainedTokenizerBase, prompt_format: PromptFormat) -> int | None:
    """Find the token with which a chat template closes an assistant's turn, by rendering a turn.

    Returns:
        The first special token after the assistant's content; None for other formats, or when the
        template closes the turn with ordinary text (which is then in ``stop_strings``).
    """
    if prompt_format.name != "chat" or callable(prompt_format.template):
        return None
    tail = _render_tail(tokenizer, prompt_format.template)
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    ids = tokenizer(tail, add_special_tokens=False)["input_ids"] if tail else []
    return next((token for token in ids if token in special), None)


def _closing_text(tokenizer: PreTrainedTokenizerBase, template: str) -> tuple[str, ...]:
    as_chat = PromptFormat("chat", template)
    if closing_token(tokenizer, as_chat) is not None:
        return ()
    tail = _render_tail(tokenizer, template).strip()
    return (tail,) if tail else ()


def _render_tail(tokenizer: PreTrainedTokenizerBase, template: str) -> str:
    """Return the text that the template writes after an assistant's content, or an empty text."""
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _PROBE}]
    try:
        text = _apply(tokenizer, template, turns, add_generation_prompt=False)
    except ModelError:  # a template for single questions renders no assistant's turn
        return ""
    _, probe, tail = text.rpartition(_PROBE)
    return tail if probe else ""


def _apply(
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    messages: Sequence[Message],
    *,
    add_generation_prompt: bool,
) -> str:
    try:
        return str(
            tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                chat_template=template,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
            )
        )
    except jinja2.TemplateError as refusal:
        roles = ", ".join(message["role"] for message in messages)
        raise ModelError(
            f"the chat template refuses turns of {roles}: {refusal}; leave out the roles that it "
            "does not know (a system text can be written at the beginning of the query)"
        ) from refusal


def _as_messages(query: Query, system: str | None) -> list[Message]:
    messages: list[Message] = [] if system is None else [{"role": "system", "content": system}]
    if isinstance(query, str):
        return [*messages, {"role": "user", "content": query}]
    for turn in query:
        if (
            not isinstance(turn, Mapping)
            or turn.get("role") not in ("system", "user", "assistant")
            or not isinstance(turn.get("content"), str)
        ):
            raise ModelError(
                f"{turn!r} is not a turn of a chat; write "
                "{'role': 'system' | 'user' | 'assistant', 'content': text}"
            )
    if not query:
        raise ModelError("a chat has no turns; give at least the user's turn")
    last = query[-1]
    if last["role"] == "system" or (last["role"] == "assistant" and len(query) == 1):
        raise ModelError(
            "a chat ends with the user's turn, or with the beginning of an answer to it; this chat "
            f"has {[turn['role'] for turn in query]}"
        )
    if last["role"] == "assistant" and not last["content"]:
        raise ModelError("the answer that the chat ends with is empty; leave that turn out")
    return [*messages, *query]


def token_ids(*entries: Any) -> list[int]:
    """Collect the token ids in entries of configurations and tokenizers: ids, lists, or None."""
    lists = [entry if isinstance(entry, (list, tuple)) else [entry] for entry in entries]
    return [int(token) for entry in lists for token in entry if token is not None]


def stop_ids(
    wrapped: Wrapped, tokenizer: PreTrainedTokenizerBase, prompt_format: PromptFormat
) -> frozenset[int]:
    """Return the ids of all end tokens named by the model, the tokenizer or the prompt format."""
    return frozenset(
        token_ids(
            *wrapped.end_ids,
            tokenizer.eos_token_id,
            closing_token(tokenizer, prompt_format),
        )
    )


def pad_id(wrapped: Wrapped, tokenizer: PreTrainedTokenizerBase, ends: frozenset[int]) -> int:
    """Choose the token that is written at masked positions; never a token that ends an answer."""
    # Pads are masked, so any id of the embedding works. The tokenizer's own pad is not used where
    # it also ends an answer, which is common: a finished row would look padded.
    n_rows = wrapped.n_embeddings
    own = token_ids(tokenizer.pad_token_id, tokenizer.unk_token_id)
    taken = {*ends, *token_ids(tokenizer.bos_token_id)}
    return next(token for token in (*own, *range(n_rows)) if token < n_rows and token not in taken)
