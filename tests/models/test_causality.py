"""Which models see only what is before a position."""

from __future__ import annotations

import pytest
import tiny_models
import torch
from tiny_tokenizers import byte_level

from ecco_captum.models.causality import is_causal, shares_forwards
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.testing import model_state


@pytest.mark.parametrize(
    ("kind", "family", "expected"),
    [
        ("causal", "gpt2", True),
        ("causal", "gemma2", True),
        ("causal", "mamba", True),
        ("causal", "bert", False),  # its config does not say that it is a decoder
        ("causal", "xlnet", False),
        ("causal", "deepseek_v32", False),  # keys are chosen among all, later ones included
        ("seq2seq", "t5", True),
    ],
)
def test_known_families(kind: str, family: str, expected: bool) -> None:
    model = tiny_models.build(kind, family)
    before = model_state(model)
    assert is_causal(model) is expected
    assert model_state(model) == before


def test_models_that_rule_tokens_out_are_no_exception() -> None:
    model = tiny_models.build("causal", "gpt2")
    forward = model.forward

    def ruled_out(*args: object, **kwargs: object) -> object:
        outputs = forward(*args, **kwargs)
        outputs.logits[..., 7] = -torch.inf
        return outputs

    model.forward = ruled_out
    assert is_causal(model)


def test_nan_is_not_remembered() -> None:
    model = tiny_models.build("causal", "bert")
    weight = model.bert.encoder.layer[0].output.dense.weight
    kept = weight.detach().clone()
    with torch.no_grad():
        weight.fill_(float("nan"))
        assert is_causal(model)  # nothing can be said
        weight.copy_(kept)
    assert not is_causal(model)


def test_another_text_is_looked_at_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_models.build("causal", "gpt2")
    lm = LanguageModel(model, byte_level(), "tiny gpt2")
    assert is_causal(model)
    forward, calls = model.forward, []
    monkeypatch.setattr(model, "forward", lambda **k: calls.append(k) or forward(**k))
    first, second = torch.arange(5, 20)[None], torch.arange(6, 21)[None]
    for ids, before, seen in ((first, 4, 2), (first, 4, 2), (first, 5, 4), (second, 5, 6)):
        assert shares_forwards(lm, {"input_ids": ids}, before)
        assert len(calls) == seen
