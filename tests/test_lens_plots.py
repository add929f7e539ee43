"""Figures of what each layer would have said: the numbers are what is drawn."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from figure_samples import LAYERS, MADE, MARGINS, agreement, predictions, rankings, texts_of
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from ecco_captum.display.colours import MINIMUM_CONTRAST, contrast
from ecco_captum.lens.plot import (
    agreement_figure,
    pairs_figure,
    predictions_figure,
    rankings_figure,
    watch_figure,
)

ACCENT = "#6d3fc4"
N = len(LAYERS)
ONES = np.ones((2, 2))
RANKED = (["a", "b"], ["x", "y"], ONES, ONES, ONES, ["ab", "ab"])


def cells(figure: Figure) -> tuple[np.ndarray, np.ndarray]:
    """Strengths and colours of the cells of a heat map: (layers, columns)."""
    mesh = figure.axes[0].collections[0]
    strengths = mesh.get_array()
    return strengths, np.array([[to_hex(mesh.to_rgba(v)) for v in row] for row in strengths])


def test_ranks_are_logarithmic_and_1_is_the_darkest() -> None:
    ranks = np.array([[1, 10, 100, 1000, 10_000]])
    heat = rankings_figure(list("abcde"), ["block 0"], ranks, ranks, 0 * ranks, ["abcde"])
    strengths, colors = cells(heat)
    np.testing.assert_allclose(strengths[0], [1, 0.75, 0.5, 0.25, 0], atol=1e-12)
    assert (colors[0, 0], colors[0, -1]) == (ACCENT, "#ffffff")
    many = np.unique(np.rint(np.geomspace(1, 50_000, 60)))[None]
    heat = rankings_figure(["a"] * many.size, ["b"], many, many, 0 * many, ["a" * many.size])
    light = [contrast(color, "#000000") for color in cells(heat)[1][0]]
    assert all(one <= other for one, other in pairwise(light))
    assert len(set(light)) > 40
    for figure, ends in ((heat, ["1", "50k"]), (rankings(value="prob"), ["0", "1.00"])):
        labels = [label.get_text() for label in figure.axes[1].get_xticklabels()]
        assert [labels[0], labels[-1]] == ends


def test_logits_and_probabilities_are_linear() -> None:
    values = np.array([[-3.0, 0.0], [5.0, 1.0]])
    probs = np.array([[0.1, 0.2], [0.4, 0.0]])
    given = (*RANKED[:3], values, probs, ["ab", "ab"])
    np.testing.assert_allclose(cells(rankings_figure(*given, value="logit"))[0], (values + 3) / 8)
    np.testing.assert_allclose(cells(rankings_figure(*given, value="prob"))[0], probs / 0.4)


@pytest.mark.parametrize("name", ["rankings", "predictions", "hostile"])
def test_the_ink_in_cells_can_be_read(name: str) -> None:
    figure = MADE[name]()
    strengths, colors = cells(figure)
    texts = figure.axes[0].texts
    assert len(texts) == strengths.size
    for text, color in zip(texts, colors.ravel(), strict=True):
        assert contrast(to_hex(text.get_color()), color) >= MINIMUM_CONTRAST
    if name == "rankings":  # bold where the written token is the layer's own
        bold = [text.get_weight() == "bold" for text in texts]
        assert bold == list(strengths.ravel() == 1)
        assert any(bold)


def test_cells_and_columns_have_texts_where_they_have_room() -> None:
    for columns, more, written in (
        (9, {}, True),
        (20, {}, False),
        (20, {"width": 7}, True),
        (20, {"annotate": True}, True),
        (9, {"annotate": False}, False),
    ):
        assert bool(rankings(["a"] * columns, **more).axes[0].texts) == written, (columns, more)
    named = [len(MADE["many"](width=w).axes[0].get_xticks()) for w in (3.35, 7)]
    assert named[0] < 60 == named[1]


def test_the_crossing_is_marked() -> None:
    ranks = np.array([[9, 2, 9, 9, 5, 1], [5] * 6]).T
    figure = watch_figure(["a", "b"], LAYERS[:6], ranks, since=5)
    assert "from block 4 on" in texts_of(figure)
    assert any(list(line.get_xdata()) == [5, 5] for line in figure.axes[0].lines)
    foot, top = figure.axes[0].get_ylim()
    assert foot > 9 > 1 > top, "1 is on top"
    assert figure.axes[0].get_yscale() == "log"
    assert not any("from" in text for text in texts_of(watch_figure(["a", "b"], LAYERS[:6], ranks)))
    for since in (0, 6, -1):
        with pytest.raises(ValueError, match=f"since: got {since}, accepts a row from 1 to 5"):
            watch_figure(["a", "b"], LAYERS[:6], ranks, since=since)
    assert {"a", "b"} <= {*texts_of(figure)}


def test_pairs_have_their_mean_and_its_interval() -> None:
    upper, lower = pairs_figure(LAYERS, MARGINS).axes
    mean = [line for line in upper.lines if to_hex(line.get_color()) == ACCENT]
    np.testing.assert_allclose(mean[0].get_ydata(), MARGINS.mean(axis=0))
    np.testing.assert_allclose(lower.lines[0].get_ydata(), (MARGINS > 0).mean(axis=0))
    half = 1.96 * MARGINS[:, -1].std(ddof=1) / np.sqrt(len(MARGINS))
    ends = [y for x, y in upper.collections[0].get_paths()[0].vertices if x == N - 1]
    expected = MARGINS[:, -1].mean() + half * np.array([-1, 1])
    np.testing.assert_allclose([min(ends), max(ends)], expected)
    assert not pairs_figure(LAYERS, MARGINS[:2]).axes[0].collections
    assert {*"uvwxyz", "mean"} <= {*texts_of(pairs_figure(LAYERS, MARGINS, labels="uvwxyz"))}


def test_true_tokens_are_outlined_and_the_control_is_dashed() -> None:
    corners = [patch.get_xy() for patch in predictions().axes[0].patches]
    assert [(int(x), int(y)) for x, y in corners] == [(0, N - 2), (0, N - 1)]
    own, control = agreement().axes[2].lines
    assert (own.get_linestyle(), control.get_linestyle()) == ("-", "--")
    assert {"model", "shuffled"} <= {*texts_of(agreement())}
    alone = agreement_figure(LAYERS, np.ones((N, 1)), np.zeros((N, 1)), np.ones(N))
    assert not {"model", "shuffled"} & {*texts_of(alone)}


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: rankings_figure(*RANKED, value="odds"), "value: got 'odds', accepts 'rank', 'log"),
        (lambda: rankings_figure([], *RANKED[1:]), r"outputs: got \[\], accepts"),
        (lambda: rankings_figure(*RANKED[:2], ONES[:1], *RANKED[3:]), r"ranks: got .*\(1, 2\)"),
        (lambda: rankings_figure(*RANKED[:2], ONES * 0, *RANKED[3:]), "ranks: got 0, accepts"),
        (lambda: rankings_figure(*RANKED[:3], ONES * np.nan, *RANKED[4:]), "logits: got nan"),
        (lambda: rankings_figure(*RANKED[:4], ONES * 2, RANKED[5]), "probs: got 2, .* 0 to 1"),
        (lambda: rankings_figure(*RANKED[:5], ["ab"]), r"top_texts: got rows of \[2\] texts"),
        (lambda: rankings_figure(*RANKED, width=0.5), "width: got 0.5 inches, accepts at least"),
        (lambda: watch_figure("ab", ["x"], ONES), "watched: got 'ab'"),
        (
            lambda: predictions_figure(["x"], ["a"], ONES[:1, :1], ONES[:1, :1]),
            "is_true: got float",
        ),
        (lambda: pairs_figure(["x", "y"], ONES[0]), r"margins: got .*\(2,\), .*\(any, 2\)"),
        (lambda: pairs_figure(["x", "y"], ONES, labels=["a"]), "labels: got 1, accepts .* 2 pro"),
        (lambda: agreement_figure(["x", "y"], ONES, -ONES, ONES[0]), "divergence: got -1"),
        (lambda: agreement_figure(["x", "y"], ONES, ONES, [0, 2]), "first: got 2"),
    ],
)
def test_what_does_not_fit_is_refused(draw, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw()
