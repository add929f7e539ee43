"""The static view of a generation: escaped, whole, with its numbers."""

from __future__ import annotations

import numpy as np
from view_samples import HOSTILE

from ecco_captum.core.tokens import Tokens
from ecco_captum.generation.html import generation_view


def view(texts: list[str], prompt: int) -> str:
    outputs = len(texts) - prompt
    numbers = np.linspace(-3, -0.1, outputs, dtype=np.float32)
    ranks = np.arange(1, outputs + 1) * 700
    tokens = Tokens(np.arange(len(texts)), tuple(texts), prompt)
    return generation_view(tokens, numbers + 20, numbers, ranks, subtitle="a <model>")


def test_each_output_has_its_numbers() -> None:
    html = view(["The", " keys", " are", " on"], 2)
    assert "The keys" in html
    for shown in ("5.0%", "90.5%", "17.0", "19.9", "700", "1.4k"):
        assert f">{shown}</td>" in html
    assert html.count("<tr>") == 1 + 2
    assert "a &lt;model&gt;" in html


def test_nothing_in_a_text_can_act() -> None:
    html = view(["a", *HOSTILE], 1)
    assert "<script" not in html
    assert "<img" not in html
    assert "\u202e" not in html


def test_long_outputs_are_folded() -> None:
    html = view(["a", *["b"] * 100], 1)
    assert "60 more generated tokens" in html
    assert html.count("<tr>") == 2 + 100
