"""Records: frozen, saved and read back as they were, and written whole or not at all."""

from __future__ import annotations

import dataclasses
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ecco_captum
from ecco_captum.attribution.record import Attribution
from ecco_captum.core.tokens import Tokens
from ecco_captum.generation.record import Generation


@pytest.fixture
def attribution() -> Attribution:
    ids = np.array([5, 6, 7, 8])
    generation = Generation(
        prompt_ids=ids[:2],
        output_ids=ids[2:],
        tokens=Tokens(ids, ("a", " \ud7ff", "🙂", "\n"), 2),
        logits=np.array([1.5, np.float32(1 / 3)], dtype=np.float32),
        logprobs=np.array([-0.1, -0.2], dtype=np.float32),
        ranks=np.array([1, 2]),
        start_ids=np.array([], dtype=np.int64),
        model="m",
        settings={"seed": None, "do_sample": False, "max_new_tokens": 2},
    )
    scores = np.array([[1, 3, 0, 0], [0, 0, 0, 0]], dtype=np.float32)
    return Attribution(generation, scores, "input_x_gradient")


def test_a_record_comes_back_as_it_was(attribution: Attribution, tmp_path: Path) -> None:
    attribution.save(tmp_path / "a.npz")
    again = ecco_captum.load_record(tmp_path / "a.npz")
    assert isinstance(again, Attribution)
    assert again.scores.dtype == np.float32
    assert np.array_equal(again.scores, attribution.scores)
    for field in dataclasses.fields(Generation):
        before, after = (getattr(r.generation, field.name) for r in (attribution, again))
        if isinstance(before, np.ndarray):
            assert np.array_equal(before, after)
            assert before.dtype == after.dtype
        elif isinstance(before, Tokens):
            assert before.texts == after.texts
            assert before.prompt_length == after.prompt_length
        else:
            assert before == after
    assert Attribution.load(tmp_path / "a.npz").method == attribution.method


def test_records_are_read_only_and_leave_the_callers_arrays_alone() -> None:
    ids = np.arange(3)
    tokens = Tokens(ids, ("a", "b", "c"), 2)
    given = np.zeros(1, dtype=np.float32)
    record = Generation(
        ids[:2], ids[2:], tokens, given, given.copy(), ids[:1] + 1, ids[:0], "m", {}
    )
    for array in (record.prompt_ids, record.logits):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    given[0] = 1
    ids[0] = 9
    assert record.prompt_ids.tolist() == [0, 1]
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.model = "other"  # type: ignore[misc]


def test_shares_add_up_to_one_and_an_empty_row_stays_zero(attribution: Attribution) -> None:
    assert attribution.shares.tolist() == [[0.25, 0.75, 0, 0], [0, 0, 0, 0]]


def test_the_table_has_a_row_a_pair(attribution: Attribution) -> None:
    table = attribution.to_pandas()
    assert len(table) == 2 + 3
    row = table.iloc[1]
    assert (row.output, row.position, row.source_token, row.score) == (0, 1, " \ud7ff", 3)


def test_without_pandas_it_says_what_to_install(
    attribution: Attribution, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    message = re.escape("tables need pandas: pip install 'ecco-captum[data]'")
    for record in (attribution, attribution.generation):
        with pytest.raises(ImportError, match=message):
            record.to_pandas()


def test_an_interrupted_write_leaves_the_old_file(
    attribution: Attribution, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = attribution.save(tmp_path / "a.npz")
    before = path.read_bytes()

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        attribution.save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.npz"]


def test_files_that_are_no_records_are_refused(attribution: Attribution, tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no zip at all")
    np.savez(tmp_path / "other.npz", a=np.zeros(2))
    with zipfile.ZipFile(tmp_path / "zip.npz", "w") as archive:
        archive.writestr("x", "y")
    for name in ("text.npz", "other.npz", "zip.npz"):
        with pytest.raises(ValueError, match="holds no record"):
            ecco_captum.load_record(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"nothing\.npz"):
        ecco_captum.load_record(tmp_path / "nothing.npz")
    with pytest.raises(FileNotFoundError, match="no folder"):
        attribution.save(tmp_path / "absent" / "a.npz")
    attribution.generation.save(tmp_path / "g.npz")
    with pytest.raises(ValueError, match="holds a Generation, not a Attribution"):
        Attribution.load(tmp_path / "g.npz")


def test_html_is_written_to_the_file_and_returned(attribution: Attribution, tmp_path: Path) -> None:
    text = attribution.to_html(tmp_path / "a.html")
    assert (tmp_path / "a.html").read_text(encoding="utf-8") == text
    assert text.startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "rankings",
            {"probs": np.zeros((2, 3))},
            "probs: got shape (2, 3), accepts (layers, columns)",
        ),
        ("watched", {"logits": np.zeros((4, 4, 4))}, "logits: got shape (4, 4, 4), accepts"),
        ("predictions", {"ranks": np.zeros(1)}, "ranks: got shape (1,), accepts (layers) = ("),
        ("minimal_pairs", {"prompts": ("one",)}, "filler_ids: got shape"),
        (
            "similarity",
            {"null_95": np.zeros(3)},
            "null_95: got shape (3,), accepts (rows, columns)",
        ),
        ("probes", {"accuracy": np.zeros((1, 1))}, "accuracy: got shape (1, 1), accepts (rows"),
        ("factors", {"contributions": np.zeros(99)}, "contributions: got shape (99,)"),
        ("generation", {"logits": np.zeros(99)}, "logits: got shape (99,), accepts (outputs) = ("),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(
    name: str, change: dict[str, Any], message: str
) -> None:
    record = ecco_captum.load_record(Path(__file__).parents[1] / "saved_records" / f"{name}.npz")
    with pytest.raises(ValueError, match=re.escape(message)):
        dataclasses.replace(record, **change)
