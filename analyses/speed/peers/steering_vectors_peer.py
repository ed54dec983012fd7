"""Capture the same pairs with steering-vectors, in its own environment."""

import json
import sys
import time
from pathlib import Path

import torch
from steering_vectors import SteeringVectorTrainingSample, train_steering_vector
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

work = json.loads(Path(sys.argv[1]).read_text())
torch.set_num_threads(work["threads"])
model = AutoModelForCausalLM.from_pretrained(work["folder"], torch_dtype=torch.float32).eval()
tokenizer = PreTrainedTokenizerFast(
    tokenizer_file=f"{work['folder']}/tokenizer.json", pad_token=work["pad_token"]
)
samples = [SteeringVectorTrainingSample(*pair) for pair in zip(*work["sides"], strict=True)]
print(json.dumps({"ready": True}), flush=True)
for command in sys.stdin:
    start = time.perf_counter()
    vector = train_steering_vector(
        model,
        tokenizer,
        samples,
        batch_size=work["batch_size"],
        read_token_index=-1,
        show_progress=False,
    )
    seconds = time.perf_counter() - start
    if command.strip() == "vector":
        layers = {str(layer): v.tolist() for layer, v in vector.layer_activations.items()}
        print(json.dumps({"layers": layers}), flush=True)
    else:
        print(json.dumps({"units": 2 * len(samples), "seconds": seconds}), flush=True)
