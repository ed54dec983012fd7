"""Capture the hidden states of the same prompts with repeng, in its own environment."""

import json
import sys
import time
from pathlib import Path

import torch
from repeng.extract import batched_get_hiddens
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

work = json.loads(Path(sys.argv[1]).read_text())
torch.set_num_threads(work["threads"])
model = AutoModelForCausalLM.from_pretrained(work["folder"], torch_dtype=torch.float32).eval()
tokenizer = PreTrainedTokenizerFast(
    tokenizer_file=f"{work['folder']}/tokenizer.json", pad_token=work["pad_token"]
)
texts = [text for pair in zip(*work["sides"], strict=True) for text in pair]
layers = list(range(model.config.num_hidden_layers))
print(json.dumps({"ready": True}), flush=True)
for command in sys.stdin:
    start = time.perf_counter()
    hidden = batched_get_hiddens(model, tokenizer, texts, layers, work["batch_size"])
    seconds = time.perf_counter() - start
    if command.strip() == "vector":
        means = {
            str(layer): (rows[::2] - rows[1::2]).mean(0).tolist() for layer, rows in hidden.items()
        }
        print(json.dumps({"layers": means}), flush=True)
    else:
        print(json.dumps({"units": len(texts), "seconds": seconds}), flush=True)
