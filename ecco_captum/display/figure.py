"""Figures for papers: heat maps and lines over layers, whose text stays text in the file."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from io import BytesIO
from itertools import count
from typing import Any

import numpy as np

try:
    import matplotlib  # noqa: F401
except ImportError as error:
    raise ImportError("figures need matplotlib: pip install 'ecco-captum[plot]'") from error
from cycler import cycler
from matplotlib import rc_context, style
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize, to_hex
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.text import Annotation, Text
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ecco_captum.core.text import MINUS, format_number, format_rank, visible, visible_parts
from ecco_captum.display.colours import COLORS, ink

INK, SOFT, FAINT, MARK = (COLORS[name][0] for name in ("ink", "soft", "line", "mark"))
ACCENT, COOL, THIN = COLORS["accent"][0], COLORS["cool"][0], "#b9b6c3"
LINE, MARGIN, GAP = 0.12, 0.05, 0.04  # inches
_SMALL, _LARGE = 6.5, 8.0  # points: of all texts, and of the title
_TURNED = 0.095  # inches of a turned line; its neighbours may almost touch it
_ROW, _THIN_ROW, _MANY_ROWS = 0.125, 0.085, 20  # inches of a row, and of one of more than so many
_BAR, _SMALLEST = 0.07, 0.5  # inches: how high the scale is, how wide axes are at least

# The first ships with matplotlib; the others have the letters of East Asia, where installed.
_FAMILIES = (
    *("DejaVu Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans JP", "Source Han Sans"),
    *("Hiragino Sans", "PingFang SC", "Yu Gothic", "Microsoft YaHei", "Malgun Gothic"),
    *("WenQuanYi Zen Hei", "Droid Sans Fallback", "Arial Unicode MS"),
)
_DASHES = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)), (0, (8, 2)), (0, (2, 3)))
_COLOURS = (ACCENT, COOL, MARK, SOFT, MARK, SOFT)
_TICKS = {"color": SOFT, "labelcolor": INK, "major.pad": 2, "major.size": 2, "major.width": 0.6}
_STYLE = {
    **{f"{axis}tick.{name}": value for axis in "xy" for name, value in _TICKS.items()},
    **dict.fromkeys(("axes.edgecolor", "axes.labelcolor", "axes.titlecolor"), SOFT),
    **dict.fromkeys(("axes.spines.right", "axes.spines.top"), False),
    **dict.fromkeys(("font.size", "axes.titlesize"), _SMALL),
    "axes.linewidth": 0.6,
    "axes.labelpad": 1,
    "axes.titlepad": 5,
    "text.color": INK,
    "axes.prop_cycle": cycler(color=_COLOURS, linestyle=_DASHES, marker=[*"os^DvP"]),
    "lines.linewidth": 1.1,
    "lines.markersize": 2.2,
    "svg.fonttype": "none",
    "svg.hashsalt": "ecco-captum",
    "text.hinting": "no_hinting",  # hinted letters are wider on some screens than in the file
}
_RAMP = LinearSegmentedColormap.from_list("accent", ["#ffffff", ACCENT]).with_extremes(bad=FAINT)
_SIGNED_RAMP = LinearSegmentedColormap.from_list(
    "cool to accent", [COOL, "#ffffff", ACCENT]
).with_extremes(bad=FAINT)


class PaperFigure(Figure):
    """A figure that shows itself in a notebook, and whose files are fit for a paper: in SVG and PDF
    text stays text (TrueType, where the font is), and the same figure gives the same bytes."""

    heights: Sequence[float] = ()  # inches, of its axes

    def savefig(self, fname: Any, **kwargs: Any) -> None:
        """Save as ``Figure.savefig`` does, whatever the reader's settings are."""
        kind = str(kwargs.get("format") or str(fname).rpartition(".")[2]).lower()
        undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind, {})
        kwargs["metadata"] = {**undated, **(kwargs.get("metadata") or {})} or None
        # PDF takes TrueType outlines only as such; any others stay right as drawings of letters.
        letters = {ord(letter) for text in self.findobj(Text) for letter in text.get_text()}
        embedded = 42 if letters - {ord("\n")} <= _letters(all_fonts=False) else 3
        with paper_style(), rc_context({"pdf.fonttype": embedded, "ps.fonttype": embedded}):
            super().savefig(fname, **kwargs)

    def _repr_png_(self) -> bytes:
        # Where the inline backend is active, its own PNG of any Figure takes this one's place.
        file = BytesIO()
        self.savefig(file, format="png", dpi=200)
        return file.getvalue()


@contextmanager
def paper_style() -> Iterator[None]:
    """Matplotlib's defaults and the style of a paper, for as long as the context lasts."""
    with style.context(["default", {**_STYLE, "font.family": [*_fonts()]}]):
        yield


