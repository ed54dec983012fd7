"""The papers' way: one prompt at a time, and the whole of it again for every token.

Both papers' published code decodes like this, with hooks on the hook points and without a cache.
"""

from __future__ import annotations

import torch

import interp_steer as ist


@torch.inference_mode()
def answer(
    model: ist.HookedLM, prompt: list[int], steering: ist.Intervention, max_new_tokens: int
) -> list[int]:
    """Answer one prompt greedily.

    Args:
        model: run through its hook points.
        prompt: token ids.
        steering: what acts on the model.
        max_new_tokens: at most so many tokens, the stop token included.

    Returns:
        The ids of the answer.
    """
    tokens, hooks = torch.tensor([prompt], device=model.device), steering.fwd_hooks()
    for _ in range(max_new_tokens):
        logits = model.bridge.run_with_hooks(tokens, fwd_hooks=hooks)
        tokens = torch.cat([tokens, logits[:, -1:].argmax(-1)], dim=1)
        if int(tokens[0, -1]) in model.stop_ids:
            break
    return tokens[0, len(prompt) :].tolist()
