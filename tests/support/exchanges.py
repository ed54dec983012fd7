"""Pairs, a model and the rows of their last tokens, for tests of exchanges."""

from __future__ import annotations

import pytest
import torch

import interp_steer as ist
from interp_steer.geometry.exchange import capture_last_tokens

QUERIES = ["Name a tree.", "Tell me about the sea and the castle.", "What is a whale?"]


ANSWERS = [[10], [11], [12]]


LAYER = 1


@pytest.fixture(scope="module")
def pairs():
    return ist.contrast.build("case", QUERIES, ["No capitals."], fit=3, select=0, test=0)


@pytest.fixture(scope="module")
def llama(tiny, pairs):
    model = tiny("llama3")
    return model, ist.fit(model, pairs), capture_last_tokens(model, pairs)


def scores(model, prompts, steering, answers=ANSWERS):
    return torch.cat([one.logprobs for one in ist.logprobs(model, prompts, answers, steering)])