def titled_figure(width: float, title: str, heights: Sequence[float]) -> PaperFigure:
    """A figure with its title, and axes below each other that are ``heights`` inches high."""
    layout = ConstrainedLayoutEngine(w_pad=MARGIN, h_pad=MARGIN, wspace=0, hspace=0)
    # High enough for all that stands around the axes; `laid_out` takes back what it does not need.
    figure = PaperFigure((width, sum(heights) + 10), dpi=200, facecolor="white", layout=layout)
    if title:
        look: dict[str, Any] = {"size": _LARGE, "weight": "bold"}
        lines = wrapped(title, width - 2 * MARGIN, **look)
        figure.suptitle(lines, x=MARGIN / width, ha="left", parse_math=False, **look)
    figure.subplots(len(heights), height_ratios=heights)
    figure.heights = heights
    return figure


def laid_out(figure: PaperFigure) -> PaperFigure:
    """The figure as high as it has to be, with everything where it will stay."""
    layout = figure.get_layout_engine()
    assert layout is not None
    for _ in range(2):
        layout.execute(figure)
        drawn = sum(axes.get_window_extent().height for axes in figure.axes) / figure.dpi
        figure.set_figheight(figure.get_figheight() + sum(figure.heights) - drawn)
    layout.execute(figure)
    figure.set_layout_engine("none")
    return figure


def room_left(width: float, *labels: Sequence[str]) -> float:
    """Inches that labels on the left and on the right leave for axes; an error if too few."""
    taken = 2 * (MARGIN + GAP) + sum(max(map(text_width, texts), default=0) for texts in labels)
    if width - taken < _SMALLEST:
        least = f"{taken + _SMALLEST:.2f} for these labels and a picture"
        raise ValueError(f"width: got {width:g} inches, accepts at least {least}")
    return width - taken


def written(text: str, longest: int = 12) -> str:
    """A token's text on one line: cut to some letters, a box for each that no font has."""
    shown = _drawable(visible(text))
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def fitted(text: str, room: float, weight: str = "normal") -> str:
    """A text as `written` gives it, cut to its room in inches; ``""`` if no letter fits."""
    cuts = (f"{text[:end]}…" for end in range(len(text) - 1, 0, -1))
    return next((cut for cut in (text, *cuts) if text_width(cut, weight=weight) <= room), "")


@lru_cache(maxsize=16384)
def text_width(text: str, size: float = _SMALL, weight: str = "normal") -> float:
    """Width of a text as `written` gives it, in inches, with a little to spare."""
    font = FontProperties(family=[*_fonts()], size=size, weight=weight)
    return 1.03 * float(text_to_path.get_text_width_height_descent(text, font, False)[0]) / 72


def wrapped(text: str, room: float, size: float = _SMALL, weight: str = "normal") -> str:
    """A text in lines of at most ``room`` inches; words that are longer are broken."""
    text = _drawable("".join(visible_parts(text)))
    for letters in range(min(len(text), round(50 * room)), 0, -1):
        lines = textwrap.wrap(text, letters)
        if all(text_width(line, size, weight) <= room for line in lines):
            return "\n".join(lines)
    return ""


def _drawable(text: str) -> str:
    """A text in which a box stands for what no font has, so that nothing goes unseen."""
    letters, shown = _letters(all_fonts=True), unicodedata.normalize("NFC", text)
    # Joiners have no shape of their own, and are more than some writers of PDF can take.
    kept = (letter for letter in shown if unicodedata.category(letter) != "Cf")
    return "".join(letter if ord(letter) in letters else "□" for letter in kept)


@cache
def _fonts() -> dict[str, tuple[bool, frozenset[int]]]:
    """The installed families: whether they are TrueType, which are first, and their letters."""
    fonts = {}
    for family in _FAMILIES:
        weights = (FontProperties(family=family, weight=weight) for weight in ("normal", "bold"))
        with suppress(ValueError):  # not installed
            font, bold = (get_font(findfont(w, fallback_to_default=False)) for w in weights)
            table: Any = font.get_sfnt_table("maxp")  # its version is 0.5 of other outlines (CFF)
            truetype = table["version"][0] == 1
            fonts[family] = truetype, frozenset(font.get_charmap().keys() & bold.get_charmap())
    return dict(sorted(fonts.items(), key=lambda item: not item[1][0]))


@cache
def _letters(*, all_fonts: bool) -> frozenset[int]:
    """Code points that a family has in both weights, or one with TrueType outlines."""
    fonts = _fonts().values()
    return frozenset().union(*(letters for truetype, letters in fonts if truetype or all_fonts))


