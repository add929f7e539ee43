"""Which models see only what is before a position."""

from __future__ import annotations

import pytest
import tiny_models
from model_state import state_of

from ecco_captum.causality import is_causal


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
    before = state_of(model)
    assert is_causal(model) is expected
    assert state_of(model) == before
