"""steering-vectors: logits under our file, and a file of its own; run by its own Python.

argv: a JSON file with ``folder`` (a checkpoint), ``tokens``, ``ours`` (a .pt that we wrote),
``theirs`` (where to store its object), ``out`` (where the logits go).
"""

import dataclasses
import json
import sys
from pathlib import Path

import torch
from steering_vectors import SteeringVector
from transformers import AutoModelForCausalLM

work = json.loads(Path(sys.argv[1]).read_text())
torch.set_num_threads(1)
model = AutoModelForCausalLM.from_pretrained(work["folder"], torch_dtype=torch.float32).eval()
n, d = model.config.num_hidden_layers, model.config.hidden_size
drawn = 3 * torch.randn(n, d, generator=torch.Generator().manual_seed(3))
own = SteeringVector({k: drawn[k] for k in range(n)})
torch.save(dataclasses.asdict(own), work["theirs"])


@torch.no_grad()
def logits(vector: SteeringVector, multiplier: float) -> torch.Tensor:
    with vector.apply(model, multiplier=multiplier):
        return model(torch.tensor(work["tokens"])).logits


found = {
    "ours": logits(SteeringVector(**torch.load(work["ours"], weights_only=True)), 0.5),
    "theirs": logits(own, 1.0),
    "none": logits(own, 0.0),
}
torch.save(found, work["out"])
