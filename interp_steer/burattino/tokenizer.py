"""Train the tokenizer that the burattini share: byte-level BPE on texts of their world."""

from __future__ import annotations

import random

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from interp_steer.burattino.documents import sample_document
from interp_steer.world.chats import sample_chat

VOCABULARY = 3_072
CONTEXT = 1_024
"""Longest sequence in tokens that the models are configured for."""

PAD, BOS, EOS, END = "<|pad|>", "<|begin|>", "<|stop|>", "<|end|>"
ROLES = {role: f"<|{role}|>" for role in ("system", "user", "assistant")}

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
"""One turn is ``<|role|>\\ncontent<|end|>\\n``; an answer ends with ``<|end|>``."""


def train_tokenizer(
    seed: int = 0, documents: int = 6_000, chats: int = 6_000
) -> PreTrainedTokenizerFast:
    """Train the byte-level BPE on sampled documents and chats.

    Digits stand alone and words never cross a space, so that lists, JSON and several languages
    share one small vocabulary; capitals occur in the sample as they do in the training data.

    Args:
        seed: of the sample.
        documents: how many documents are sampled.
        chats: how many chats are sampled.

    Returns:
        A ``PreTrainedTokenizerFast`` with the chat template, saved by ``save_pretrained``.
    """
    rng = random.Random(seed)
    texts = [sample_document(rng) for _ in range(documents)]
    for _ in range(chats):
        texts.extend(message["content"] for message in sample_chat(rng).messages)

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\d|[^\S\n]?[^\s\d\p{P}\p{S}]+|\n|[^\S\n]?."), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, BOS, EOS, END, *ROLES.values()],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    # As Llama's own tokenizers do: plain text is encoded with one begin token in front.
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        additional_special_tokens=[END, *ROLES.values()],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        padding_side="left",
        model_max_length=CONTEXT,
    )
