"""How probes are shown: the paper's Table 1 with lines over layers, recall and confusions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from ecco_captum.core.text import format_fixed
from ecco_captum.display.charts import line_chart
from ecco_captum.display.heat_table import (
    BLOCK,
    Cell,
    Heat,
    HeatOptions,
    Row,
    cut,
    heat_blocks,
    heat_view,
    linear_levels,
)
from ecco_captum.display.page import part, render

if TYPE_CHECKING:
    from ecco_captum.probing.record import ProbeReport

_WIDTH, _NARROW = 92, 48  # px, for a mean and a deviation, and for a percentage
_LONGEST = 40  # letters of a name


def probe_view(report: ProbeReport) -> Markup:
    """Draws accuracy and selectivity of probes, a row a layer, a table a representation."""
    columns = {"accuracy": report.accuracy}
    if not np.isnan(report.control_accuracy).all():
        columns |= {"control": report.control_accuracy, "selectivity": report.selectivity}
    tables = []
    for kind in dict.fromkeys(report.representations):
        rows = [k for k, name in enumerate(report.representations) if name == kind]
        layers = [cut(report.layers[k], _LONGEST) for k in rows]
        shown = {name: values[rows] for name, values in columns.items()}
        bits = None if report.codelength is None else report.codelength[rows, :, 0]
        chart = _chart(kind, layers, shown | _tiled(report.baselines, len(rows)))
        details = _label_tables(report, kind, rows) if len(report.labels) <= BLOCK else []
        tables.append((chart, _accuracy_table(kind, layers, shown, bits), details))
    baselines = [f"{name}: {_written(values)}" for name, values in report.baselines.items()]
    picture = render(
        "probing/probes.html.j2",
        tables=tables,
        baselines=f"Without a probe: {'; '.join(baselines)}." if baselines else "",
    )
    return heat_view(
        part("scale", "share of the words", "0%", "100%") + picture,
        HeatOptions(_WIDTH, numbered=True),
        below=part("answer", report.sentence),
        title=report.title,
        subtitle=report.subtitle,
        note=report.note,
    )


def confusion_view(report: ProbeReport, row: int) -> Markup:
    """Which labels the probes of one layer take for which, as a view of its own."""
    where = f"{report.representations[row]}, {report.layers[row]}"
    heat = _confusions(where, [cut(label) for label in report.labels], report.confusion[row])
    return heat_view(
        part("scale", "share of the label's words", "0%", "100%") + _narrow(heat),
        HeatOptions(_NARROW, whole=True, numbered=True),
        title=f"Confusion matrix of {where}",
        subtitle=report.subtitle,
    )


def _accuracy_table(
    kind: str, layers: Sequence[str], columns: dict[str, np.ndarray], bits: np.ndarray | None
) -> Markup:
    """The paper's Table 1 of one representation; columns are (layers, trials)."""
    rows = []
    for k, layer in enumerate(layers):
        cells = [_cell(layer, name, values[k]) for name, values in columns.items()]
        rows.append(Row(layer, cells, () if bits is None else (_kbit(bits[k]),)))
    beside = () if bits is None else ("codelength, kbit",)
    names = list(columns)
    heat = Heat(f"Probes of {kind}", kind, names, rows, beside, range(len(beside)), turned=False)
    return heat_blocks(heat, whole=True)


def _label_tables(report: ProbeReport, kind: str, rows: Sequence[int]) -> list[tuple[str, Markup]]:
    """The recall of each label at each layer, and the confusions of the best layer."""
    labels = [cut(label, _LONGEST) for label in report.labels]
    counts = report.confusion[rows]
    layers = [cut(report.layers[k], _LONGEST) for k in rows]
    of, right = counts.sum(axis=2), np.diagonal(counts, axis1=1, axis2=2)
    recall = [
        Row(
            layer,
            [
                _share(right[k, j], of[k, j], f"{layer}, {label}", zero="0")
                for j, label in enumerate(labels)
            ],
        )
        for k, layer in enumerate(layers)
    ]
    best = int(right.sum(axis=1).argmax())
    named = f"Probes of {kind}: recall of each label"
    where = f"{kind}, {layers[best]}"
    return [
        (f"{kind}: recall of each label", _narrow(Heat(named, kind, labels, recall))),
        (f"{where}: confusion matrix", _narrow(_confusions(where, labels, counts[best]))),
    ]


def _confusions(where: str, labels: Sequence[str], counts: np.ndarray) -> Heat:
    of = counts.sum(axis=1)
    rows = [
        Row(
            label,
            [
                _share(counts[i, j], of[i], f"{label} predicted as {other}")
                for j, other in enumerate(labels)
            ],
        )
        for i, label in enumerate(labels)
    ]
    name = f"Probes of {where}: what each label's words are predicted as"
    return Heat(name, "true", labels, rows)


def _narrow(heat: Heat) -> Markup:
    above = part("above", f"{heat.name}, in percent.")
    table = heat_blocks(heat, whole=True)
    return Markup('<div style="--ecco-cell:{}px">{}{}</div>').format(_NARROW, above, table)


def _written(values: np.ndarray) -> str:
    """Mean and standard deviation in percent."""
    return f"{format_fixed(100 * values.mean(), 1)}% ± {format_fixed(100 * values.std(), 1)}"


def _kbit(bits: np.ndarray) -> str:
    return f"{format_fixed(bits.mean() / 1000, 2)} ± {format_fixed(bits.std() / 1000, 2)}"


def _cell(layer: str, name: str, values: np.ndarray) -> Cell:
    trials = ", ".join(f"{format_fixed(100 * value, 1)}%" for value in values.tolist())
    return Cell(_written(values), f"{layer}, {name} in each trial: {trials}", _level(values.mean()))


def _share(count: int, of: int, what: str, zero: str = "") -> Cell:
    if not of:
        return Cell("–", f"{what}: no such word was tested", 0)
    share = count / of
    return Cell(
        format_fixed(100 * share, 0) if count else zero,
        f"{what}: {count:,} of {of:,}, {format_fixed(100 * share, 1)}%",
        _level(share),
    )


def _level(share: float) -> int:
    return int(linear_levels(np.array([max(0.0, share)]), 0.0, 1.0)[0])


def _tiled(baselines: dict[str, np.ndarray], layers: int) -> dict[str, np.ndarray]:
    """Baselines are the same at every layer."""
    return {name: np.tile(values, (layers, 1)) for name, values in baselines.items()}


def _chart(kind: str, layers: Sequence[str], lines: dict[str, np.ndarray]) -> Markup:
    """Means over trials with bands of one deviation."""
    means = np.array([values.mean(axis=1) for values in lines.values()])
    sd = np.array([values.std(axis=1) for values in lines.values()])
    return line_chart(
        list(lines),
        [name.removeprefix("block ").replace("embedding", "emb.") for name in layers],
        np.stack([means, means - sd, means + sd], axis=-1),
        across=f"{kind}, by block" if any("block" in name for name in layers) else kind,
        says=f"{', '.join(lines)} of probes of {kind} over {len(layers)} layers; see the table",
        write=lambda value: f"{format_fixed(100 * value, 0)}%",
        bands=True,
    )
