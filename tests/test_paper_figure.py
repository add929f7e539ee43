"""Figures for papers: text stays text, nothing is cut off, and files are the same every time."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from figure_samples import MADE, rankings, saved, texts_of, watch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from ecco_captum.display.figure import paper_style
from ecco_captum.lens.plot import pairs_figure

every_figure = pytest.mark.parametrize("name", MADE)


@every_figure
def test_nothing_is_cut_off(name: str) -> None:
    for width in (2.6, 3.35, 7.0):
        figure = MADE[name](width=width)
        for dpi in (72, 100, 200):
            figure.set_dpi(dpi)
            with paper_style():
                box = figure.get_tightbbox()
            _, high = figure.get_size_inches()
            assert min(box.x0, box.y0, width - box.x1, high - box.y1) >= 0, (width, dpi)


@every_figure
def test_labels_do_not_touch(name: str) -> None:
    figure = MADE[name]()
    with paper_style():
        figure.canvas.draw()
        for axes in figure.axes:
            for axis in (axes.xaxis, axes.yaxis):
                ticks = [
                    label.get_window_extent().shrunk(0.97, 0.97)
                    for tick in axis.get_major_ticks()
                    for label in (tick.label1, tick.label2)
                    if label.get_visible() and label.get_text()
                ]
                assert not any(one.overlaps(other) for one, other in combinations(ticks, 2))


@every_figure
def test_files_are_the_same_every_time_whatever_the_settings(name: str) -> None:
    before = dict(mpl.rcParams)
    figure = MADE[name]()
    files = {kind: saved(figure, kind) for kind in ("svg", "pdf", "png")}
    assert dict(mpl.rcParams) == before
    with mpl.rc_context({"font.size": 30, "axes.grid": True, "font.family": "serif"}):
        again = MADE[name]()
        for kind, file in files.items():
            assert saved(figure, kind) == file, f"{kind}, saved twice"
            assert saved(again, kind) == file, f"{kind}, drawn twice"


def test_a_fresh_process_draws_the_same_without_pyplot(tmp_path: Path) -> None:
    code = (
        "import sys, hashlib, numpy as np\n"
        "from ecco_captum.lens.plot import pairs_figure\n"
        "figure = pairs_figure(['embedding', 'block 0'], np.array([[1, 2], [3, 5], [-2.0, 4]]))\n"
        "[figure.savefig(f'a.{kind}') for kind in ('svg', 'pdf', 'png')]\n"
        "print('matplotlib.pyplot' in sys.modules, figure.canvas.manager,\n"
        "  [hashlib.md5(open(f'a.{k}', 'rb').read()).hexdigest() for k in ('svg', 'pdf')])"
    )
    given = {"cwd": tmp_path, "capture_output": True, "text": True, "check": True}
    shown = {subprocess.run([sys.executable, "-c", code], **given).stdout for _ in range(2)}
    figure = pairs_figure(["embedding", "block 0"], np.array([[1, 2], [3, 5], [-2.0, 4]]))
    digests = [hashlib.md5(saved(figure, kind)).hexdigest() for kind in ("svg", "pdf")]
    assert shown == {f"False None {digests}\n"}


def test_without_matplotlib_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['matplotlib'] = None; import ecco_captum.lens.plot"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "ImportError: figures need matplotlib: pip install 'ecco-captum[plot]'" in done.stderr


def test_text_stays_text() -> None:
    shown = texts_of(rankings(title="When was it decided?"))
    for text in ("When was it decided?", "embedding", "block 11", "Croatia", "↵"):
        assert text in shown
    assert {"日本", "□□"} & {*shown}, "as the installed fonts can"
    assert {"1", "10", "100", "1k", "rank of the written token"} <= {*shown}
    pdf = saved(rankings(outputs=("a", "b")), "pdf")
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf


def test_dollars_are_no_formula() -> None:
    dollars = [f"${letter}_1$" for letter in "abcd"]
    shown = texts_of(watch(dollars[:2], dollars, title="$x$")) + texts_of(
        rankings(dollars, dollars, annotate=True, width=7)
    )
    assert {"$x$", *dollars} <= {*shown}
    assert shown.count("$a_1$") == (1 + 1) + (4 + 1 + 1), "label, layer; cells, layer, column"


def test_hostile_texts_are_shown_and_do_nothing() -> None:
    shown = texts_of(MADE["hostile"](width=14))
    for text in ("$x^2$", "<!--", "]]>", "&lt;", "U+2028", "RLOevil", "U+D83D", "U+0000", "⇥", "␣"):
        assert text in shown
    assert any(re.fullmatch("a{11}…", text) for text in shown)
    svg = saved(MADE["hostile"](), "svg").decode()
    assert not re.search(r"<(script|img|style>\*|!--\s*-->)", svg)


@given(st.lists(st.text(st.characters(), max_size=20), min_size=2, max_size=6))
@settings(max_examples=25, deadline=None)
def test_any_text_can_be_drawn(texts: list[str]) -> None:
    figure = rankings(texts, texts, title=" ".join(texts))
    for kind in ("svg", "pdf", "png"):
        assert saved(figure, kind)
    assert texts_of(figure)


def test_it_shows_itself_once_in_a_notebook() -> None:
    formatters = pytest.importorskip("IPython.core.formatters")
    shell = formatters.DisplayFormatter()
    assert {"text/plain", "image/png"} == {*shell.format(watch())[0]}
    shell.formatters["image/png"].for_type(Figure, lambda figure: b"of the backend")
    shown, _ = shell.format(watch())
    assert {"text/plain", "image/png"} == {*shown}
    assert shown["image/png"] == b"of the backend"
