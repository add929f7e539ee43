"""Charts by bqplot, and all that it takes to have them look as the rest: its traps end here.

Labels must not steal the pointer, wide figures must shrink, the toolbar must not lie on small ones,
and ink must follow the theme: colours are CSS variables, which ``explorer.css`` sets for both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import bqplot as bq
import ipywidgets
import numpy as np

from ecco_captum.core.text import format_share
from ecco_captum.display.page import escape

_HUES = ("accent", "cool", "mark", "soft")
_STYLES = ("solid", "dashed", "dotted", "dash_dotted")
_MARKERS = ("circle", "square", "triangle-up", "diamond")
_TICKS = 12  # names that an axis has room for
_ROOM = 1.5  # of the longest bar, so that its number has room
_TICK_FONT = {"font-size": "11px"}


def _color(name: str) -> str:
    return f"var(--ecco-{name})"


def _figure(marks: Sequence[Any], axes: Sequence[Any], *, height: int, left: int) -> Any:
    figure = bq.Figure(
        marks=list(marks),
        axes=list(axes),
        animation_duration=0,
        fig_margin={"top": 8, "bottom": 42, "left": left, "right": 16},
        layout=ipywidgets.Layout(width="100%", height=f"{height}px", min_width="0"),
        padding_x=0,
        padding_y=0,
    )
    figure.display_toolbar = False
    return figure


def _axis(scale: Any, **options: Any) -> Any:
    return bq.Axis(
        scale=scale,
        color=_color("line"),
        grid_color=_color("line"),
        label_color=_color("soft"),
        tick_style=_TICK_FONT,
        **options,
    )


class Lines(ipywidgets.VBox):  # type: ignore[misc]  # it has no types
    r"""
    Lines over layers; hover a point for its number, click one to choose its layer.

    Args:
        layers (sequence of str): Shape (layers,), their names.
        form (str, optional): How numbers are written, as d3 does. Default: ``".3s"``
        logarithmic (bool, optional): Whether the scale is, with 1 on top. Default: ``False``
        limits (tuple of float, optional): Ends of a linear scale. Default: the numbers'
        says (str, optional): What the numbers are. Default: ``""``
        height (int, optional): In px. Default: 240
    """

    def __init__(
        self,
        layers: Sequence[str],
        *,
        form: str = ".3s",
        logarithmic: bool = False,
        limits: tuple[float | None, float | None] = (None, None),
        says: str = "",
        height: int = 240,
    ) -> None:
        self.layers = [name.removeprefix("block ").replace("embedding", "emb.") for name in layers]
        self._chosen: Callable[[int], object] = lambda row: None
        self._form = form
        # An ordinal scale would name every layer, however narrow the chart.
        self.rows = np.arange(len(self.layers))
        self.x = bq.LinearScale(min=-0.5, max=len(self.layers) - 0.5)
        if logarithmic:
            self.y = bq.LogScale(reverse=True, min=1.0)
            ticks: dict[str, Any] = {"tick_values": [1, 10, 100, 1000, 10_000, 100_000]}
            ticks["tick_format"] = "~s"
        else:
            self.y = bq.LinearScale(min=limits[0], max=limits[1])
            ticks = {"num_ticks": 5, "tick_format": form}
        step = max(1, -(-len(self.layers) // _TICKS))
        first = 1 if self.layers[0] == "emb." and step == 1 else 0
        shown = [*self.rows[:first], *self.rows[first::step]]
        axes = [
            _axis(
                self.x,
                tick_values=shown,
                tick_labels={int(k): self.layers[k] for k in shown},
                grid_lines="none",
                label="block",
                label_offset="32px",
            ),
            _axis(self.y, side="left", **ticks),
        ]
        self.vertical = axes[1]
        if limits[0] is not None and limits[1] is not None:
            self.limit(limits[0], limits[1])
        self.legend = ipywidgets.HTML()
        self.figure = _figure([], axes, height=height, left=52)
        self._says = says
        super().__init__([self.legend, self.figure])

    def show(
        self,
        lines: Mapping[str, np.ndarray],
        bands: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
    ) -> None:
        r"""
        Draws lines instead of those before.

        Args:
            lines (mapping): From a name to numbers, shape (layers,).
            bands (mapping, optional): From a name to the low and the high end around its line.
        """
        scales = {"x": self.x, "y": self.y}
        if isinstance(self.y, bq.LogScale):
            self.y.max = 1.5 * max(10.0, *(float(np.max(values)) for values in lines.values()))
        marks: list[Any] = []
        for k, (name, values) in enumerate(lines.items()):
            color = _color(_HUES[k % len(_HUES)])
            if bands and name in bands:
                marks.append(
                    bq.Lines(
                        x=self.rows,
                        y=np.stack(bands[name]),
                        scales=scales,
                        colors=[color],
                        stroke_width=0,
                        fill="between",
                        fill_colors=[color],
                        fill_opacities=[0.16],
                    )
                )
            marks.append(
                bq.Lines(
                    x=self.rows,
                    y=np.asarray(values, dtype=np.float64),
                    scales=scales,
                    colors=[color],
                    line_style=_STYLES[k % len(_STYLES)],
                    stroke_width=2,
                )
            )
            points = bq.Scatter(
                x=self.rows,
                y=np.asarray(values, dtype=np.float64),
                scales=scales,
                colors=[color],
                marker=_MARKERS[k % len(_MARKERS)],
                default_size=36,
                names=self.layers,
                display_names=False,
                tooltip=bq.Tooltip(
                    fields=["name", "y"],
                    labels=["block", name],
                    formats=["", self._form.replace(".0%", ".1%")],
                ),
            )
            points.on_element_click(self._clicked)
            marks.append(points)
        self.figure.marks = marks
        keys = "".join(
            f'<span class="ecco-key ecco-key-{k % len(_HUES)}">{escape(name)}</span>'
            for k, name in enumerate(lines)
        )
        self.legend.value = f'<div class="ecco-keys">{escape(self._says)}{keys}</div>'

    def limit(self, low: float, high: float) -> None:
        r"""Sets the ends of the scale, which are named, as is 0 where it lies between them."""
        self.y.min, self.y.max = low, high
        self.vertical.tick_values = np.linspace(low, high, 5)

    def on_choose(self, action: Callable[[int], object]) -> None:
        r"""Calls an action with the row of each layer that is clicked."""
        self._chosen = action

    def _clicked(self, mark: Any, event: Mapping[str, Any]) -> None:
        self._chosen(int(event["data"]["index"]))


class Bars(ipywidgets.VBox):  # type: ignore[misc]  # it has no types
    r"""
    Horizontal bars, the first on top, each with its name and its number.

    Args:
        write (Callable, optional): How a number is written. Default: in percent
        height (int, optional): In px. Default: 240
        left (int, optional): Room for names, in px. Default: 120
    """

    def __init__(
        self, *, write: Callable[[float], str] = format_share, height: int = 240, left: int = 120
    ) -> None:
        self._write = write
        self.x, self.y = bq.OrdinalScale(reverse=True), bq.LinearScale(min=0)
        self.bars = bq.Bars(
            x=[],
            y=[],
            scales={"x": self.x, "y": self.y},
            orientation="horizontal",
            colors=[_color("accent")],
            padding=0.35,
        )
        # The bars' own labels lie on them, whatever their length.
        self.numbers = bq.Label(
            x=[],
            y=[],
            text=[],
            scales={"x": self.y, "y": self.x},
            colors=[_color("ink")],
            default_size=11,
            font_weight="normal",
            align="start",
            x_offset=6,
            y_offset=0,
        )
        axes = [_axis(self.x, side="left", grid_lines="none")]
        self.figure = _figure([self.bars, self.numbers], axes, height=height, left=left)
        self.figure.fig_margin = {"top": 4, "bottom": 4, "left": left, "right": 56}
        self.heading = ipywidgets.HTML()
        super().__init__([self.heading, self.figure])

    def show(self, names: Sequence[str], values: np.ndarray, heading: str = "") -> None:
        r"""
        Draws bars instead of those before.

        Args:
            names (sequence of str): Shape (bars,); the same one may come twice.
            values (numpy.ndarray): Shape (bars,), 0 or more.
            heading (str, optional): Above them. Default: ``""``
        """
        values = np.asarray(values, dtype=np.float64)
        # An ordinal scale takes equal names for one: invisible letters make them distinct.
        apart = [name + "\u200b" * names[:k].count(name) for k, name in enumerate(names)]
        with self.bars.hold_sync():
            self.bars.x, self.bars.y = apart, values
        with self.numbers.hold_sync():
            self.numbers.x, self.numbers.y = values, apart
            self.numbers.text = [self._write(value) for value in values.tolist()]
        self.y.max = _ROOM * float(np.max(values, initial=0.0)) or 1.0
        self.heading.value = f'<div class="ecco-keys">{escape(heading)}</div>'
