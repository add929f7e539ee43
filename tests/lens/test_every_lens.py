"""The lens on every architecture that can be built: its last row is the model's own ranking."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import tiny_models
import tiny_tokenizers
import torch
import transformers
from architectures import architectures
from torch import Tensor

from ecco_captum import Generation, rankings
from ecco_captum.core.tokens import Tokens
from ecco_captum.generation.tasks import task_of
from ecco_captum.models.interventions import recorded_stream, replay_tail
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.testing import model_state

PROMPT, OUTPUTS = 7, 5

REFUSED = {
    "causal:blt": "streams of different shapes",
    "causal:inkling2_text": "do not follow from the last block's output alone",
    "causal:musicgen": "does not run on plain token ids",
    "causal:musicgen_melody": "does not run on plain token ids",
    "causal:reformer": "do not follow from the last block's output alone",
    "masked:funnel": "streams of different shapes",
    "masked:perceiver": "do not run on the tokens",
    "masked:reformer": "do not follow from the last block's output alone",
}
_TOO_LONG = "its own forward fails on a text of this length with so small a config"
BROKEN = {"causal:prophetnet": _TOO_LONG, "seq2seq:prophetnet": _TOO_LONG}


def text_for(kind: str, longest: int | None) -> Generation:
    """Random ids; of a text without masks every token is ranked."""
    ids = np.random.default_rng(0).integers(5, 80, PROMPT + OUTPUTS)[:longest]
    prompt, outputs = ids[:PROMPT], ids[PROMPT:]
    if kind == "masked":
        prompt, outputs = ids, ids[:0]
    zeros = np.zeros(len(outputs), dtype=np.float32)
    tokens = Tokens(ids, tuple(map(str, ids)), len(prompt))
    start = np.array([3] if kind == "seq2seq" else [], dtype=np.int64)
    places = outputs if kind == "masked" else None
    return Generation(
        prompt, outputs, tokens, zeros, zeros, zeros + 1, start, kind, {}, kind, places
    )


def ranks_in(logits: Tensor, targets: Tensor) -> Tensor:
    return 1 + (logits > logits.gather(1, targets[:, None])).sum(dim=1)


@torch.no_grad()
def forwards(lm: LanguageModel, text: Generation) -> list[tuple[dict[str, Tensor], int]]:
    """The inputs of one plain forward for each column, and where its logits stand."""
    ids = torch.tensor(text.tokens.ids)[None]
    if text.task == "masked":
        return [({"input_ids": ids}, place - ids.shape[1]) for place in range(ids.shape[1])]
    found = []
    for end in range(PROMPT, PROMPT + OUTPUTS):
        if text.task == "causal":
            found.append(({"input_ids": ids[:, :end]}, -1))
        else:
            start = torch.tensor(text.start_ids)[None]
            decoded = torch.cat([start, ids[:, PROMPT:end]], dim=1)
            found.append(({"input_ids": ids[:, :PROMPT], "decoder_input_ids": decoded}, -1))
    return found


@pytest.mark.parametrize(("kind", "name"), architectures())
def test_equals_a_tail_run_for_each_token_and_layer(kind: str, name: str) -> None:
    transformers.logging.set_verbosity_error()
    if f"{kind}:{name}" in BROKEN:
        pytest.skip(BROKEN[f"{kind}:{name}"])
    with warnings.catch_warnings():
        # Models speak up about their own configurations; this is about numbers.
        warnings.simplefilter("ignore")
        model = tiny_models.build(kind, name)
        lm = LanguageModel(model, tiny_tokenizers.byte_level(), name)
        text = text_for(task_of(lm), lm.context_length)
        if f"{kind}:{name}" in REFUSED:
            with pytest.raises(ValueError, match=REFUSED[f"{kind}:{name}"]):
                rankings(lm, text)
            return
        with torch.no_grad():
            # Some models change themselves at their first text of a length or in a mode.
            asked = forwards(lm, text)
            for inputs, _ in asked:
                model(**inputs, use_cache=False)
        before = model_state(model)
        found = rankings(lm, text, positions="all" if text.task == "masked" else "outputs")
        assert model_state(model) == before
        stack, targets = lm.anatomy.stack, torch.tensor(found.target_ids)
        for column, (inputs, place) in enumerate(asked):
            with torch.no_grad(), recorded_stream(model, stack) as stream:
                own = model(**inputs, use_cache=False).logits[:, place].float()
                rows = [
                    replay_tail(model, lm.anatomy, inputs, hidden)[:, place] for hidden in stream
                ]
            target = targets[column : column + 1]
            assert found.ranks[-1, column] == int(ranks_in(own, target))
            for row, logits in enumerate(rows):
                spread = 1 + float(logits.abs().max())
                expected = float(logits[0, target])
                assert abs(found.logits[row, column] - expected) < 2e-5 * spread, (row, column)
