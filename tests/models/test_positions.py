"""Every architecture at its length limit and one past it, and as it was after an analysis."""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

import pytest
import tiny_models
import tiny_tokenizers
import torch
import transformers
from architectures import architectures

from ecco_captum import force_decode, hidden_states, saliency
from ecco_captum.models.encoding import encode_prompt
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.models.positions import position_limit
from ecco_captum.testing import model_state

# Their tiny versions read no text of one row, or none so long.
OTHER_INPUTS = {"musicgen", "musicgen_melody"}
SHORTER = {"prophetnet"}  # its buckets of distances need room between their number and the farthest


def built(kind: str, name: str) -> Any:
    transformers.logging.set_verbosity_error()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tiny_models.build(kind, name)


def runs(model: Any, source: int, target: int) -> bool:
    inputs = {"input_ids": torch.full((1, source), 50)}
    if model.config.is_encoder_decoder and model.can_generate():
        inputs["decoder_input_ids"] = torch.full((1, target), 50)
    try:
        with torch.no_grad():
            model(**inputs, use_cache=False)
    except (IndexError, RuntimeError, ValueError):
        return False
    return True


@pytest.mark.parametrize(("kind", "name"), architectures())
def test_a_text_of_the_limit_is_read_and_one_past_it_refused(kind: str, name: str) -> None:
    if name in OTHER_INPUTS:
        pytest.skip("reads several rows at once")
    model = built(kind, name)
    source, target = (position_limit(model, text) for text in ("input_ids", "decoder_input_ids"))
    if name not in SHORTER:
        assert runs(model, source or 200, 5)
        assert runs(model, 7, target or 200)
    if source is None:
        return
    lm = LanguageModel(model, tiny_tokenizers.byte_level(), name)
    with pytest.raises(ValueError, match=rf"holds {source}\b"):
        encode_prompt(lm, [50] * (source + 1))


@pytest.mark.parametrize(("kind", "name"), architectures())
def test_a_model_is_afterwards_what_it_was(kind: str, name: str) -> None:
    if name in OTHER_INPUTS | SHORTER:
        pytest.skip("its tiny version reads no such text")
    model = built(kind, name)
    lm = LanguageModel(model, tiny_tokenizers.byte_level(), name)
    before = model_state(model)
    with contextlib.suppress(ValueError):  # refused: even so
        if model.can_generate():
            generation = force_decode(lm, [20, 30, 40, 50, 60, 70], [21, 31])
            saliency(lm, generation)
        else:
            hidden_states(lm, [20, 30, 40, 50, 60, 70])
    after = model_state(model)
    for part in before:
        assert after[part] == before[part] or name == "rwkv", part
