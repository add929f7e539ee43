"""Probes as a figure for a paper: lines of means at their layers, with bands."""

from __future__ import annotations

import numpy as np
from figure_samples import texts_of
from record_samples import FEW, probes


def test_the_figure_holds_the_means_at_their_layers() -> None:
    record = probes()
    drawn = record.plot(title="What?")
    upper, lower = drawn.axes
    hidden, neurons, baseline = upper.lines
    np.testing.assert_allclose(hidden.get_ydata(), record.accuracy[:5].mean(axis=1))
    assert np.isnan(neurons.get_ydata()[0]), "the embedding has no neurons"
    np.testing.assert_allclose(neurons.get_ydata()[1:], record.accuracy[5:].mean(axis=1))
    np.testing.assert_allclose(baseline.get_ydata(), 0.79)
    for axes, values in ((upper, record.accuracy), (lower, record.selectivity)):
        assert len(axes.collections) == 2, "a band of each"
        band = axes.collections[0].get_paths()[0].vertices
        ends = np.sort([y for x, y in band if x == 4])[[0, -1]]
        mean, deviation = values[4].mean(), values[4].std()
        np.testing.assert_allclose(ends, [mean - deviation, mean + deviation])
    np.testing.assert_allclose(lower.lines[0].get_ydata(), record.selectivity[:5].mean(axis=1))
    shown = " ".join(texts_of(drawn))
    for text in ("accuracy", "selectivity", "hidden", "neurons", "word's label", "embedding", "%"):
        assert text in shown


def test_what_was_not_measured_is_not_drawn() -> None:
    bare = probes(control_accuracy=np.full((9, 3), np.nan), by_type=np.full(3, np.nan)).plot()
    assert len(bare.axes) == 1
    assert not {"word's label", "selectivity"} & {*texts_of(bare)}


def test_the_embedding_comes_first_whatever_the_order_of_rows() -> None:
    record = probes()
    turned = {name: getattr(record, name)[::-1] for name in ("representations", "layers")}
    for name in ("accuracy", "control_accuracy"):
        turned[name] = getattr(record, name)[::-1]
    drawn = probes(**turned).plot()
    assert "embedding" in texts_of(drawn)
    neurons = drawn.axes[0].lines[0].get_ydata()
    assert np.isnan(neurons[0])
    assert FEW[0] == drawn.axes[1].get_xticklabels()[0].get_text()
