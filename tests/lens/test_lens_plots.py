"""Figures of what each layer predicts: the numbers are what is drawn."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from figure_samples import MADE, texts_of
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from record_samples import MARGINS, N, pairs, predictions, rankings, watched

from ecco_captum.display.colours import MINIMUM_CONTRAST, contrast

ACCENT = "#6d3fc4"


def cells(figure: Figure) -> tuple[np.ndarray, np.ndarray]:
    """Where the cells of a heat map lie on its ramp, 0 to 1, and their colours."""
    mesh = figure.axes[0].collections[0]
    values = mesh.get_array()
    return mesh.norm(values), np.array([[to_hex(c) for c in row] for row in mesh.to_rgba(values)])


def scale(figure: Figure) -> list[str]:
    figure.canvas.draw()
    return [label.get_text() for label in figure.axes[1].get_xticklabels()]


def test_ranks_are_logarithmic_and_1_is_the_darkest() -> None:
    ranks = np.array([[1, 10, 100, 1000, 10_000]])
    figure = rankings("abcde", 1, ranks=ranks).plot()
    places, colors = cells(figure)
    np.testing.assert_allclose(places[0], [0, 0.25, 0.5, 0.75, 1], atol=1e-12)
    assert (colors[0, 0], colors[0, -1]) == (ACCENT, "#ffffff")
    many = np.unique(np.rint(np.geomspace(1, 50_000, 60)))[None]
    figure = rankings("a" * many.size, 1, ranks=many).plot()
    light = [contrast(color, "#000000") for color in cells(figure)[1][0]]
    assert all(one <= other for one, other in pairwise(light))
    assert len(set(light)) > 40
    whole = rankings("ab", 1, probs=np.array([[1.0, 0.5]]))
    for drawn, ends in ((figure, ["1", "50k"]), (whole.plot("prob"), ["0", "1.00"])):
        assert [scale(drawn)[0], scale(drawn)[-1]] == ends


def test_logits_and_probabilities_are_linear() -> None:
    values, probs = np.array([[-3.0, 0.0], [5.0, 1.0]]), np.array([[0.1, 0.2], [0.4, 0.0]])
    record = rankings("ab", 2, logits=values, probs=probs)
    np.testing.assert_allclose(cells(record.plot("logit"))[0], (values + 3) / 8)
    np.testing.assert_allclose(cells(record.plot("prob"))[0], probs / 0.4)
    assert cells(record.plot("prob"))[1][1].tolist() == [ACCENT, "#ffffff"]
    assert scale(record.plot("logit")) == ["−3.00", "5.00"]
    level = rankings("ab", 2, logits=0 * values).plot("logit")
    assert (scale(level), {*cells(level)[1].ravel()}) == (["0"], {"#ffffff"})


@pytest.mark.parametrize("name", ["rankings", "predictions", "hostile", "similarity", "saliency"])
def test_the_ink_in_cells_can_be_read(name: str) -> None:
    figure = MADE[name](width=9)
    places, colors = cells(figure)
    texts = figure.axes[0].texts
    assert len(texts) == places.size
    for text, color in zip(texts, colors.ravel(), strict=True):
        assert contrast(to_hex(text.get_color()), color) >= MINIMUM_CONTRAST
    if name == "rankings":  # bold where the written token is the layer's own
        bold = [text.get_weight() == "bold" for text in texts]
        assert bold == list(rankings().ranks.ravel() == 1)
        assert any(bold)


def test_cells_and_columns_have_texts_where_they_have_room() -> None:
    for columns, width, written in ((9, 3.35, True), (20, 3.35, False), (20, 7, True)):
        figure = rankings("a" * columns).plot(width=width)
        assert bool(figure.axes[0].texts) == written, (columns, width)
    named = [len(MADE["many"](width=width).axes[0].get_xticks()) for width in (3.35, 7)]
    assert named[0] < 60 == named[1]
    turned = [rankings().plot(width=w).axes[0].get_xticklabels()[0].get_rotation() for w in (2, 7)]
    assert turned == [90, 0], "texts stand upright where they fit"


def test_the_crossing_is_marked() -> None:
    ranks = np.array([[9, 2, 9, 9, 5, 1], [5] * 6]).T
    record = watched("ab", 6, ranks=ranks, logits=-ranks)
    figure = record.plot()
    assert int(record.crossings) == 5
    assert {"a", "b", "from block 4 on"} <= {*texts_of(figure)}
    assert any(list(line.get_xdata()) == [5, 5] for line in figure.axes[0].lines)
    foot, top = figure.axes[0].get_ylim()
    assert foot > 9 > 1 > top, "1 is on top"
    assert figure.axes[0].get_yscale() == "log"
    # Some layers alone: a row is not a layer.
    some = watched("ab", 6, ranks=ranks, logits=-ranks, layers=np.arange(6) * 3)
    assert "from block 14 on" in texts_of(some.plot())
    # From the first layer on, and level at the last.
    for logits in (np.array([[1, 0]] * 6), np.zeros((6, 2))):
        shown = texts_of(watched("ab", 6, ranks=ranks, logits=logits).plot())
        assert not any("from" in text for text in shown)


def test_pairs_have_their_mean_and_its_interval() -> None:
    upper, lower = pairs().plot().axes
    mean = [line for line in upper.lines if to_hex(line.get_color()) == ACCENT]
    np.testing.assert_allclose(mean[0].get_ydata(), MARGINS.mean(axis=0))
    np.testing.assert_allclose(lower.lines[0].get_ydata(), (MARGINS > 0).mean(axis=0))
    half = 1.96 * MARGINS[:, -1].std(ddof=1) / np.sqrt(len(MARGINS))
    ends = [y for x, y in upper.collections[0].get_paths()[0].vertices if x == N - 1]
    expected = MARGINS[:, -1].mean() + half * np.array([-1, 1])
    np.testing.assert_allclose([min(ends), max(ends)], expected)
    assert not pairs(MARGINS[:2]).plot().axes[0].collections
    assert "mean" in texts_of(pairs().plot())
    for axes in (upper, lower):
        low, high = axes.get_ylim()
        ticks = axes.get_yticks().tolist()
        assert [ticks[0], ticks[-1]] == [low, high], "scales end at round numbers"


def test_true_tokens_are_outlined() -> None:
    corners = [patch.get_xy() for patch in predictions().plot().axes[0].patches]
    assert [(int(x), int(y)) for x, y in corners] == [(0, N - 2), (0, N - 1)]


def test_agreement_is_drawn_beside_the_control() -> None:
    record = rankings(divergence=np.where(np.arange(N)[:, None] == 3, np.inf, np.full((N, 5), 2.0)))
    near, far, first = record.plot_agreement().axes
    np.testing.assert_allclose(near.lines[0].get_ydata(), record.cosine.mean(axis=1))
    expected = np.where(np.arange(N) == 3, np.nan, 2)
    np.testing.assert_allclose(far.lines[0].get_ydata(), expected)
    own, control = first.lines
    np.testing.assert_allclose(own.get_ydata(), (record.ranks == 1).mean(axis=1))
    np.testing.assert_allclose(control.get_ydata(), np.zeros(N))
    assert (own.get_linestyle(), control.get_linestyle()) == ("-", "--")
    assert {"model", "shuffled"} <= {*texts_of(record.plot_agreement())}
    alone = rankings(shuffled_ranks=None).plot_agreement()
    assert len(alone.axes[2].lines) == 1
    assert not {"model", "shuffled"} & {*texts_of(alone)}


def test_another_value_is_refused() -> None:
    with pytest.raises(ValueError, match="value: got 'odds', accepts 'rank', 'logit', 'prob'"):
        rankings().plot("odds")
