"""An attribution as a figure for a paper: every share in its cell, and grey where nothing is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from figure_samples import saved, texts_of
from matplotlib.patches import Rectangle
from view_samples import HOSTILE

from ecco_captum import generate, saliency
from ecco_captum.attribution.plot import saliency_figure
from ecco_captum.models.language_model import LanguageModel

SHARES = np.array([[0.11, -0.89, 0.0], [0.42, 0.23, 0.35]])


def test_every_known_share_stands_in_its_cell_as_a_percentage() -> None:
    drawn = saliency_figure(["a", "b"], ["x", "y", "a"], SHARES, np.array([2, 3]), width=3.35)
    shown = texts_of(drawn)
    for percent in ("11", "89", "42", "23", "35"):
        assert shown.count(percent) == 1
    assert "0" not in shown, "what could not be a source has no number"
    grey = [patch for patch in drawn.axes[0].patches if isinstance(patch, Rectangle)]
    assert [(patch.get_y(), patch.get_x()) for patch in grey] == [(0, 2)]
    assert "89%" in shown, "the strongest share is the end of the ramp"


def test_the_record_draws_itself(tiny_lm: Callable[..., LanguageModel]) -> None:
    lm = tiny_lm("gpt2")
    attribution = saliency(lm, generate(lm, "The keys to", max_new_tokens=3), outputs=[0, 2])
    shown = texts_of(attribution.plot())
    for row, known in zip(attribution.shares, attribution.known, strict=True):
        for share in row[:known]:
            assert f"{100 * share:.0f}" in shown


def test_hostile_texts_and_many_columns() -> None:
    shares = np.full((1, len(HOSTILE)), 1 / len(HOSTILE))
    assert saved(saliency_figure(["$x$"], HOSTILE, shares, np.array([3])), "pdf")
    wide = saliency_figure(["a"], ["x"] * 90, np.full((1, 90), 1 / 90), np.array([90]))
    assert "1" not in texts_of(wide), "there is no room for numbers"
    with pytest.raises(ValueError, match="shares"):
        saliency_figure(["a"], ["x"], np.zeros((2, 2)), np.array([1]))
