"""Similarities as a figure for a paper: every number in its cell, and grey where chance is."""

from __future__ import annotations

import json

import numpy as np
from figure_samples import MADE, texts_of
from matplotlib.colors import to_hex
from record_samples import similarity

from ecco_captum.core.text import format_fixed
from ecco_captum.display.colours import COLORS


def test_every_number_stands_in_its_cell_and_what_chance_explains_is_grey() -> None:
    record = similarity()
    drawn = record.plot()
    shown = texts_of(drawn)
    for value in np.unique(record.values):
        times = int((record.values == value).sum())
        assert shown.count(format_fixed(value).replace("0.", ".")) == times
    mesh = drawn.axes[0].collections[0]
    cells, colors = mesh.get_array(), mesh.to_rgba(mesh.get_array())
    chance = record.values <= record.null_95
    np.testing.assert_array_equal(cells.mask, chance)
    assert {to_hex(color) for color in colors[chance]} == {COLORS["line"][0]}
    high = max(np.abs(record.values).max(), np.abs(record.null_mean).max())
    assert record.scale == (-high, high), "some values are below 0"
    np.testing.assert_allclose(
        mesh.norm(cells.compressed()), 0.5 + record.values[~chance] / (2 * high)
    )
    assert {format_fixed(-high), "0.00", format_fixed(high)} <= {*shown}
    assert any("PWCCA; grey: no more than chance" in text for text in shown)


def test_the_page_and_the_figure_have_one_scale_that_starts_at_0() -> None:
    for values in (np.linspace(0.228, 1, 20), np.linspace(-0.32, 1, 20)):
        record = similarity(
            values=values.reshape(5, 4), null_mean=np.full((5, 4), 0.1), null_95=-np.ones((5, 4))
        )
        low, high = record.scale
        assert (low, high) == (-1.0 if values[0] < 0 else 0.0, 1.0)
        mesh = record.plot().axes[0].collections[0]
        assert (mesh.norm.vmin, mesh.norm.vmax) == (low, high)
        white = mesh.cmap(mesh.norm(0.0))
        np.testing.assert_allclose(white[:3], 1.0, atol=0.01)
        page = record.fragment()
        ends = f"<span>{format_fixed(low)}</span>"
        assert ends in page
        assert ("ecco-c10" in page.split("</style>")[1]) == (low < 0)
        data = json.loads(page.split('application/json">')[1].split("</script>")[0])
        levels = data["fields"][0]["levels"]
        if low < 0:
            assert levels[0] == round(32 * values[0])
        else:
            assert int(levels[0], 36) == round(32 * values[0])


def test_where_all_is_chance_all_is_grey() -> None:
    drawn = similarity(null_95=np.ones((5, 4))).plot()
    assert drawn.axes[0].collections[0].get_array().mask.all()
    assert {".96", "−.20"} <= {*texts_of(drawn)}


def test_a_record_without_a_null_has_no_grey() -> None:
    missing = np.full((5, 4), np.nan)
    drawn = similarity(null_mean=missing, null_95=missing).plot()
    assert not np.ma.getmaskarray(drawn.axes[0].collections[0].get_array()).any()
    assert "grey" not in " ".join(texts_of(drawn))


def test_cells_too_small_for_numbers_have_none() -> None:
    assert not {".96", "1.00"} & {*texts_of(MADE["many layers"](width=3.35))} - {"0.96"}
