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
from figure_samples import MADE, SAVED, factors, saved, texts_of
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text
from record_samples import probes, rankings, watched

from ecco_captum import load_record
from ecco_captum.display.figure import paper_style

every_figure = pytest.mark.parametrize("name", MADE)


@every_figure
def test_nothing_is_cut_off_and_no_labels_touch(name: str) -> None:
    for width in (2.6, 3.35, 7.0):
        figure = MADE[name](width=width)
        for dpi in (72, 200):
            figure.set_dpi(dpi)
            with paper_style():
                whole = figure.get_tightbbox()
                figure.canvas.draw()
                texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text()]
                # Of a label at the end of a line, the text without its leader.
                places = [Text.get_window_extent(text) for text in texts]
            drawn = [
                (text, box.shrunk(*(0.8, 0.95) if text.get_rotation() else (0.95, 0.8)))
                for text, box in zip(texts, places, strict=True)
            ]
            high = figure.get_figheight()
            assert figure.get_figwidth() == width
            assert min(whole.x0, whole.y0, width - whole.x1, high - whole.y1) >= 0, (width, dpi)
            for (one, place), (other, its_place) in combinations(drawn, 2):
                assert not place.overlaps(its_place), (width, dpi, one, other)


@every_figure
def test_letters_have_the_sizes_of_a_paper(name: str) -> None:
    sizes = {text.get_fontsize() for text in MADE[name]().findobj(Text) if text.get_text()}
    assert sizes <= {6.5, 8.0}


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
        "import sys, hashlib\n"
        "from ecco_captum import load_record\n"
        f"figure = load_record({str(SAVED / 'minimal_pairs.npz')!r}).plot()\n"
        "[figure.savefig(f'a.{kind}') for kind in ('svg', 'pdf', 'png')]\n"
        "print('matplotlib.pyplot' in sys.modules, figure.canvas.manager,\n"
        "  [hashlib.md5(open(f'a.{k}', 'rb').read()).hexdigest() for k in ('svg', 'pdf')])"
    )
    given = {"cwd": tmp_path, "capture_output": True, "text": True, "check": True}
    shown = {subprocess.run([sys.executable, "-c", code], **given).stdout for _ in range(2)}
    figure = load_record(SAVED / "minimal_pairs.npz").plot()
    digests = [hashlib.md5(saved(figure, kind)).hexdigest() for kind in ("svg", "pdf")]
    assert shown == {f"False None {digests}\n"}


def test_without_matplotlib_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from ecco_captum import load_record\n"
        "for path in sys.argv[1:]:\n"
        "    try: load_record(path).plot()\n"
        "    except ImportError as error: print(error)\n"
    )
    kinds = "attribution factors minimal_pairs predictions probes rankings similarity watched"
    paths = [str(SAVED / f"{kind}.npz") for kind in kinds.split()]
    given = {"capture_output": True, "text": True, "check": True}
    shown = subprocess.run([sys.executable, "-c", code, *paths], **given).stdout.splitlines()
    assert shown == ["figures need matplotlib: pip install 'ecco-captum[plot]'"] * len(paths)


@every_figure
def test_a_width_without_room_for_a_picture_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"width: got 0.5 inches, accepts at least \d+\.\d\d for"):
        MADE[name](width=0.5)


def test_text_stays_text() -> None:
    shown = texts_of(rankings().plot(title="When was it decided?"))
    for text in ("When was it decided?", "embedding", "block 11", "Croatia", "↵"):
        assert text in shown
    assert {"日本", "□□"} & {*shown}, "as the installed fonts can"
    assert {"1", "10", "100", "1k", "rank of the written token"} <= {*shown}
    pdf = saved(rankings("ab").plot(), "pdf")
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf


def test_dollars_are_no_formula() -> None:
    dollars = [f"${letter}_1$" for letter in "abcd"]
    for figure, times in (
        (rankings(dollars, 4).plot(title="$x$", width=7), 1 + 4),  # column and cells
        (watched(dollars[:2]).plot(title="$x$"), 1),
        (probes(dollars).plot(title="$x$"), 1),
    ):
        shown = texts_of(figure)
        assert "$x$" in shown
        assert shown.count("$a_1$") == times
    assert "$a_1$" in texts_of(factors(texts=dollars * 75).plot())


def test_hostile_texts_are_shown_and_do_nothing() -> None:
    marks = ("$x^2$", "<!--", "]]>", "&lt;", "U+2028", "RLOevil", "U+D83D", "U+0000", "⇥", "␣")
    for name in ("hostile", "hostile words", "hostile layers", "hostile factors"):
        figure = MADE[name](width=14)
        shown = texts_of(figure)
        assert {*marks} <= {*shown}, name
        assert any(re.fullmatch("a{11,15}…", text) for text in shown)
        svg = saved(figure, "svg").decode()
        assert not re.search(r"<(script|img|style>\*|!--\s*-->)", svg)


def test_what_no_font_has_is_a_box() -> None:
    shown = texts_of(watched(["a\U000f0000b", "👨\u200d👩", "\U0001e900"]).plot())
    assert {"a□b", "□□", "□"} <= {*shown}


@given(st.lists(st.text(st.characters(), max_size=20), min_size=2, max_size=6))
@settings(max_examples=10, deadline=None)
def test_any_text_can_be_drawn(texts: list[str]) -> None:
    for figure in (
        rankings(texts, 3).plot(title=" ".join(texts)),
        watched(texts, 3).plot(title="".join(texts)),
        factors(np.eye(2, len(texts)), texts).plot(),
    ):
        for kind in ("svg", "pdf", "png"):
            assert saved(figure, kind)
        assert texts_of(figure)


def test_it_shows_itself_once_in_a_notebook() -> None:
    formatters = pytest.importorskip("IPython.core.formatters")
    shell = formatters.DisplayFormatter()
    figure = watched().plot()
    assert {"text/plain", "image/png"} == {*shell.format(figure)[0]}
    shell.formatters["image/png"].for_type(Figure, lambda figure: b"of the backend")
    shown, _ = shell.format(figure)
    assert {"text/plain", "image/png"} == {*shown}
    assert shown["image/png"] == b"of the backend"
