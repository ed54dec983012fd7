"""Run the papers' loop on HookedTransformer (TransformerLens 3.9), in its own environment.

The weights are unprocessed, so that the numbers are those of the checkpoint.
"""

import json
import sys
import time
from pathlib import Path

import torch
from transformer_lens import HookedTransformer, HookedTransformerConfig
from transformer_lens.pretrained.weight_conversions import convert_llama_weights
from transformers import AutoModelForCausalLM

work = json.loads(Path(sys.argv[1]).read_text())
torch.set_num_threads(work["threads"])
hf = AutoModelForCausalLM.from_pretrained(work["folder"], torch_dtype=torch.float32).eval()
of = hf.config
shape = HookedTransformerConfig(
    n_layers=of.num_hidden_layers,
    d_model=of.hidden_size,
    d_head=of.hidden_size // of.num_attention_heads,
    n_heads=of.num_attention_heads,
    d_mlp=of.intermediate_size,
    n_ctx=of.max_position_embeddings,
    d_vocab=of.vocab_size,
    act_fn="silu",
    eps=of.rms_norm_eps,
    normalization_type="RMS",
    positional_embedding_type="rotary",
    rotary_dim=of.hidden_size // of.num_attention_heads,
    rotary_base=10_000,
    rotary_adjacent_pairs=False,
    gated_mlp=True,
    final_rms=True,
    device="cpu",
)
model = HookedTransformer(shape)
model.load_and_process_state_dict(
    convert_llama_weights(hf, shape),
    fold_ln=False,
    center_writing_weights=False,
    center_unembed=False,
    fold_value_biases=False,
)
print(json.dumps({"ready": True}), flush=True)


def hooks(layer: int | None) -> list:
    """Return hooks that project to the target, as in paper A, at the output of a layer."""
    if layer is None:
        return []
    unit = torch.tensor(work["units"][str(layer)])
    target = work["targets"][str(layer)]

    def project(resid, hook):
        return resid + (target - resid @ unit)[..., None] * unit

    return [(f"blocks.{layer}.hook_resid_post", project)]


@torch.inference_mode()
def answer(prompt: list[int], layer: int | None) -> list[int]:
    tokens, given = torch.tensor([prompt]), hooks(layer)
    for _ in range(work["max_new_tokens"]):
        logits = model.run_with_hooks(tokens, fwd_hooks=given)
        tokens = torch.cat([tokens, logits[:, -1:].argmax(-1)], dim=1)
        if int(tokens[0, -1]) in work["stop_ids"]:
            break
    return tokens[0, len(prompt) :].tolist()


laps = iter(work["laps"])
for _ in sys.stdin:
    rows = next(laps)
    start = time.perf_counter()
    answers = [answer(row["prompt"], row["layer"]) for row in rows]
    seconds = time.perf_counter() - start
    wrong = sum(a != row["answer"] for a, row in zip(answers, rows, strict=True))
    print(json.dumps({"units": len(rows), "seconds": seconds, "wrong": wrong}), flush=True)
