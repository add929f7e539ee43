"""Heat tables: levels that mean what they claim, and cells that say everything."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from heat_samples import every_record, hostile_records
from hypothesis import given
from hypothesis import strategies as st
from view_samples import HOSTILE, Outline, sanitised

from ecco_captum.display.colours import LEVELS, ramp_css
from ecco_captum.display.heat_table import (
    BLOCK,
    Cell,
    Field,
    Heat,
    HeatOptions,
    Row,
    blocks,
    cut,
    exact_rank,
    heat_blocks,
    heat_view,
    linear_levels,
    quoted,
    rank_levels,
)
from ecco_captum.display.page import page, part

VIEWS = {kind: str(record.fragment()) for kind, record in every_record().items()}
HOSTILE_VIEWS = {kind: str(record.fragment()) for kind, record in hostile_records().items()}
TABLES = [kind for kind in HOSTILE_VIEWS if kind != "order"]
SHADE = re.compile(r"background:rgba\(([\d,]+),(\d\.\d\d)\)")


def heat(columns: int = 2, **change: object) -> Heat:
    cells = [Cell(f"c{k}", f"says {k}", k % (LEVELS + 1)) for k in range(columns)]
    rows = [Row("embedding", cells), Row("block 0", cells)]
    return Heat("A name", "layer", [f"column {k}" for k in range(columns)], rows, **change)


@given(st.lists(st.integers(1, 300_000), min_size=1, max_size=50))
def test_a_better_rank_is_never_fainter(ranks: list[int]) -> None:
    levels = rank_levels(np.array(ranks))
    order = np.argsort(ranks, kind="stable")
    assert (np.diff(levels[order]) <= 0).all()
    assert ((levels >= 0) & (levels <= LEVELS)).all()
    assert (levels[np.array(ranks) == 1] == LEVELS).all()
    if max(ranks) > 1:
        assert levels[int(np.argmax(ranks))] == 0


def test_ranks_are_shaded_by_their_logarithm() -> None:
    assert rank_levels(np.array([1, 100, 10_000])).tolist() == [LEVELS, LEVELS // 2, 0]


def test_values_are_shaded_between_their_ends() -> None:
    values = np.array([-4.0, 0.0, 1.0, 2.0, 4.0])
    assert linear_levels(values, 0.0, 4.0).tolist() == [-LEVELS, 0, 8, 16, LEVELS]
    assert linear_levels(values, -4.0, 4.0).tolist() == [0, 16, 20, 24, LEVELS]
    assert linear_levels(values, 1.0, 1.0).tolist() == [0] * 5, "nothing to tell apart"


def test_long_ranks_are_exact_in_a_sentence() -> None:
    assert exact_rank(999) == "999"
    assert exact_rank(18_342) == "18k (18,342)"


def test_tokens_are_quoted_on_one_line_and_in_the_order_of_the_sentence() -> None:
    assert quoted(" Hungary") == "“Hungary”"
    assert quoted("\n") == "“↵”"
    assert quoted("") == "“⋯”"
    assert quoted(" שלום") == "“\u2068שלום\u2069”"
    assert len(quoted("x" * 300)) == 42
    assert cut("x" * 300) == "x" * 11 + "…"


def test_a_table_names_its_rows_and_columns_and_survives_untrusted_notebooks() -> None:
    read = Outline(sanitised(heat_blocks(heat(3, beside=("own",)))))
    assert [value for name, value in read.attributes if name == "scope"] == ["col"] * 5 + [
        "row"
    ] * 2
    assert [value for name, value in read.attributes if name == "title"][3:6] == [
        "says 0",
        "says 1",
        "says 2",
    ]
    for words in ("layer", "column 2", "own", "embedding", "block 0", "c1"):
        assert words in read.text


@pytest.mark.parametrize("kind", VIEWS)
def test_shades_of_untrusted_notebooks_are_translucent(kind: str) -> None:
    shades = SHADE.findall(sanitised(VIEWS[kind]))
    assert len(shades) > 4
    assert all(0 < float(alpha) <= 0.4 for _, alpha in shades)
    assert {hue for hue, _ in shades} <= {"139,98,225", "45,190,170"}


def test_shade_classes_and_inline_shades_agree() -> None:
    cells = [Cell("x", "s", level) for level in (-LEVELS, -8, 0, 8, LEVELS)]
    table = heat_blocks(Heat("n", "c", ["a"] * 5, [Row("r", cells)]))
    shown = re.findall(r"<td(.*?)>", table)
    classes = [re.findall(r'class="(ecco-\w+)"', text) for text in shown]
    assert classes == [[f"ecco-c{LEVELS}"], ["ecco-c8"], [], ["ecco-s8"], [f"ecco-s{LEVELS}"]]
    alphas = [[float(alpha) for _, alpha in SHADE.findall(text)] for text in shown]
    assert alphas == [[0.4], [0.1], [], [0.1], [0.4]]


def test_the_ramp_replaces_inline_shades_only_where_it_is_told_to() -> None:
    assert "!important" not in ramp_css()
    rules = [line for line in ramp_css(within=".ecco-heat").splitlines() if "background" in line]
    assert len(rules) == LEVELS
    assert all(rule.startswith(".ecco .ecco-heat .ecco-s") for rule in rules)
    assert all(re.search(r"background-color:[^;]+!important", rule) for rule in rules)


@pytest.mark.parametrize("columns", [1, BLOCK, BLOCK + 1, 500])
def test_many_columns_are_cut_into_tables(columns: int) -> None:
    drawn = heat_blocks(heat(columns), "outputs")
    tables = -(-columns // BLOCK)
    assert drawn.count("<table") == tables
    assert drawn.count("<details>") == tables - 1
    assert len(re.findall("says ", drawn)) == 2 * columns
    if tables > 1:
        assert f"outputs {BLOCK}–{min(columns, 2 * BLOCK) - 1}</summary>" in drawn
    assert blocks(columns)[-1].stop == columns


def test_fields_follow_the_order_of_the_cells_on_the_page() -> None:
    columns = BLOCK + 5
    numbers = np.arange(2 * columns).reshape(2, columns)
    texts = [[str(number) for number in row] for row in numbers.tolist()]
    field = Field("rank", "rank", texts, numbers % (LEVELS + 1), ("9", "1"), 30)
    rows = [Row(f"r{k}", [Cell(t, t, 0) for t in texts[k]]) for k in range(2)]
    drawn = heat_blocks(Heat("n", "c", ["x"] * columns, rows), "outputs")
    packed = field.packed()
    assert packed["texts"] == " ".join(re.findall(r"<td[^>]*>(\d+)</td>", drawn))
    levels = [int(digit, 36) for digit in str(packed["levels"])]
    assert levels == [int(text) % (LEVELS + 1) for text in str(packed["texts"]).split()]


def test_the_scale_can_be_read_without_its_ramp() -> None:
    scale = sanitised(part("scale", "rank, log", "46k", "1"))
    assert Outline(scale).text == "rank, log: 46k to 1"
    assert "ecco-signed" in part("scale", "nats", "−2", "2", signed=True)


def test_what_scripts_add_is_not_there_without_them() -> None:
    plain = sanitised(VIEWS["rankings"])
    assert "ecco-cell-readout" not in plain
    assert "button" not in plain


@pytest.mark.parametrize("kind", HOSTILE_VIEWS)
def test_hostile_texts_stay_texts(kind: str) -> None:
    view = HOSTILE_VIEWS[kind]
    page(view, title="t").encode("utf-8")
    read = Outline(view)
    assert not {"img", "i"} & set(read.tags)
    assert read.tags.count("script") == 2 * (kind in TABLES)
    assert read.tags.count("style") == 1
    assert read.comments == []
    assert not [name for name, _ in read.attributes if name.startswith("on")]
    shown = Outline(sanitised(view)).text + " ".join(v or "" for _, v in read.attributes)
    assert "</script><scr" in shown
    assert "U+202E" in shown or "RLO" in shown
    if kind in TABLES:
        json.loads(read.script_texts[0])


def test_views_of_different_content_have_different_keys() -> None:
    views = [*VIEWS.values(), *(HOSTILE_VIEWS[kind] for kind in TABLES)]
    keys = [re.search(r'data-view="(\w+)"', view) for view in views]
    assert len({key.group(1) for key in keys if key}) == len(views)
    assert not any(re.search(r"\sid=", view) for view in views), "ids could collide"


def test_a_view_of_many_cells_stays_small() -> None:
    cells = [Cell("token", "x" * 120, 7)] * 500
    rows = [Row(f"block {k}", cells) for k in range(31)]
    drawn = heat_blocks(Heat("n", "layer", ["x"] * 500, rows), "outputs")
    assert len(heat_view(drawn, HeatOptions(50), title="t")) < 4e6


def test_hostile_texts_reach_every_view() -> None:
    for kind, view in HOSTILE_VIEWS.items():
        shown = Outline(sanitised(view)).text
        assert sum(visible in shown for visible in ("]]>", "&lt;", "$x^2$", "-->")) == 4, kind
    assert len(HOSTILE) > 20
