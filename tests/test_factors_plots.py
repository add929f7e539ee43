"""Figures of factors for papers: the weights are what is drawn, and every text can be read."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from itertools import combinations

import matplotlib as mpl
import numpy as np
import pytest
from factors_samples import facts, random_text, smooth
from figure_samples import saved, texts_of
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch
from matplotlib.text import Text
from view_samples import HOSTILE

from ecco_captum.core.text import format_share, visible
from ecco_captum.display.colours import COLORS
from ecco_captum.display.figure import paper_style
from ecco_captum.factors.plot import factors_figure

TEXTS = random_text().texts
SHARES = facts()["explained"]
ONES = np.ones((2, 3))
MADE: dict[str, Callable[..., Figure]] = {
    "plain": lambda **k: factors_figure(TEXTS, smooth(), **k),
    "all": lambda **k: factors_figure(TEXTS, smooth(), explained=SHARES, title="What?" * 9, **k),
    "names": lambda **k: factors_figure(TEXTS, smooth(), names=["dates and years", *"bcdef"], **k),
    "long": lambda **k: factors_figure(random_text(2000).texts, smooth(30, 2000), **k),
    "one": lambda **k: factors_figure(["a"], np.zeros((1, 1)), explained=[0], **k),
    "hostile": lambda **k: factors_figure(
        HOSTILE, np.eye(27) + 0.1, names=HOSTILE, title="".join(HOSTILE), **k
    ),
}
every_figure = pytest.mark.parametrize("name", MADE)


def areas(figure: Figure) -> list[StepPatch]:
    return [patch for patch in figure.axes[0].patches if isinstance(patch, StepPatch)]


def test_each_row_is_scaled_to_its_own_maximum() -> None:
    weights = smooth()
    figure = MADE["plain"]()
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
    weights, figure = smooth(), MADE["plain"]()
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    shown = texts_of(figure)
    for row, dot, area in zip(weights, dots, areas(figure), strict=True):
        order = np.argsort(-row, kind="stable")[:3].tolist()
        assert dot.get_xdata().tolist() == order
        np.testing.assert_allclose(dot.get_ydata(), area.get_data().values[order])
        named = [text for i in order for text in (visible(TEXTS[i]), str(i))]
        assert any(shown[at : at + 6] == named for at in range(len(shown)))


def test_rows_are_named_and_say_what_they_explain() -> None:
    shown = texts_of(MADE["all"]())
    for k, share in enumerate(SHARES):
        at = shown.index(f"factor {k}")
        assert shown[at + 1] == format_share(share)
    assert "dates and years" in texts_of(MADE["names"]())
    assert not [text for text in texts_of(MADE["names"]()) if "%" in text]


def test_positions_are_round_numbers_and_the_real_ends() -> None:
    ticks = MADE["plain"]().axes[0].get_xticks().tolist()
    assert ticks == [0, 50, 100, 150, 200, 250, 299]
    assert MADE["long"]().axes[0].get_xticks().tolist() == [0, 500, 1000, 1500, 1999]
    assert MADE["one"]().axes[0].get_xticks().tolist() == [0]


@every_figure
def test_nothing_is_cut_off_and_no_labels_touch(name: str) -> None:
    for width in (2.8, 3.35, 7.0):
        figure = MADE[name](width=width)
        for dpi in (72, 200):
            figure.set_dpi(dpi)
            with paper_style():
                box = figure.get_tightbbox()
                figure.canvas.draw()
                texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text()]
                drawn = [text.get_window_extent().shrunk(0.95, 0.8) for text in texts]
            _, high = figure.get_size_inches()
            assert min(box.x0, box.y0, width - box.x1, high - box.y1) >= 0, (width, dpi)
            assert not any(one.overlaps(other) for one, other in combinations(drawn, 2)), width


@every_figure
def test_letters_have_the_sizes_of_a_paper(name: str) -> None:
    sizes = {text.get_fontsize() for text in MADE[name]().findobj(Text) if text.get_text()}
    assert sizes <= {6.5, 8.0}


@every_figure
def test_files_are_the_same_every_time_whatever_the_settings(name: str) -> None:
    before = dict(mpl.rcParams)
    files = {kind: saved(MADE[name](), kind) for kind in ("svg", "pdf", "png")}
    assert dict(mpl.rcParams) == before
    with mpl.rc_context({"font.size": 30, "axes.grid": True, "font.family": "serif"}):
        again = {kind: saved(MADE[name](), kind) for kind in ("svg", "pdf", "png")}
    assert again == files


def test_hostile_texts_are_shown_and_do_nothing() -> None:
    shown = texts_of(MADE["hostile"]())
    for text in ("$x^2$", "<!--", "]]>", "&lt;", "U+2028", "RLOevil", "U+D83D", "⇥", "␣", "⋯"):
        assert text in shown
    assert b"<script" not in saved(MADE["hostile"](), "svg")


@given(st.lists(st.text(st.characters(), max_size=20), min_size=1, max_size=6))
@settings(max_examples=20, deadline=None)
def test_any_text_can_be_drawn(texts: list[str]) -> None:
    figure = factors_figure(texts, np.ones((1, len(texts))), names=texts[:1], title=texts[0])
    for kind in ("svg", "pdf", "png"):
        assert saved(figure, kind)


def test_without_matplotlib_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['matplotlib'] = None; import ecco_captum.factors.plot"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "ImportError: figures need matplotlib: pip install 'ecco-captum[plot]'" in done.stderr


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: factors_figure("abc", ONES), "tokens_texts: got 'abc', accepts"),
        (lambda: factors_figure([], ONES), r"tokens_texts: got \[\], accepts"),
        (lambda: factors_figure(["a"], ONES), r"weights: got .*\(2, 3\), accepts .*\(any, 1\)"),
        (lambda: factors_figure(["a"] * 3, -ONES), "weights: got -1, accepts finite"),
        (lambda: factors_figure(["a"] * 3, ONES, explained=[1]), r"explained: got .*of \(2\)"),
        (lambda: factors_figure(["a"] * 3, ONES, explained=[1, 2]), "explained: got 2, .* 0 to 1"),
        (lambda: factors_figure(["a"] * 3, ONES, names=["a"]), r"names: got \['a'\], .* of 2"),
        (lambda: factors_figure(["a"] * 3, ONES, names="ab"), "names: got 'ab', accepts"),
        (lambda: factors_figure(["a"] * 3, ONES, width=0.5), "width: got 0.5 inches, accepts at"),
    ],
)
def test_what_does_not_fit_is_refused(draw: Callable[[], Figure], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw()