def spaced(names: Sequence[str], spacing: float, size: float = 0) -> list[int]:
    """Which names of an axis to write so that none touch: the first, the last, some between."""
    sizes = [size or text_width(name) + 2.5 * GAP for name in names]
    # Blocks are numbered from 0, above them may stand the embedding.
    first, last = int(names[0] == "embedding"), len(names) - 1
    steps = (digit * 10**power for power in count() for digit in (1, 2, 5))
    step = next(s for s in steps if s * spacing >= max(sizes[first:], default=0))

    def clear(left: int, right: int) -> bool:
        return (right - left) * spacing >= (sizes[left] + sizes[right]) / 2

    between = [k for k in range(first, last, step) if clear(0, k) and clear(k, last)]
    return [0, *between, *([last] if clear(0, last) else [])]


def rank_tick(rank: float) -> str:
    """A rank on a scale: round thousands have no decimals."""
    return format_rank(round(rank)).replace(".0k", "k")


def percent_tick(share: float) -> str:
    """A share on a scale."""
    return f"{100 * share:.4g}%".replace("-", MINUS)


def _formatter(form: Callable[[float], str]) -> FuncFormatter:
    return FuncFormatter(lambda value, _: form(value))


@dataclass(frozen=True, slots=True)
class Scale:
    """What a colour says: its ends, how numbers are written, whether 1 is the darkest (ranks).

    A scale whose ends are as far below 0 as above has two hues; of logits, 0 means nothing.
    """

    says: str
    low: float
    high: float
    form: Callable[[float], str] = format_number
    ranks: bool = False


@dataclass(frozen=True, slots=True)
class HeatMap:
    """Numbers as colours, grey where masked, and texts in the cells where these have room:
    ``values``, ``texts`` and ``bold`` are (rows, columns), ``room`` is inches across."""

    rows: Sequence[str]
    columns: Sequence[str]
    values: np.ndarray
    scale: Scale
    texts: Sequence[Sequence[str]]
    bold: np.ndarray | None = None
    room: float = 0.0


def heat_figure(heat: HeatMap, width: float, title: str) -> tuple[PaperFigure, Axes]:
    """A heat map above its scale, and the axes of its cells."""
    layers, heads = [written(row, 16) for row in heat.rows], [*map(written, heat.columns)]
    across = room_left(width, layers)
    cell = across / len(heads)
    row = _ROW if cell >= heat.room or len(layers) <= _MANY_ROWS else _THIN_ROW
    figure = titled_figure(width, title, [row * len(layers), _BAR])
    axes = figure.axes[0]
    mesh = _draw_scale(figure, heat, across)
    axes.set(xlim=(0, len(heads)), ylim=(len(layers), 0))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    turned = max(map(text_width, heads)) + GAP > cell
    shown = spaced(heads, cell, _TURNED if turned else cell)
    names, rotation = [heads[k] for k in shown], 90 if turned else 0
    axes.set_xticks([k + 0.5 for k in shown], names, rotation=rotation, parse_math=False)
    shown = spaced(layers, row, row if row == _ROW else LINE)
    axes.set_yticks([k + 0.5 for k in shown], [layers[k] for k in shown], parse_math=False)
    laid_out(figure)
    if cell >= heat.room:
        _fill_cells(axes, heat, mesh.to_rgba(heat.values), cell - GAP / 2)
    return figure, axes


def _draw_scale(figure: PaperFigure, heat: HeatMap, across: float) -> QuadMesh:
    """Paint the cells, and the scale below them."""
    scale, axes, bar = heat.scale, *figure.axes
    norm, ramp, marks = Normalize(scale.low, max(scale.high, scale.low + 1e-9)), _RAMP, {scale.low}
    if scale.low == -scale.high < 0 and not scale.ranks:  # 0, in the middle, has no shade
        ramp, marks = _SIGNED_RAMP, {scale.low, 0.0}
    if scale.ranks:
        norm, ramp = LogNorm(scale.low, scale.high), _RAMP.reversed()
        marks = {10.0**k for k in range(5) if 4 * 10**k <= scale.high}
    mesh = axes.pcolormesh(heat.values, norm=norm, cmap=ramp, edgecolors="white", linewidth=0.3)
    ticks = sorted(marks | {scale.high})
    colors: Any = figure.colorbar(mesh, bar, orientation="horizontal", ticks=ticks)
    bar.xaxis.set_major_formatter(_formatter(scale.form))
    colors.minorticks_off()
    colors.outline.set_edgecolor(FAINT)
    colors.solids.set_edgecolor("face")  # side by side, viewers draw seams
    bar.set_xlabel(wrapped(scale.says, across), loc="left")
    return mesh


