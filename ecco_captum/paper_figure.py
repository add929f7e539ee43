"""Figures for papers: vector files with real text, a column wide, the same bytes every time.

Matplotlib draws them without its global state: no pyplot, no backend, no settings left behind, and
no settings of the reader's let in. Texts are measured before anything is placed, so that what is
drawn fits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from os import PathLike, fspath
from typing import IO, Any

from matplotlib import rc_context, style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from ecco_captum.paper_text import GAP, LARGE, LINE, MARGIN, SMALL, all_truetype, families, wrapped
from ecco_captum.shades import COLORS

INK, SOFT, FAINT = COLORS["ink"][0], COLORS["soft"][0], COLORS["line"][0]

_STYLE = {
    "axes.edgecolor": SOFT,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": SMALL,
    "lines.linewidth": 1.1,
    "svg.fonttype": "none",
    "svg.hashsalt": "ecco-captum",
    "text.color": INK,
    # Hinted letters are wider on some screens than in the file.
    "text.hinting": "no_hinting",
    "xtick.color": SOFT,
    "xtick.labelcolor": INK,
    "xtick.labelsize": SMALL,
    "xtick.major.pad": 2,
    "xtick.major.size": 2,
    "xtick.major.width": 0.6,
    "ytick.color": SOFT,
    "ytick.labelcolor": INK,
    "ytick.labelsize": SMALL,
    "ytick.major.pad": 2,
    "ytick.major.size": 2,
    "ytick.major.width": 0.6,
}
_DATES = {"svg": "Date", "pdf": "CreationDate"}


class PaperFigure(Figure):
    r"""
    A figure that shows itself in a notebook, and whose files are fit for a paper.

    Text stays text in SVG and PDF (TrueType, where the font is; it can be searched), and the same
    figure gives the same bytes. Everything else is matplotlib's ``Figure``.

    Examples::

        >>> figure = watch_figure((" is", " are"), layers, ranks)
        >>> figure.savefig("agreement.pdf")
    """

    def savefig(
        self,
        fname: str | PathLike[str] | IO[Any],
        *,
        transparent: bool | None = None,
        **kwargs: Any,
    ) -> None:
        r"""
        Save as `matplotlib.figure.Figure.savefig` does, whatever the reader's settings are.

        Args:
            fname (str, path or file): Where to; its ending says the format, unless ``format`` does.
            transparent (bool, optional): Whether the background is left out. Default: ``None``
            kwargs: As matplotlib takes them.
        """
        named = fspath(fname) if isinstance(fname, str | PathLike) else ""
        kind = str(kwargs.get("format") or named.rpartition(".")[2]).lower()
        undated = {_DATES[kind]: None} if kind in _DATES else {}
        kwargs["metadata"] = {**undated, **(kwargs.get("metadata") or {})} or None
        # PDF takes TrueType outlines only as such; any others stay right as drawings of letters.
        letters = "".join(text.get_text() for text in self.findobj(Text))
        embedded = 42 if all_truetype("".join(sorted({*letters} - {"\n"}))) else 3
        with paper_style(), rc_context({"pdf.fonttype": embedded, "ps.fonttype": embedded}):
            super().savefig(fname, transparent=transparent, **kwargs)

    def _repr_png_(self) -> bytes:
        # Where the inline backend is active, its own PNG of any Figure takes this one's place.
        file = BytesIO()
        self.savefig(file, format="png", dpi=200)
        return file.getvalue()

    def axes_at(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes at a place given in inches from the top left corner of the figure."""
        wide, high = self.get_size_inches()
        return self.add_axes((left / wide, 1 - (top + height) / high, width / wide, height / high))

    def say(self, left: float, top: float, text: str, **kwargs: Any) -> None:
        """Write at a place in inches; the text stands below it, and a "$" is a "$"."""
        wide, high = self.get_size_inches()
        kwargs = {"va": "top", "parse_math": False, **kwargs}
        self.text(left / wide, 1 - top / high, text, **kwargs)


@contextmanager
def paper_style() -> Iterator[None]:
    r"""
    Matplotlib's defaults and the style of a paper, for as long as the context lasts.

    Yields:
        None: Afterwards the reader's settings are back.
    """
    with style.context(["default", {**_STYLE, "font.family": list(families())}]):
        yield


def titled_figure(width: float, height: float, title: str) -> tuple[PaperFigure, float]:
    r"""
    An empty figure with its title.

    Args:
        width (float): Of the figure, in inches.
        height (float): Of what stands below the title, in inches.
        title (str): Any text; it is broken into lines.

    Returns:
        tuple of PaperFigure and float: The figure, and the inches above what stands below the
        title.
    """
    step = LINE * LARGE / SMALL
    lines = wrapped(title, width - 2 * MARGIN, size=LARGE, weight="bold")
    top = MARGIN + step * len(lines) + (GAP if lines else 0)
    figure = PaperFigure(figsize=(width, top + height), dpi=200, facecolor="white")
    for k, line in enumerate(lines):
        figure.say(MARGIN, MARGIN + step * k, line, size=LARGE, weight="bold")
    return figure, top


def inches_of(axes: Axes) -> tuple[float, float, float]:
    """Where axes are: left, top, and how wide."""
    box = axes.get_window_extent()
    dpi, high = axes.figure.dpi, axes.figure.bbox.height
    return box.x0 / dpi, (high - box.y1) / dpi, box.width / dpi


def room_left(room: float, width: float) -> float:
    if room < 0.5:
        raise ValueError(
            f"width: got {width:g} inches, accepts at least {width - room + 0.5:.2f}, what these "
            "labels and a picture take."
        )
    return room
