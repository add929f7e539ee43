"""Records that version 0.1.0 saved are read by every later version."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ecco_captum import load_record

FOLDER = Path(__file__).parents[1] / "saved_records"
FILES = sorted(FOLDER.glob("*.npz"))
KINDS = {
    "activations": "Activations",
    "attribution": "Attribution",
    "by_word": "Attribution",
    "canonical": "CanonicalCorrelations",
    "comparison": "Comparison",
    "effect": "FactorEffect",
    "factors": "Factors",
    "faithfulness": "Faithfulness",
    "generation": "Generation",
    "methods": "MethodComparison",
    "minimal_pairs": "MinimalPairs",
    "order": "OrderTest",
    "predictions": "LayerPredictions",
    "probes": "ProbeReport",
    "rankings": "Rankings",
    "report": "Report",
    "similarity": "Similarity",
    "tested": "Faithfulness",
    "watched": "WatchedRankings",
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_saved_record_is_read_with_every_array_as_it_was(path: Path) -> None:
    record = load_record(path)
    assert type(record).__name__ == KINDS[path.stem]
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
    with np.load(path) as saved:
        fields = json.loads(str(saved["__record__"][()]))["record"]["fields"]
        compared = 0
        for name in names:
            # An array of the record itself: its path in the file is "/field".
            field = name.removeprefix("/")
            if fields.get(field, {}) == {"!array": name} and field not in type(record)._dropped:
                np.testing.assert_array_equal(getattr(record, field), saved[name])
                compared += 1
    assert compared or path.stem == "report"
    current = {field.name for field in dataclasses.fields(record)}
    known = {type(record)._renamed.get(name, name) for name in fields}
    assert known - set(type(record)._dropped) <= current
    assert repr(record)


def test_every_kind_of_record_is_among_them() -> None:
    assert {path.stem for path in FILES} == set(KINDS)
