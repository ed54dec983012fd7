"""vLLM and vllm-lens: log-probabilities under requests that carry our files; run by its own Python.

argv: a JSON file with ``folder`` (a checkpoint), ``caching`` (whether prefixes are cached),
``batches`` (lists of requests that are sent together, each with ``tokens``, ``vectors``, which is
the text of a file or null, and ``salt``, a text or null), ``theirs`` (where to store a file of its
own), ``out`` (where ids and log-probabilities go). The model is run on the CPU, in this process.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
}

import torch
from vllm import LLM, SamplingParams
from vllm_lens import SteeringVector


def own_file(llm: LLM, path: Path) -> str:
    """Two vectors as vllm-lens stores them, one of them in bfloat16."""
    config = llm.llm_engine.model_config
    n, d = config.get_total_num_hidden_layers(), config.get_hidden_size()
    drawn = 3 * torch.randn(n, d, generator=torch.Generator().manual_seed(3))
    vectors = [
        SteeringVector(activations=drawn, layer_indices=list(range(n)), scale=0.5),
        SteeringVector(activations=drawn[1:2].bfloat16(), layer_indices=[1], scale=-0.25),
    ]
    path.write_text(json.dumps([each.model_dump(mode="json") for each in vectors]))
    return path.read_text()


def answered(llm: LLM, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The ids and the log-probabilities of every token, for requests in one batch."""
    prompts, params = [], []
    for each in requests:
        salt = {} if each["salt"] is None else {"cache_salt": each["salt"]}
        prompts.append({"prompt_token_ids": each["tokens"], **salt})
        # A text is taken from the arguments by the call that it belongs to.
        extra = {} if each["vectors"] is None else {"apply_steering_vectors": each["vectors"]}
        params.append(
            SamplingParams(
                temperature=0.0, max_tokens=5, logprobs=-1, ignore_eos=True, extra_args=extra
            )
        )
    found = []
    for output in llm.generate(prompts, params, use_tqdm=False):
        (answer,) = output.outputs
        rows = [[step[token].logprob for token in range(len(step))] for step in answer.logprobs]
        found.append({"ids": list(answer.token_ids), "logprobs": torch.tensor(rows)})
    return found


if __name__ == "__main__":
    work = json.loads(Path(sys.argv[1]).read_text())
    llm = LLM(
        work["folder"], dtype="float32", max_logprobs=-1, enable_prefix_caching=work["caching"]
    )
    theirs = own_file(llm, Path(work["theirs"]))
    batches = [answered(llm, batch) for batch in work["batches"]]
    first = work["batches"][0][0] | {"vectors": theirs, "salt": "theirs"}
    torch.save({"batches": batches, "theirs": answered(llm, [first])[0]}, work["out"])
