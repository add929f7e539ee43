"""Probes as a page: every number, lines with bands, and what each label is predicted as."""

from __future__ import annotations

import re

import numpy as np
from record_samples import probes

POINTS = re.compile(r'<polyline points="([^"]+)"')
BANDS = re.compile(r'<polygon class="ecco-band" points="([^"]+)"')


def heights(points: str) -> np.ndarray:
    return np.array([float(point.split(",")[1]) for point in points.split()])


def test_lines_are_the_means_and_bands_their_deviations() -> None:
    record = probes()
    view = record.fragment()
    lines, bands = POINTS.findall(view), BANDS.findall(view)
    assert len(lines) == len(bands) == 2 * 5, "accuracy, control, selectivity and two baselines"
    accuracy = record.accuracy[:5]
    # The first line is drawn last, so that it lies on top; heights are linear in the numbers.
    drawn, means = heights(lines[4]), accuracy.mean(axis=1)
    scale = np.polyfit(means, drawn, 1)
    np.testing.assert_allclose(np.polyval(scale, means), drawn, atol=0.1)
    low, high = np.split(heights(bands[4]), 2)
    deviations = accuracy.std(axis=1)
    np.testing.assert_allclose(np.polyval(scale, means - deviations), low, atol=0.1)
    np.testing.assert_allclose(np.polyval(scale, means + deviations), high[::-1], atol=0.1)


def test_labels_are_counted_by_what_they_are_predicted_as() -> None:
    record = probes()
    view, counts = record.fragment(), record.confusion
    best = int(np.diagonal(counts[:5], axis1=1, axis2=2).sum(axis=1).argmax())
    wrong, of = counts[best, 0, 1], counts[best, 0].sum()
    assert f"NOUN predicted as VERB: {wrong} of {of}, {100 * wrong / of:.1f}%" in view
    right, of = counts[2, 1, 1], counts[2, 1].sum()
    assert f"block 1, VERB: {right} of {of}, {100 * right / of:.1f}%" in view
    assert "block 1, X: no such word was tested" in view
    bits = record.codelength[3, :, 0]
    assert f"{bits.mean() / 1000:.2f} ± {bits.std() / 1000:.2f}" in view


def test_what_was_not_measured_is_not_shown() -> None:
    nothing = {"control_accuracy": np.full((9, 3), np.nan), "by_type": np.full(3, np.nan)}
    view = probes(**nothing, codelength=None).fragment()
    shown = view.split("<script")[0].rpartition("</style>")[2]
    for word in ("selectivity", "kbit", "of the word", "nan"):
        assert word not in shown, word
    many = [f"l{k}" for k in range(61)]
    assert "<details" in view
    assert "<details" not in probes(labels=tuple(many), confusion=np.ones((9, 61, 61))).fragment()


def test_the_page_holds_every_number() -> None:
    record = probes()
    page = record.to_html()
    for values in (record.accuracy, record.control_accuracy, record.selectivity):
        for trials in values:
            assert f"{100 * trials.mean():.1f}% ± {100 * trials.std():.1f}" in page
            assert f"{100 * trials[0]:.1f}%" in page
    assert "most frequent label: 15.0% ± 0.0; most frequent of the word: 79.0% ± 0.0" in page
    assert record.title == "What does each layer know?"
    assert record.title in page