def _fill_cells(axes: Axes, heat: HeatMap, colors: np.ndarray, room: float) -> None:
    """Write into the cells what fits, in an ink that can be read on the shade."""
    centred: dict[str, Any] = {"ha": "center", "va": "center_baseline", "parse_math": False}
    for row, column in np.ndindex(heat.values.shape):
        weight = "bold" if heat.bold is not None and heat.bold[row, column] else "normal"
        text = fitted(written(heat.texts[row][column]), room, weight)
        color = ink(to_hex(colors[row, column]), INK)
        axes.text(column + 0.5, row + 0.53, text, color=color, weight=weight, **centred)


@dataclass(frozen=True, slots=True)
class Panel:
    """A scale over the layers: words above it, its height in inches, numbers that it includes."""

    says: str
    height: float = 0.55
    includes: tuple[float, ...] = ()
    form: Callable[[float], str] = lambda value: f"{value:.6g}".replace("-", MINUS)
    log: bool = False


def panels_figure(
    panels: Sequence[Panel], layers: Sequence[str], width: float, title: str, labels: Sequence[str]
) -> tuple[PaperFigure, list[Axes]]:
    """Panels below each other over the same layers, for lines with these labels at their ends."""
    names = [written(name, 16) for name in layers]
    across = room_left(width, ["100%"], [f"— {label}" for label in labels])
    figure = titled_figure(width, title, [panel.height for panel in panels])
    pad = 0.015 * (len(names) - 1) or 0.5
    for axes, panel in zip(figure.axes, panels, strict=True):
        axes.set_title(wrapped(panel.says, width - 0.45), loc="left")
        axes.set_yscale("log" if panel.log else "linear")
        axes.minorticks_off()
        axes.yaxis.set_major_formatter(_formatter(panel.form))
        axes.update_datalim([(0, value) for value in panel.includes])
        axes.grid(axis="y", color=FAINT, linewidth=0.5, zorder=0)
        axes.set(xlim=(-pad, len(names) - 1 + pad), xticks=[])
    numbered = all(name.startswith("block ") for name in names[1:])
    if numbered:
        names = [name.removeprefix("block ") for name in names]
        axes.set_xlabel("block")
    spacing = across / (1.03 * (len(names) - 1) or 1)
    shown = spaced(names, spacing, 0 if numbered else _TURNED)
    texts, rotation = [names[k] for k in shown], 0 if numbered else 90
    axes.set_xticks(shown, texts, rotation=rotation, parse_math=False)
    return figure, figure.axes


def draw_line(axes: Axes, values: np.ndarray, label: str = "", **kwargs: Any) -> Line2D:
    """A line over the layers, in the next look, with a label at its end."""
    look = {"clip_on": False, "in_layout": False, **kwargs}
    every = max(1, round(len(values) / 10))
    (line,) = axes.plot(np.arange(len(values)), values, markevery=every, **look)
    if label:
        label_end(axes, float(values[~np.isnan(values)][-1]), label, line.get_color())
    return line


def label_end(axes: Axes, value: float, label: str, color: Any) -> None:
    """A label on the right of a value, which `labelled` moves away from others."""
    look: dict[str, Any] = {"color": color, "va": "center", "parse_math": False}
    leader = {"arrowstyle": "-", "color": THIN, "lw": 0.5, "shrinkB": 3, "relpos": (0, 0.5)}
    at = (1, value), (1.06, 1), axes.get_yaxis_transform(), "axes fraction"
    axes.annotate(label, *at, arrowprops=leader, annotation_clip=False, **look)


def labelled(figure: PaperFigure) -> PaperFigure:
    """The figure of panels with round scales and labels apart from each other, laid out."""
    for axes, height in zip(figure.axes, figure.heights, strict=True):
        if axes.get_yscale() == "linear":
            ticks = MaxNLocator(nbins=3, steps=[1, 2, 5, 10]).tick_values(*axes.dataLim.intervaly)
            axes.set(yticks=ticks, ylim=(ticks[0], ticks[-1]))
        labels = [text for text in axes.texts if isinstance(text, Annotation)]
        fraction = axes.transData + axes.transAxes.inverted()
        wanted = np.array([fraction.transform((0, label.xy[1]))[1] for label in labels])
        for label, place in zip(labels, _apart(wanted, LINE / height), strict=True):
            label.set_position((1.06, place))
    return laid_out(figure)


def _apart(wanted: np.ndarray, step: float) -> np.ndarray:
    """Places between 0 and 1, as near to what is wanted as they can be a step apart."""
    order, steps = np.argsort(wanted, kind="stable"), step * np.arange(len(wanted))
    low = np.maximum.accumulate(wanted[order] - steps)
    places = np.empty(len(wanted))
    places[order] = np.minimum(low, max(1 + step * (1.5 - len(wanted)), 0)) + steps
    return places
