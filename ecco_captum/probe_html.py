"""What each layer knows, as the paper's Table 1: arrays in, static HTML out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ecco_captum.heat_data import Cell, Heat, Row, checked_labels, cut, linear_levels
from ecco_captum.heat_html import heat_table, heat_view, said, scale, soft
from ecco_captum.legible import format_fixed

TITLE = "What does each layer know?"

_WIDTH = 92  # px, for a mean and a deviation
_COLUMNS = ("accuracy", "control", "selectivity")
_LONGEST = 40


def probe_view(
    representations: Sequence[str],
    layers: Sequence[str],
    accuracy: np.ndarray,
    control_accuracy: np.ndarray,
    *,
    baselines: Mapping[str, np.ndarray] | None = None,
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
        title (str, optional): The question above the view. Default: ``TITLE``
        subtitle (str, optional): What is drawn. Default: ``""``
        sentence (str, optional): The answer in plain words. Default: ``""``
        note (str, optional): A sentence below the view. Default: ``""``

    Returns:
        str: An HTML fragment, fit for a notebook cell and for the body of `ecco_captum.html.page`.

    Raises:
        ValueError: Shapes do not fit each other, or accuracies are no parts of 1.
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
    tables = ""
    for kind in dict.fromkeys(representations):
        rows = [k for k, name in enumerate(representations) if name == kind]
        drawn = [
            Row(names[k], [_cell(names[k], which, column[k]) for which, column in _named(columns)])
            for k in rows
        ]
        heat = Heat(f"Probes of {kind}", kind, _COLUMNS[: len(columns)], drawn, turned=False)
        tables += f"<div>{heat_table(heat)}</div>"
    lines = [f"{name}: {_written(np.asarray(own))}" for name, own in (baselines or {}).items()]
    return heat_view(
        scale("part of the words", "0%", "100%")
        + f'<div class="ecco-words">{tables}</div>'
        + soft(f"Without a probe: {'; '.join(lines)}." if lines else ""),
        width=_WIDTH,
        numbered=True,
        below=said(sentence),
        title=title,
        subtitle=subtitle,
        note=note,
    )


def _named(columns: Sequence[np.ndarray]) -> list[tuple[str, np.ndarray]]:
    return list(zip(_COLUMNS[: len(columns)], columns, strict=True))


def _cell(layer: str, which: str, values: np.ndarray) -> Cell:
    trials = ", ".join(f"{format_fixed(100 * value, 1)}%" for value in values.tolist())
    level = int(linear_levels(np.array([max(0.0, values.mean())]), 0.0, 1.0)[0])
    return Cell(_written(values), f"{layer}, {which} in each trial: {trials}", level)


def _written(values: np.ndarray) -> str:
    """Mean and standard deviation in percent."""
    return f"{format_fixed(100 * values.mean(), 1)}% ± {format_fixed(100 * values.std(), 1)}"


def _parts(name: str, given: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    values = np.asarray(given, dtype=np.float64)
    if values.shape != shape or not shape[1]:
        raise ValueError(f"{name}: got shape {values.shape}, accepts (rows, trials) = {shape}")
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"{name}: got numbers beyond 0 and 1, accepts parts of 1")
    return values
