"""repeng: logits under our file, and a file of its own; run by its own environment's Python.

argv: a JSON file with ``folder`` (a checkpoint), ``tokens``, ``ours`` (a GGUF that we wrote),
``theirs`` (where to export one), ``out`` (where the logits go).
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from repeng import ControlModel, ControlVector
from transformers import AutoModelForCausalLM

work = json.loads(Path(sys.argv[1]).read_text())
torch.set_num_threads(1)
model = AutoModelForCausalLM.from_pretrained(work["folder"], dtype=torch.float32).eval()
n, d = model.config.num_hidden_layers, model.config.hidden_size
rng = np.random.default_rng(3)
own = ControlVector(
    model_type=model.config.model_type,
    directions={k: (3 * rng.standard_normal(d)).astype(np.float32) for k in range(1, n)},
)
own.export_gguf(work["theirs"])
controlled = ControlModel(model, list(range(1, n)))


@torch.no_grad()
def logits(vector: ControlVector, coefficient: float) -> torch.Tensor:
    controlled.reset()
    controlled.set_control(vector, coefficient)
    return controlled(torch.tensor(work["tokens"])).logits


found = {
    "ours": logits(ControlVector.import_gguf(work["ours"]), 0.5),
    "theirs": logits(ControlVector.import_gguf(work["theirs"]), 1.0),
    "none": logits(own, 0.0),
}
torch.save(found, work["out"])
