"""Values on disk are indexed as numpy does it, one axis at a time."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecco_captum.activations import store as activations_store
from ecco_captum.activations.record import Activations
from ecco_captum.activations.store import Store, open_for_append
from ecco_captum.core.record import load_record
from ecco_captum.core.stored_array import StoredValues, opened_group
from ecco_captum.core.tokens import Tokens

VALUES = np.random.default_rng(0).normal(size=(3, 50, 7)).astype(np.float32)


def description(**changes: Any) -> dict[str, Any]:
    told = {"kind": "neurons", "stack": "decoder", "model": "m", "layers": [0, 4, 5]}
    return {**told, "dtype": "float32", "features": 7, **changes}


@pytest.fixture(scope="module", autouse=True)
def small_chunks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(activations_store, "_CHUNK_BYTES", 240)
        yield


def written(path: Path, runs: tuple[int, ...] = (20, 1, 29)) -> Activations:
    """A folder of VALUES, written in several runs."""
    with open_for_append(path):
        store = Store(path, description())
        start = 0
        for size in runs:
            texts = tuple(f"w{k}é\n" if k % 5 else "" for k in range(start, start + size))
            tokens = Tokens(np.arange(start, start + size), texts, size)
            values = VALUES[:, start : start + size]
            store.append(values, tokens, np.array([0]), [2**64 - 1 - start])
            start += size
        store.complete()
    return Activations.open(path)


@pytest.fixture(scope="module")
def acts(tmp_path_factory: pytest.TempPathFactory) -> Activations:
    return written(tmp_path_factory.mktemp("store") / "acts.zarr")


@pytest.mark.parametrize(
    "index",
    [
        *(0, -1, np.int64(2), slice(None), slice(1, None), [2, 0], np.array([1])),
        *((1, 3), (1, -1, 2), (slice(None), slice(5, 40, 7)), (0, slice(None, None, -2))),
        *((slice(0, 0),), (1, slice(60, 90)), (slice(None), 3), (slice(1), slice(2), -1)),
        *((0, [4, 1, 4]), (0, slice(-9, -3), slice(-2, None))),
        (1, np.arange(50) % 3 == 0),
    ],
    ids=repr,
)
def test_it_reads_what_numpy_reads(acts: Activations, index: Any) -> None:
    found = acts.values[index]
    np.testing.assert_array_equal(found, VALUES[index])
    assert found.dtype == VALUES.dtype


def test_lists_act_on_their_own_axis(acts: Activations) -> None:
    found = acts.values[[2, 0], [4, 1, 30], [6, 0]]
    np.testing.assert_array_equal(found, VALUES[np.ix_([2, 0], [4, 1, 30], [6, 0])])
    np.testing.assert_array_equal(acts.values[2, :, [6, 0]], VALUES[2][:, [6, 0]])


@pytest.mark.parametrize("index", [3, -4, (0, 50), (0, 0, -8), (0, 0, 0, 0), None, Ellipsis])
def test_what_is_not_there(acts: Activations, index: Any) -> None:
    with pytest.raises(IndexError):
        acts.values[index]


def test_it_has_the_shape_of_an_array(acts: Activations) -> None:
    values = acts.values
    assert isinstance(values, StoredValues)
    assert (values.shape, values.ndim, len(values), values.nbytes) == ((3, 50, 7), 3, 3, 4200)
    np.testing.assert_array_equal(np.asarray(values), VALUES)
    np.testing.assert_array_equal(np.asarray(values, dtype=np.float64), VALUES)
    with pytest.raises(ValueError, match="on disk can only be read as a copy"):
        np.array(values, copy=False)


def test_the_record_around_it(acts: Activations) -> None:
    assert acts.shape == (3, 50, 7)
    assert acts.layers.tolist() == [0, 4, 5]
    assert acts.sequences.tolist() == [0, 20, 21]
    assert acts.tokens.texts[:3] == ("", "w1é\n", "w2é\n")
    assert acts.tokens.ids.tolist() == list(range(50))
    np.testing.assert_array_equal(acts.layer(4), VALUES[1])
    some = acts.of_layers([0, 2])
    assert some.layers.tolist() == [0, 5]
    assert isinstance(some.values, StoredValues)
    np.testing.assert_array_equal(some.values[1], VALUES[2])
    assert acts.of_layers(None) is acts
    parts = list(acts.parts(18))
    assert [where for where, _ in parts] == [slice(0, 18), slice(18, 36), slice(36, 50)]
    np.testing.assert_array_equal(np.concatenate([part for _, part in parts], axis=1), VALUES)
    assert len(acts.to_pandas()) == 150


def test_saved_and_pickled_it_stays_where_it_is(acts: Activations, tmp_path: Path) -> None:
    for again in (
        load_record(acts.of_layers([1]).save(tmp_path / "a.npz")),
        pickle.loads(pickle.dumps(acts.of_layers([1]))),
    ):
        assert isinstance(again, Activations)
        assert again.tokens.texts == acts.tokens.texts
        np.testing.assert_array_equal(again.values[0], VALUES[1])
    assert (tmp_path / "a.npz").stat().st_size < 4000


def test_it_is_zarr_v3_chunked_by_layer_and_tokens(acts: Activations) -> None:
    import zarr

    values = zarr.open_array(f"{acts.values.path}/values", mode="r")  # type: ignore[union-attr]
    assert values.metadata.zarr_format == 3
    assert values.chunks == (1, 8, 7)
    assert values.metadata.dimension_names == ("layer", "token", "feature")
    assert values.compressors


def test_another_run_in_its_place_is_an_error(tmp_path: Path) -> None:
    acts = written(tmp_path / "acts.zarr")
    for file in sorted((tmp_path / "acts.zarr").rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    written(tmp_path / "acts.zarr")
    with pytest.raises(ValueError, match="holds what another run has written since"):
        acts.values[0]


def test_folders_that_hold_something_else(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"path: there is no folder"):
        Activations.open(tmp_path / "none.zarr")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"path: .* holds no activations"):
        Activations.open(tmp_path / "other")
    with pytest.raises(ValueError, match=r"store: the folder .* holds something else"):
        open_for_append(tmp_path / "other").__enter__()
    with pytest.raises(ValueError, match=r"store: .* is a file, accepts a folder"):
        open_for_append(tmp_path / "other" / "file.txt").__enter__()
    with pytest.raises(FileNotFoundError, match=r"store: there is no folder"):
        open_for_append(tmp_path / "none" / "acts.zarr").__enter__()
    assert [file.name for file in tmp_path.rglob("*")] == ["other", "file.txt"]
    import zarr

    zarr.create_group(str(tmp_path / "theirs"), zarr_format=3)
    with pytest.raises(ValueError, match="holds no activations of ecco-captum"):
        Activations.open(tmp_path / "theirs")


def test_a_newer_format_and_an_unfinished_run_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "acts.zarr"
    written(path)
    group = opened_group(path, mode="r+")
    mark = dict(group.attrs["ecco_captum"])
    group.attrs.put({"ecco_captum": {**mark, "complete": False}})
    with pytest.raises(ValueError, match="has not finished, 3 texts are there; call it again"):
        Activations.open(path)
    group.attrs.put({"ecco_captum": {**mark, "format": 99}})
    with pytest.raises(ValueError, match="has format 99, this version reads up to 1"):
        Activations.open(path)


def test_one_process_writes_at_a_time_and_nothing_empty_is_left(tmp_path: Path) -> None:
    path = tmp_path / "acts.zarr"
    with (
        open_for_append(path),
        pytest.raises(ValueError, match="another process is writing to"),
    ):
        open_for_append(path).__enter__()
    assert not path.exists()


def test_what_a_run_that_was_cut_off_left_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "acts.zarr"
    tokens = Tokens(np.arange(20), ("a",) * 20, 20)
    with open_for_append(path):
        store = Store(path, description())
        store.append(VALUES[:, :20], tokens, np.array([0, 9]), [1, 2])
        # A longer run that was killed before it could say so.
        store._extend("values", 20, np.full((3, 25, 7), 9, np.float32), axis=1)
        store._extend("ids", 20, np.full(25, 9))
        (path / "values" / "c.0123.partial").write_bytes(b"half")
    with open_for_append(path):
        store = Store(path, description())
        assert (store.texts, store.tokens, store.digests()) == (2, 20, [1, 2])
        assert not list(path.rglob("*.partial"))
        np.testing.assert_array_equal(store.first(9), VALUES[:, :9])
        more = Tokens(np.arange(20, 24), ("b",) * 4, 4)
        store.append(VALUES[:, 20:24], more, np.array([0]), [3])
        store.complete()
    acts = Activations.open(path)
    np.testing.assert_array_equal(np.asarray(acts.values), VALUES[:, :24])
    np.testing.assert_array_equal(acts.values[:, -5:], VALUES[:, 19:24])
    assert acts.tokens.ids.tolist() == list(range(24))
    assert acts.sequences.tolist() == [0, 9, 20]
    with (
        open_for_append(path),
        pytest.raises(ValueError, match="holds dtype 'float32', this run has"),
    ):
        Store(path, description(dtype="float16"))
