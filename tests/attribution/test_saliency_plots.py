"""An attribution as a figure for a paper: every share in its cell, and grey where nothing is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from figure_samples import MADE, texts_of
from matplotlib.colors import to_hex
from view_samples import attribution

from ecco_captum import generate, saliency
from ecco_captum.display.colours import COLORS
from ecco_captum.models.language_model import LanguageModel

SHARES = np.array([[0.11, -0.89, 0.0], [0.42, 0.23, 0.35]], np.float32)


def test_every_known_share_stands_in_its_cell_as_a_percentage() -> None:
    drawn = attribution(("x", "y", "a", "b"), 2, np.c_[SHARES, [0, 0]]).plot(width=3.35)
    shown = texts_of(drawn)
    for percent in ("11", "89", "42", "23", "35"):
        assert shown.count(percent) == 1
    assert "0" not in shown, "what could not be a source has no number"
    mesh = drawn.axes[0].collections[0]
    cells = mesh.get_array()
    assert np.argwhere(cells.mask).tolist() == [[0, 2]]
    assert to_hex(mesh.to_rgba(cells)[0, 2]) == COLORS["line"][0], "and is grey"
    np.testing.assert_allclose(cells.compressed(), np.abs(SHARES).ravel()[[0, 1, 3, 4, 5]])
    assert "89%" in shown, "the strongest share is the end of the ramp"


def test_the_record_draws_itself(tiny_lm: Callable[..., LanguageModel]) -> None:
    lm = tiny_lm("gpt2")
    attribution = saliency(lm, generate(lm, "The keys to", max_new_tokens=3), outputs=[0, 2])
    shown = texts_of(attribution.plot())
    for row, known in zip(attribution.shares, attribution.known, strict=True):
        for share in row[:known]:
            assert f"{100 * share:.0f}" in shown


def test_many_columns_have_no_room_for_numbers() -> None:
    assert "1" not in texts_of(MADE["long saliency"]())
