"""Figures of factors for papers: the weights are what is drawn, and every token is named."""

from __future__ import annotations

import numpy as np
from factors_samples import factors, random_text, smooth
from figure_samples import MADE, texts_of
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from ecco_captum.core.text import format_share, visible
from ecco_captum.display.colours import COLORS

TEXTS = random_text()


def areas(figure: Figure) -> list[StepPatch]:
    return [patch for patch in figure.axes[0].patches if isinstance(patch, StepPatch)]


def test_each_row_is_scaled_to_its_own_maximum() -> None:
    weights, figure = smooth(), factors().plot()
    assert len(areas(figure)) == len(weights)
    for k, (area, row) in enumerate(zip(areas(figure), weights, strict=True)):
        values, edges, foot = area.get_data()
        assert edges.tolist() == (np.arange(len(row) + 1) - 0.5).tolist()
        heights = (foot - values) / (foot - values).max()
        np.testing.assert_allclose(heights, row / row.max(), atol=1e-12)
        assert k < foot - (foot - values).max() < foot < k + 1, "rows do not overlap"
        assert to_hex(area.get_facecolor()) == COLORS["accent"][0]
    assert "weight at each token, scaled to the factor’s own maximum" in " ".join(texts_of(figure))


def test_dots_stand_on_the_strongest_tokens_and_labels_name_them() -> None:
    weights, figure = smooth(), factors().plot()
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    shown = texts_of(figure)
    for row, dot, area in zip(weights, dots, areas(figure), strict=True):
        order = np.argsort(-row, kind="stable")[:3].tolist()
        assert dot.get_xdata().tolist() == order
        np.testing.assert_allclose(dot.get_ydata(), area.get_data().values[order])
        named = [visible(TEXTS[i]) for i in order] + [str(i) for i in order]
        assert any(shown[at : at + 6] == named for at in range(len(shown)))
    # A token without weight is none of the strongest; one without a text continues a character.
    alone = factors(np.eye(1, 4), ["", "a", "b", "c"]).plot()
    assert [line.get_xdata().tolist() for line in alone.axes[0].lines[1:]] == [[0]]
    assert "⋯" in texts_of(alone)
    assert len(MADE["no weight"]().axes[0].lines) == 1


def test_rows_are_named_and_say_what_they_explain() -> None:
    record = factors()
    shown = texts_of(record.plot())
    for k, share in enumerate(record.explained()):
        assert f"factor {k}" in shown
        assert shown.count(format_share(share)) == 1


def test_positions_are_round_numbers_and_the_real_ends() -> None:
    ticks = factors().plot().axes[0].get_xticks().tolist()
    assert ticks == [0, 50, 100, 150, 200, 250, 299]
    assert MADE["long factors"]().axes[0].get_xticks().tolist() == [0, 500, 1000, 1500, 1999]
    assert MADE["no weight"]().axes[0].get_xticks().tolist() == [0]
