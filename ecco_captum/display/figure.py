"""Lines over layers, for papers: told apart by hue, dashes and markers, labelled at their ends."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from io import BytesIO
from itertools import count
from os import PathLike, fspath
from typing import IO, Any, Literal

import numpy as np

try:
    import matplotlib  # noqa: F401
except ImportError as error:
    raise ImportError("figures need matplotlib: pip install 'ecco-captum[plot]'") from error
from matplotlib import rc_context, style
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.textpath import text_to_path
from matplotlib.ticker import MaxNLocator

from ecco_captum.core.text import MINUS, format_number, format_rank, visible, visible_parts
from ecco_captum.display.colours import COLORS, ink


def counted(**named: Sequence[str]) -> tuple[int, ...]:
    """How many there are of each; none of them may be empty."""
    for name, texts in named.items():
        if isinstance(texts, str) or not len(texts):
            raise ValueError(f"{name}: got {texts!r}, accepts at least one text in a sequence")
    return tuple(len(texts) for texts in named.values())


def numbers(
    name: str,
    values: np.ndarray,
    shape: tuple[int, ...],
    *,
    least: float = -np.inf,
    most: float = np.inf,
) -> np.ndarray:
    """Finite numbers of a shape, between two ends; -1 in the shape stands for one or more."""
    found = np.asarray(values)
    array = found.astype(np.float64) if found.dtype.kind in "biuf" else np.full((), np.nan)
    fits = array.ndim == len(shape) and array.size > 0
    if not fits or any(w not in (-1, n) for n, w in zip(array.shape, shape, strict=True)):
        wanted = ", ".join("any" if size < 0 else str(size) for size in shape)
        raise ValueError(
            f"{name}: got {found.dtype} of shape {found.shape}, accepts numbers of ({wanted})"
        )
    wrong = ~np.isfinite(array) | (array < least - 1e-6) | (array > most + 1e-6)
    if wrong.any():
        ends = f" from {least:g} to {most:g}" if np.isfinite(least) or np.isfinite(most) else ""
        raise ValueError(f"{name}: got {array[wrong][0]:g}, accepts finite numbers{ends}")
    return array.clip(least, most)


def texts_of(name: str, texts: Sequence[Sequence[str]], shape: tuple[int, ...]) -> None:
    """Refuse nested texts that are not of the shape (rows, columns)."""
    lengths = [len(row) for row in texts]
    if lengths != [shape[1]] * shape[0]:
        raise ValueError(f"{name}: got rows of {lengths} texts, accepts {shape[0]} of {shape[1]}")


Weight = Literal["normal", "bold"]

SMALL, LARGE = 6.5, 8.0  # points: of all texts, and of the title
LINE, MARGIN, GAP = 0.12, 0.05, 0.04  # inches
TURNED = 0.095  # of a turned line; its neighbours may almost touch it
LAYER_LETTERS = 16

_LONGEST = 12
_BOX, _CIRCLE = "□", "◌"
# The first ships with matplotlib; the others have the letters of East Asia, where installed.
_FAMILIES = (
    *("DejaVu Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans JP", "Source Han Sans"),
    *("Hiragino Sans", "PingFang SC", "Yu Gothic", "Microsoft YaHei", "Malgun Gothic"),
    *("WenQuanYi Zen Hei", "Droid Sans Fallback", "Arial Unicode MS"),
)


def written(text: str, longest: int = _LONGEST, *, weight: Weight = "normal") -> str:
    r"""
    The text of a token on one line, with letters that the installed fonts have.

    Args:
        text (str): Any text.
        longest (int, optional): Letters that may stay. Default: ``12``
        weight (str, optional): ``"normal"`` or ``"bold"``. Default: ``"normal"``

    Returns:
        str: A longer text ends in ``…``; a letter that no font has is a box.
    """
    shown = _drawable(visible(text), weight)
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def fitted(text: str, room: float, *, size: float = SMALL, weight: Weight = "normal") -> str:
    r"""
    A text cut to the room that it has.

    Args:
        text (str): A text as `written` gives it.
        room (float): Inches.
        size (float, optional): Points. Default: ``SMALL``
        weight (str, optional): ``"normal"`` or ``"bold"``. Default: ``"normal"``

    Returns:
        str: The text, or its beginning and ``…``; ``""`` where not even one letter fits.
    """
    if text_width(text, size, weight) <= room:
        return text
    kept = text.removesuffix("…")[:-1]
    while kept and text_width(f"{kept}…", size, weight) > room:
        kept = kept[:-1]
    return f"{kept}…" if kept else ""


def wrapped(text: str, room: float, *, size: float = SMALL, weight: Weight = "normal") -> list[str]:
    r"""
    A sentence in lines.

    Args:
        text (str): Any text.
        room (float): Inches of a line.
        size (float, optional): Points. Default: ``SMALL``
        weight (str, optional): ``"normal"`` or ``"bold"``. Default: ``"normal"``

    Returns:
        list of str: Lines that fit; a word that is longer than a line is cut.
    """
    lines: list[str] = []
    for word in "".join(visible_parts(text)).split():
        word = _drawable(word, weight)
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size, weight) <= room:
            lines[-1] = longer
        else:
            lines.append(fitted(word, room, size=size, weight=weight))
    return lines


@lru_cache(maxsize=16384)
def text_width(text: str, size: float = SMALL, weight: Weight = "normal") -> float:
    r"""
    Width of a text, with a little to spare.

    Args:
        text (str): A text as `written` gives it.
        size (float, optional): Points. Default: ``SMALL``
        weight (str, optional): ``"normal"`` or ``"bold"``. Default: ``"normal"``

    Returns:
        float: Inches.
    """
    font = FontProperties(family=list(families()), size=size, weight=weight)
    points, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return 1.03 * float(points) / 72


def rank_tick(rank: float) -> str:
    """A rank on a scale: round thousands have no decimals."""
    return format_rank(round(rank)).replace(".0k", "k")


def widest(texts: Sequence[str]) -> float:
    """Width in inches of the widest of some texts."""
    return max(map(text_width, texts), default=0.0)


def spaced(sizes: Sequence[float], spacing: float, first: int = 0) -> list[int]:
    """Which labels of an axis to write so that none touch: the first, the last, some between."""
    steps = (size * 10**power for power in count() for size in (1, 2, 5))
    step = next(s for s in steps if s * spacing >= max(sizes[first:], default=0) - 1e-9)
    last = len(sizes) - 1

    def clear(one: int, other: int) -> bool:
        return (other - one) * spacing >= (sizes[one] + sizes[other]) / 2 - 1e-9

    between = [k for k in range(first, last, step) if k and clear(0, k) and clear(k, last)]
    return [0, *between, *([last] if clear(0, last) else [])]


def first_block(names: Sequence[str]) -> int:
    """Where counting begins: blocks are numbered from 0, above them may stand an embedding."""
    return 0 if names[0][-1:].isdigit() else 1


@cache
def families() -> tuple[str, ...]:
    """The installed ones, those with TrueType outlines first."""
    found = [name for name in _FAMILIES if _file(name, "normal")]
    return tuple(sorted(found, key=lambda name: not _is_truetype(name)))


def all_truetype(text: str) -> bool:
    """Whether all letters of a text are drawn from fonts with TrueType outlines."""
    fonts = [get_font(_file(name, "normal")) for name in families() if _is_truetype(name)]
    return all(any(font.get_char_index(ord(letter)) for font in fonts) for letter in text)


def _is_truetype(family: str) -> bool:
    table = get_font(_file(family, "normal")).get_sfnt_table("maxp")
    # Other outlines (CFF) have version 0.5 of this table.
    return table is not None and table["version"][0] == 1


def _file(family: str, weight: Weight) -> str:
    font = FontProperties(family=family, weight=weight)
    try:
        return findfont(font, fallback_to_default=False)
    except ValueError:
        return ""


@cache
def _letters(weight: Weight) -> tuple[frozenset[int], frozenset[int]]:
    """Code points that the first font has, and those that any of them has."""
    files = [_file(family, weight) for family in families()]
    first, *others = (frozenset(get_font(file).get_charmap()) for file in files)
    return first, first.union(*others)


def _drawable(text: str, weight: Weight) -> str:
    first, letters = _letters(weight)
    kept = ""
    for letter in unicodedata.normalize("NFC", text):
        category, code = unicodedata.category(letter), ord(letter)
        if category[0] == "M":
            # A mark needs a letter of its own font to sit on.
            base = kept[-1:] or _CIRCLE
            kept += (letter if kept else base + letter) if {code, ord(base)} <= first else ""
        elif category != "Cf":
            # Joiners have no shape of their own, and are more than some writers of PDF can take.
            kept += letter if code in letters else _BOX
    return kept


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


RAMP = LinearSegmentedColormap.from_list("accent", ["#ffffff", COLORS["accent"][0]], N=128)

_ROW, _THIN_ROW, _MANY_ROWS = 0.125, 0.085, 20
_BAR = 0.07


@dataclass(frozen=True, slots=True)
class Scale:
    """What a colour says: its ends, marks on the way, and whether 1 is the strongest (ranks)."""

    says: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    ranks: bool = False

    def place(self, values: np.ndarray | float) -> np.ndarray:
        """Where values lie between the ends, 0 to 1."""
        if self.ranks:
            return np.log(values) / (np.log(self.high) or 1.0)
        return (np.asarray(values) - self.low) / ((self.high - self.low) or 1.0)

    def strength(self, values: np.ndarray) -> np.ndarray:
        """How strong values are painted, 0 to 1."""
        return 1 - self.place(values) if self.ranks else self.place(values)


@dataclass(frozen=True, slots=True)
class HeatMap:
    """Numbers of layers and columns, ``values`` (layers, columns), and what stands around them."""

    layers: Sequence[str]
    columns: Sequence[str]
    values: np.ndarray
    scale: Scale
    turned: bool = False


def rank_scale(ranks: np.ndarray) -> Scale:
    """From 1 to the worst rank, logarithmic."""
    worst = float(ranks.max())
    tens = [10.0**k for k in range(int(np.log10(worst)) + 1)]
    ticks = [(tick, rank_tick(tick)) for tick in sorted({*tens, worst})]
    return Scale("rank of the written token", 1, worst, ticks, ranks=True)


def logit_scale(logits: np.ndarray) -> Scale:
    """From the lowest to the highest."""
    return linear_scale("logit of the written token", float(logits.min()), float(logits.max()))


def prob_scale(probs: np.ndarray, says: str = "probability of the written token") -> Scale:
    """From 0 to the highest."""
    return linear_scale(says, 0.0, float(probs.max()))


def linear_scale(says: str, low: float, high: float) -> Scale:
    """Between two ends."""
    ends = [(end, format_number(end)) for end in sorted({low, high})]
    return Scale(says, low, high, ends)


SCALES: dict[Literal["rank", "logit", "prob"], Callable[[np.ndarray], Scale]] = {
    "rank": rank_scale,
    "logit": logit_scale,
    "prob": prob_scale,
}


def heat_figure(
    heat: HeatMap, width: float, title: str, *, roomy: bool
) -> tuple[PaperFigure, Axes]:
    """The heat map with its labels and its scale; ``roomy`` rows have the height of a text."""
    layers = [written(name, LAYER_LETTERS) for name in heat.layers]
    heads = [written(text) for text in heat.columns]
    left = MARGIN + widest(layers) + GAP
    across = room_left(width - left - MARGIN, width)
    head = (widest(heads) if heat.turned else LINE) + GAP
    row = _ROW if roomy or len(layers) <= _MANY_ROWS else _THIN_ROW
    below = head + row * len(layers)
    legend = wrapped(heat.scale.says, across)
    height = below + 2 * GAP + _BAR + LINE * (1 + len(legend)) + 2 * MARGIN
    figure, top = titled_figure(width, height, title)
    axes = figure.axes_at(left, top + head, across, row * len(layers))
    strengths = heat.scale.strength(heat.values)
    axes.pcolormesh(strengths, cmap=RAMP, vmin=0, vmax=1, edgecolors="white", linewidth=0.3)
    axes.invert_yaxis()
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    sizes = [TURNED if heat.turned else text_width(text) + GAP for text in heads]
    shown = spaced(sizes, across / len(heads))
    axes.set_xticks(
        [k + 0.5 for k in shown],
        [heads[k] for k in shown],
        rotation=90 if heat.turned else 0,
        parse_math=False,
    )
    shown = spaced([LINE] * len(layers), row, first_block(layers))
    axes.set_yticks([k + 0.5 for k in shown], [layers[k] for k in shown], parse_math=False)
    _legend(figure, heat.scale, (left, top + below + 2 * GAP, across), legend)
    return figure, axes


def fill_cells(axes: Axes, heat: HeatMap, texts: Sequence[Sequence[str]], bold: np.ndarray) -> None:
    """Write into the cells what fits, in an ink that can be read on the shade."""
    cell = inches_of(axes)[2] / len(heat.columns)
    colors = RAMP(heat.scale.strength(heat.values))
    for place in np.ndindex(heat.values.shape):
        row, column = place
        weight: Weight = "bold" if bold[place] else "normal"
        text = written(texts[row][column], weight=weight)
        axes.text(
            column + 0.5,
            row + 0.53,
            fitted(text, cell - GAP / 2, weight=weight),
            color=ink(to_hex(colors[place]), INK),
            ha="center",
            va="center_baseline",
            weight=weight,
            parse_math=False,
        )


def grey_cells(axes: Axes, chosen: np.ndarray) -> None:
    """Paint the chosen cells in a neutral colour, whatever their numbers."""
    for row, column in np.argwhere(chosen):
        corner = float(column), float(row)
        axes.add_patch(Rectangle(corner, 1, 1, facecolor=FAINT, edgecolor="white", linewidth=0.3))


def outline(axes: Axes, chosen: np.ndarray) -> None:
    """Put a frame around the chosen cells."""
    for row, column in np.argwhere(chosen):
        corner = float(column) + 0.02, float(row) + 0.06
        axes.add_patch(Rectangle(corner, 0.96, 0.88, fill=False, edgecolor=INK, linewidth=0.9))


def _legend(
    figure: PaperFigure, scale: Scale, at: tuple[float, float, float], lines: Sequence[str]
) -> None:
    left, top, room = at
    across = min(0.8 * room, 2.0)
    bar = figure.axes_at(left, top, across, _BAR)
    # From left to right as numbers are read: ranks begin with 1, which is the strongest.
    shades = RAMP(np.linspace(0, 1, RAMP.N)[:: -1 if scale.ranks else 1])
    # Each shade reaches to the end, under the next: side by side, viewers draw seams.
    starts = np.arange(RAMP.N) / RAMP.N
    bar.bar(starts, 1, 1 - starts, align="edge", color=shades, linewidth=0)
    bar.set(xlim=(0, 1), ylim=(0, 1))
    bar.spines[:].set_visible(True)
    bar.spines[:].set_color(FAINT)
    bar.set_yticks([])
    ticks = _clear([(float(scale.place(value)), text) for value, text in scale.ticks], across)
    bar.set_xticks([place for place, _ in ticks], [text for _, text in ticks])
    for k, line in enumerate(lines):
        figure.say(left, top + _BAR + LINE * (k + 1) + GAP, line, color=SOFT)


def _clear(ticks: Sequence[tuple[float, str]], across: float) -> list[tuple[float, str]]:
    """The two ends, and of the ticks between those that touch neither them nor each other."""

    def apart(one: tuple[float, str], other: tuple[float, str]) -> bool:
        needed = (text_width(one[1]) + text_width(other[1])) / 2 + GAP
        return (other[0] - one[0]) * across >= needed

    first, *between, last = ticks if len(ticks) > 1 else (*ticks, *ticks)
    kept = [first]
    for tick in between:
        if apart(kept[-1], tick) and apart(tick, last):
            kept.append(tick)
    return kept if last == first else [*kept, last]


ACCENT, COOL, _THIN = COLORS["accent"][0], COLORS["cool"][0], "#b9b6c3"

_LINES: tuple[dict[str, Any], ...] = (
    {"color": ACCENT, "linestyle": "-", "marker": "o"},
    {"color": COOL, "linestyle": (0, (4, 1.5)), "marker": "s"},
    {"color": COLORS["mark"][0], "linestyle": (0, (1, 1.2)), "marker": "^"},
    {"color": SOFT, "linestyle": (0, (5, 1.5, 1, 1.5)), "marker": "D"},
    {"color": COLORS["mark"][0], "linestyle": (0, (8, 2)), "marker": "v"},
    {"color": SOFT, "linestyle": (0, (2, 3)), "marker": "P"},
)


@dataclass(frozen=True, slots=True)
class Panel:
    """One scale over the layers, with words above it; ``height`` and ``above`` are inches."""

    says: str
    height: float
    limits: tuple[float, float]
    ticks: Sequence[tuple[float, str]]
    ranks: bool = False
    above: float = GAP

    def place(self, value: float) -> float:
        """Where a value lies, from 0 at the foot to 1 at the top."""
        see: Callable[[float], float] = np.log if self.ranks else float
        foot, top = map(see, self.limits)
        return (see(value) - foot) / (top - foot)


def panels_figure(
    panels: Sequence[Panel], layers: Sequence[str], width: float, title: str, *, right: float = 0.0
) -> tuple[PaperFigure, list[Axes]]:
    """Panels over the same layers, one below the other; ``right`` inches stay for labels."""
    word, names = _short(layers)
    values = widest([text for panel in panels for _, text in panel.ticks])
    left = MARGIN + max(values + 2 * GAP, text_width(names[0]) / 2 if word else 0)
    across = room_left(width - left - MARGIN - max(right, text_width(names[-1]) / 2), width)
    words = [wrapped(panel.says, width - left - MARGIN) for panel in panels]
    foot = 2 * LINE + GAP if word else widest(names) + GAP
    heights = [p.height + LINE * len(w) + p.above for p, w in zip(panels, words, strict=True)]
    height = sum(heights) + 2 * GAP * (len(panels) - 1) + foot + GAP + MARGIN
    figure, top = titled_figure(width, height, title)
    drawn = []
    for panel, lines in zip(panels, words, strict=True):
        for line in lines:
            figure.say(left, top, line, color=SOFT)
            top += LINE
        drawn.append(figure.axes_at(left, top + panel.above, across, panel.height))
        _scale_axes(drawn[-1], panel, len(layers))
        top += panel.above + panel.height + 2 * GAP
    _name_layers(drawn[-1], word, names, across)
    return figure, drawn


def draw_line(axes: Axes, values: np.ndarray, kind: int, **kwargs: Any) -> str:
    """A line over the layers, in the look of its kind; its colour."""
    look = {**_LINES[kind % len(_LINES)], "markersize": 2.2, **kwargs}
    every = max(1, round(len(values) / 10))
    axes.plot(np.arange(len(values)), values, markevery=every, clip_on=False, **look)
    return str(look["color"])


def end_labels(axes: Axes, panel: Panel, ends: Sequence[tuple[float, str, str]]) -> None:
    """Label lines at their last value: value, text and colour of each."""
    last = sum(axes.get_xlim())  # the axis begins as far before 0 as it ends after the last
    places = _apart([panel.place(value) for value, _, _ in ends], LINE / panel.height)
    leader = {
        "arrowstyle": "-",
        "color": _THIN,
        "lw": 0.5,
        "shrinkA": 1,
        "shrinkB": 3,
        "relpos": (0, 0.5),
    }
    for place, (value, text, color) in zip(places, ends, strict=True):
        axes.annotate(
            text,
            (last, value),
            (1 + 0.13 / inches_of(axes)[2], place),
            xycoords="data",
            textcoords="axes fraction",
            color=color,
            va="center",
            parse_math=False,
            arrowprops=leader,
            annotation_clip=False,
        )


def draw_sample(axes: Axes, values: np.ndarray) -> str:
    """Thin lines, ``values`` (sample, layers), and their mean with its interval; its colour."""
    axes.axhline(0, color=SOFT, linewidth=0.7)
    axes.plot(values.T, color=_THIN, linewidth=0.5, zorder=2)
    mean = values.mean(axis=0)
    if len(values) > 2:
        half = 1.96 * values.std(axis=0, ddof=1) / np.sqrt(len(values))
        places = np.arange(len(mean))
        axes.fill_between(places, mean - half, mean + half, color=ACCENT, alpha=0.22, lw=0)
    return draw_line(axes, mean, 0, zorder=3)


def mark_crossing(figure: PaperFigure, row: int, layers: Sequence[str]) -> None:
    """A thin line at the layer from which the best stays ahead, and its name."""
    axes = figure.axes[0]
    axes.axvline(row, color=INK, linewidth=0.6, zorder=1)
    left, top, across = inches_of(axes)
    begin, end = axes.get_xlim()
    width = figure.get_size_inches()[0] - 2 * MARGIN
    text = fitted(f"from {written(layers[row], LAYER_LETTERS)} on", width)
    half = MARGIN + text_width(text) / 2
    at = left + across * (row - begin) / (end - begin)
    at = min(max(at, half), width + 2 * MARGIN - half)
    figure.say(at, top - GAP / 2, text, ha="center", va="bottom")


def rank_panel(ranks: np.ndarray, *, marked: bool) -> Panel:
    """A logarithmic scale with 1 on top, high enough for the labels of all lines."""
    worst = max(10.0, 1.1 * float(ranks.max()))
    tens = [10.0**k for k in range(int(np.log10(worst)) + 1)]
    ticks = [(ten, rank_tick(ten)) for ten in tens]
    height = max(1.5, LINE * ranks.shape[1])
    above = LINE + GAP / 2 if marked else GAP
    return Panel("rank (1 is the best)", height, (worst, 0.9), ticks, True, above)


def linear_panel(says: str, height: float, low: float, high: float) -> Panel:
    """A scale between round numbers."""
    high = high if high > low else low + 1
    found = MaxNLocator(nbins=3, steps=[1, 2, 5, 10]).tick_values(low, high)
    ticks = [float(f"{value:.9g}") for value in found]
    names = [(value, f"{value:.6g}".replace("-", MINUS)) for value in ticks]
    return Panel(says, height, (ticks[0], ticks[-1]), names)


def share_panel(says: str, height: float) -> Panel:
    """A scale of shares."""
    return Panel(says, height, (0, 1), ((0.0, "0%"), (0.5, "50%"), (1.0, "100%")))


def label_room(texts: Sequence[str]) -> float:
    """Inches that labels at the ends of lines take."""
    return widest(texts) + 0.16


def _scale_axes(axes: Axes, panel: Panel, layers: int) -> None:
    if panel.ranks:
        axes.set_yscale("log")
    axes.set_ylim(panel.limits)
    axes.set_yticks([value for value, _ in panel.ticks], [text for _, text in panel.ticks])
    axes.set_yticks([], minor=True)
    axes.grid(axis="y", color=FAINT, linewidth=0.5)
    axes.set_axisbelow(True)
    pad = 0.015 * (layers - 1) or 0.5
    axes.set_xlim(-pad, layers - 1 + pad)
    axes.set_xticks([])


def _name_layers(axes: Axes, word: str, names: Sequence[str], across: float) -> None:
    sizes = [text_width(name) + 2.5 * GAP if word else TURNED for name in names]
    spacing = across / (1.03 * (len(names) - 1) or 1)
    shown = spaced(sizes, spacing, first_block(names))
    texts = [names[k] for k in shown]
    axes.set_xticks(shown, texts, rotation=0 if word else 90, parse_math=False)
    axes.set_xlabel(word, color=SOFT, labelpad=1, parse_math=False)


def _short(layers: Sequence[str]) -> tuple[str, list[str]]:
    """The word that all layers share but perhaps the first, and what tells them apart."""
    names = [written(name, LAYER_LETTERS) for name in layers]
    found = [re.fullmatch(r"(\D*[^\d\s])\s(\d+)", name) for name in names]
    words = {match[1] for match in found if match}
    if len(words) != 1 or not all(found[1:]):
        return "", names
    return words.pop(), [m[2] if m else name for m, name in zip(found, names, strict=True)]


def _apart(wanted: Sequence[float], step: float) -> list[float]:
    """Places between 0 and 1, as near to what is wanted as they can be a step apart."""
    order = np.argsort(wanted, kind="stable")
    steps = step * np.arange(len(order))
    low = np.maximum.accumulate(np.asarray(wanted, dtype=np.float64)[order] - steps)
    top = 1 + step / 2 - steps[-1]
    places = np.empty(len(order))
    places[order] = np.minimum(low, max(top, 0.0)) + steps
    return [float(place) for place in places]
