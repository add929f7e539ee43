"""The static view of a generation: escaped, whole, with its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from record_samples import generation
from view_samples import HOSTILE

from ecco_captum.core.tokens import Tokens


def view(texts: Sequence[str], prompt: int, model: str = "a <model>") -> str:
    made = generation(Tokens(np.arange(len(texts)), tuple(texts), prompt), model)
    logprobs = np.linspace(-3, -0.1, len(texts) - prompt, dtype=np.float32)
    ranks = np.arange(1, len(logprobs) + 1) * 700
    return replace(made, logits=logprobs + 20, logprobs=logprobs, ranks=ranks).fragment()


def test_each_output_has_its_numbers() -> None:
    html = view(["The", " keys", " are", " on"], 2)
    assert "The keys" in html
    for shown in ("5.0%", "90.5%", "17.0", "19.9", "700", "1.4k"):
        assert f">{shown}</td>" in html
    assert html.count("<tr>") == 1 + 2
    assert "a &lt;model&gt;" in html


def test_nothing_in_a_text_can_act() -> None:
    html = view(["a", *HOSTILE], 1, HOSTILE[0])
    assert "<script" not in html
    assert "<img" not in html
    assert "\u202e" not in html


def test_long_outputs_are_folded() -> None:
    html = view(["a", *["b"] * 100], 1)
    assert "60 more generated tokens" in html
    assert html.count("<tr>") == 2 + 100
