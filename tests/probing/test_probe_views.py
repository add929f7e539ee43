"""Probes as a page: every number, lines with bands, labels told as labels."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from heat_samples import probed

from ecco_captum.probing.html import probe_view

POINTS = re.compile(r'<polyline points="([^"]+)"')
BANDS = re.compile(r'<polygon class="ecco-band" points="([^"]+)"')


def heights(points: str) -> np.ndarray:
    return np.array([float(point.split(",")[1]) for point in points.split()])


def test_lines_are_the_means_and_bands_their_deviations() -> None:
    given = probed()
    view = probe_view(**given)
    lines, bands = POINTS.findall(view), BANDS.findall(view)
    assert len(lines) == len(bands) == 2 * 5, "accuracy, control, selectivity and two baselines"
    told = given["accuracy"][:5]
    # The first line is drawn last, so that it lies on top; heights are linear in the numbers.
    drawn, means = heights(lines[4]), told.mean(axis=1)
    scale = np.polyfit(means, drawn, 1)
    np.testing.assert_allclose(np.polyval(scale, means), drawn, atol=0.1)
    low, high = np.split(heights(bands[4]), 2)
    np.testing.assert_allclose(np.polyval(scale, means - told.std(axis=1)), low, atol=0.1)
    np.testing.assert_allclose(np.polyval(scale, means + told.std(axis=1)), high[::-1], atol=0.1)


def test_labels_are_told_as_labels() -> None:
    given = probed()
    view, counts = probe_view(**given), given["confusion"]
    best = int(np.diagonal(counts[:5], axis1=1, axis2=2).sum(axis=1).argmax())
    part = counts[best, 0, 1] / counts[best, 0].sum()
    says = f"NOUN told as VERB: {counts[best, 0, 1]} of {counts[best, 0].sum()}, {100 * part:.1f}%"
    assert says in view
    right = counts[2, 1, 1] / counts[2, 1].sum()
    assert f"block 1, VERB: {counts[2, 1, 1]} of {counts[2, 1].sum()}, {100 * right:.1f}%" in view
    assert "block 1, X: no such word was tested" in view
    bits = given["codelength"][3]
    assert f"{bits.mean() / 1000:.2f} ± {bits.std() / 1000:.2f}" in view


def test_what_was_not_measured_is_not_shown() -> None:
    given = probed()
    bare = {key: given[key] for key in ("representations", "layers", "accuracy")}
    nothing = np.full((9, 3), np.nan)
    baselines = {"of the word": np.full(3, np.nan)}
    view = probe_view(**bare, control_accuracy=nothing, baselines=baselines)
    for word in ("selectivity", "kbit", "<details", "of the word", "nan"):
        assert word not in view.split("<script")[0].rpartition("</style>")[2], word
    many = [f"l{k}" for k in range(61)]
    crowded = {**given, "labels": many, "confusion": np.ones((9, 61, 61))}
    assert "<details" not in probe_view(**crowded)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codelength": np.zeros((9, 2))}, r"codelength: got shape \(9, 2\)"),
        ({"confusion": np.zeros((9, 3, 2))}, r"confusion: got shape \(9, 3, 2\)"),
        ({"baselines": {"b": np.full(2, 0.5)}}, r"b: got shape \(1, 2\)"),
    ],
)
def test_wrong_tables(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        probe_view(**{**probed(), **change})
