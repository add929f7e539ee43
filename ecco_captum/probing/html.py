"""What each layer knows, as the paper's Table 1: arrays in, static HTML out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ecco_captum.core.text import format_fixed
from ecco_captum.display.heat_table import (
    BLOCK,
    Cell,
    Heat,
    Row,
    checked_labels,
    checked_numbers,
    cut,
    folded,
    heat_table,
    heat_view,
    linear_levels,
    said,
    scale,
    soft,
)
from ecco_captum.display.line_chart import line_chart

COLUMNS = ("accuracy", "control", "selectivity")

_NARROW = 48  # px, for a percentage
_BITS = "codelength, kbit"


def accuracy_table(
    kind: str,
    layers: Sequence[str],
    columns: Sequence[np.ndarray],
    codelength: np.ndarray | None = None,
) -> str:
    r"""
    The paper's Table 1 of one representation.

    Args:
        kind (str): Its name.
        layers (sequence of str): Shape (rows,).
        columns (sequence of numpy.ndarray): One to three of ``COLUMNS``, each (rows, trials).
        codelength (numpy.ndarray, optional): Shape (rows, trials), bits.

    Returns:
        str: HTML.
    """
    rows = []
    for k, layer in enumerate(layers):
        named = zip(COLUMNS, columns, strict=False)
        cells = [_cell(layer, which, column[k]) for which, column in named]
        beside = () if codelength is None else (_kbit(codelength[k]),)
        rows.append(Row(layer, cells, beside))
    beside = () if codelength is None else (_BITS,)
    shown = COLUMNS[: len(columns)]
    heat = Heat(f"Probes of {kind}", kind, shown, rows, beside, range(len(beside)), turned=False)
    return heat_table(heat)


def label_tables(
    kind: str, layers: Sequence[str], labels: Sequence[str], confusion: np.ndarray
) -> str:
    r"""
    Two folded tables: the recall of each label at each layer, and confusions where most is told.

    Args:
        kind (str): The representation's name.
        layers (sequence of str): Shape (rows,).
        labels (sequence of str): Shape (labels,), without the ones that are never true or told.
        confusion (numpy.ndarray): Shape (rows, labels, labels), counts: true labels in rows.

    Returns:
        str: HTML.
    """
    there = confusion.sum(axis=2)
    right = np.diagonal(confusion, axis1=1, axis2=2)
    recall = [
        Row(
            layer,
            [
                _share(right[k, j], there[k, j], f"{layer}, {label}", zero="0")
                for j, label in enumerate(labels)
            ],
        )
        for k, layer in enumerate(layers)
    ]
    best = int(right.sum(axis=1).argmax())
    named = f"Probes of {kind}: the part of each label's words that is told right"
    tables = (
        (f"{kind}: recall of each label", Heat(named, kind, labels, recall)),
        (
            f"{kind}, {layers[best]}: what is told as what",
            _confusions(f"{kind}, {layers[best]}", labels, confusion[best]),
        ),
    )
    return "".join(folded(summary, _narrow(heat)) for summary, heat in tables)


def confusion_view(where: str, labels: Sequence[str], counts: np.ndarray, subtitle: str) -> str:
    r"""
    What the probes of one layer take for what, as a view of its own.

    Args:
        where (str): The representation and the layer.
        labels (sequence of str): Shape (labels,).
        counts (numpy.ndarray): Shape (labels, labels), true labels in rows, told ones in columns.
        subtitle (str): What was probed.

    Returns:
        str: An HTML fragment.
    """
    picture = scale("part of the label's words", "0%", "100%")
    return heat_view(
        picture + _narrow(_confusions(where, [cut(label) for label in labels], counts)),
        width=_NARROW,
        whole=True,
        numbered=True,
        title=f"What is told as what from {where}?",
        subtitle=subtitle,
    )


def _confusions(where: str, labels: Sequence[str], counts: np.ndarray) -> Heat:
    there = counts.sum(axis=1)
    rows = [
        Row(
            label,
            [
                _share(counts[i, j], there[i], f"{label} told as {other}")
                for j, other in enumerate(labels)
            ],
        )
        for i, label in enumerate(labels)
    ]
    return Heat(f"Probes of {where}: what each label's words are told as", "true", labels, rows)


def _narrow(heat: Heat) -> str:
    return (
        f'<div style="--ecco-cell:{_NARROW}px">{soft(f"{heat.name}, in percent.")}'
        f"{heat_table(heat)}</div>"
    )


def written(values: np.ndarray) -> str:
    """Mean and standard deviation in percent."""
    return f"{format_fixed(100 * values.mean(), 1)}% ± {format_fixed(100 * values.std(), 1)}"


def _kbit(bits: np.ndarray) -> str:
    return f"{format_fixed(bits.mean() / 1000, 2)} ± {format_fixed(bits.std() / 1000, 2)}"


def _cell(layer: str, which: str, values: np.ndarray) -> Cell:
    trials = ", ".join(f"{format_fixed(100 * value, 1)}%" for value in values.tolist())
    return Cell(written(values), f"{layer}, {which} in each trial: {trials}", _level(values.mean()))


def _share(count: int, of: int, what: str, zero: str = "") -> Cell:
    if not of:
        return Cell("–", f"{what}: no such word was tested", 0)
    part = count / of
    return Cell(
        format_fixed(100 * part, 0) if count else zero,
        f"{what}: {count:,} of {of:,}, {format_fixed(100 * part, 1)}%",
        _level(part),
    )


def _level(part: float) -> int:
    return int(linear_levels(np.array([max(0.0, part)]), 0.0, 1.0)[0])


TITLE = "What does each layer know?"

_WIDTH = 92  # px, for a mean and a deviation
_LONGEST = 40
_ROWS = "rows, trials"


def probe_view(
    representations: Sequence[str],
    layers: Sequence[str],
    accuracy: np.ndarray,
    control_accuracy: np.ndarray,
    *,
    baselines: Mapping[str, np.ndarray] | None = None,
    codelength: np.ndarray | None = None,
    labels: Sequence[str] = (),
    confusion: np.ndarray | None = None,
    title: str = TITLE,
    subtitle: str = "",
    sentence: str = "",
    note: str = "",
) -> str:
    r"""
    Draw accuracy and selectivity of probes, a row a layer, a table a representation.

    Args:
        representations (sequence of str): Shape (rows,), such as ``"hidden"``.
        layers (sequence of str): Shape (rows,), their names.
        accuracy (numpy.ndarray): Shape (rows, trials), parts of 1.
        control_accuracy (numpy.ndarray): Shape (rows, trials), parts of 1; all NaN without a
            control task.
        baselines (mapping, optional): From a name to accuracies, shape (trials,). Default: none.
        codelength (numpy.ndarray, optional): Shape (rows, trials), bits. Default: none.
        labels (sequence of str, optional): Shape (labels,), what ``confusion`` counts.
        confusion (numpy.ndarray, optional): Shape (rows, labels, labels), test words: true labels
            in rows, told ones in columns. Default: none.
        title (str, optional): The question above the view. Default: ``TITLE``
        subtitle (str, optional): What is drawn. Default: ``""``
        sentence (str, optional): The answer in plain words. Default: ``""``
        note (str, optional): A sentence below the view. Default: ``""``

    Returns:
        str: An HTML fragment, for a notebook cell or the body of a page.

    Raises:
        ValueError: Shapes do not fit each other, or numbers are none of their kind.
    """
    names = [cut(name, _LONGEST) for name in checked_labels("layers", layers)]
    shape = (len(names), np.shape(accuracy)[-1] if np.ndim(accuracy) == 2 else 0)
    if len(representations) != len(names):
        raise ValueError(
            f"representations: got {len(representations)}, accepts one for each of {len(names)}"
        )
    told = _parts("accuracy", accuracy, shape)
    tested = not np.isnan(control_accuracy).all()
    columns = [told]
    if tested:
        control = _parts("control_accuracy", control_accuracy, shape)
        columns += [control, told - control]
    known = _known(baselines or {}, shape[1])
    bits = None if codelength is None else checked_numbers("codelength", codelength, _ROWS, shape)
    counts = None
    if confusion is not None and len(labels) <= BLOCK:
        names_of_labels = [cut(label, _LONGEST) for label in checked_labels("labels", labels)]
        square = (len(names), len(names_of_labels), len(names_of_labels))
        counts = checked_numbers("confusion", confusion, "rows, labels, labels", square)
    tables = details = ""
    for kind in dict.fromkeys(representations):
        rows = [k for k, name in enumerate(representations) if name == kind]
        own, shown = [names[k] for k in rows], [column[rows] for column in columns]
        chart = _chart(kind, own, shown, known)
        table = accuracy_table(kind, own, shown, None if bits is None else bits[rows])
        tables += f"<div>{chart}{table}</div>"
        if counts is not None:
            details += label_tables(kind, own, names_of_labels, counts[rows].astype(int))
    lines = [f"{name}: {written(own)}" for name, own in known.items()]
    return heat_view(
        scale("part of the words", "0%", "100%")
        + f'<div class="ecco-charts">{tables}</div>'
        + soft(f"Without a probe: {'; '.join(lines)}." if lines else "")
        + details,
        width=_WIDTH,
        numbered=True,
        below=said(sentence),
        title=title,
        subtitle=subtitle,
        note=note,
    )


def _chart(
    kind: str,
    layers: Sequence[str],
    columns: Sequence[np.ndarray],
    baselines: Mapping[str, np.ndarray],
) -> str:
    """Means over trials with bands of one deviation; baselines, the same at every layer, last."""
    lines = dict(zip(COLUMNS, columns, strict=False))
    for name, own in baselines.items():
        lines[name] = np.tile(own, (len(layers), 1))
    means = [own.mean(axis=1) for own in lines.values()]
    apart = [own.std(axis=1) for own in lines.values()]
    values = np.array([[m, m - s, m + s] for m, s in zip(means, apart, strict=True)])
    return line_chart(
        list(lines),
        [name.removeprefix("block ").replace("embedding", "emb.") for name in layers],
        values.transpose(0, 2, 1),
        across=f"{kind}, by block" if any("block" in name for name in layers) else kind,
        says=f"{', '.join(lines)} of probes of {kind} over {len(layers)} layers; see the table",
        write=lambda value: f"{format_fixed(100 * value, 0)}%",
        bands=True,
    )


def _known(baselines: Mapping[str, np.ndarray], trials: int) -> dict[str, np.ndarray]:
    """The baselines that are numbers."""
    found = {}
    for name, given in baselines.items():
        own = np.asarray(given, dtype=np.float64)
        if not np.isnan(own).any():
            found[name] = _parts(name, own[None], (1, trials))[0]
    return found


def _parts(name: str, given: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    values = np.asarray(given, dtype=np.float64)
    if values.shape != shape or not shape[1]:
        raise ValueError(f"{name}: got shape {values.shape}, accepts (rows, trials) = {shape}")
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"{name}: got numbers beyond 0 and 1, accepts parts of 1")
    return values
