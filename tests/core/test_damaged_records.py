"""A damaged file is a ValueError that names it; what is read without one is what was saved."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest

import ecco_captum
from ecco_captum import Faithfulness, Record, load_record
from ecco_captum.core.record import _Classes
from ecco_captum.core.stored_array import StoredValues
from ecco_captum.core.tokens import Tokens
from ecco_captum.generation.record import Generation
from ecco_captum.testing.records import _check_equal

FILES = sorted((Path(__file__).parents[1] / "saved_records").glob("*.npz"))
each_file = pytest.mark.parametrize("saved", FILES, ids=lambda path: path.stem)
GENERATION = next(path for path in FILES if path.stem == "generation")


def read_or_refuse(path: Path, whole: Record) -> bool:
    """Whether a file is refused; one that is read must hold what was saved."""
    message = ""
    try:
        _check_equal(load_record(path), whole, "read")
    except ValueError as error:
        message = str(error)
    assert not message or message.startswith(f"path: {str(path)!r} ")
    return bool(message)


def contents(saved: Path) -> dict[str, np.ndarray]:
    with np.load(saved) as file:
        return {name: file[name] for name in file.files}


def names_of(arrays: dict[str, np.ndarray]) -> list[str]:
    """Arrays to damage, one after the other; of a report, whose parts are in other files, some."""
    names = sorted(arrays.keys() - {"__record__"})
    # Fields that a later version no longer reads.
    names = [name for name in names if name.rpartition("/")[2] not in Faithfulness._dropped]
    return names[:: 1 + len(names) // 20]


def write(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    np.savez(path, allow_pickle=True, **arrays)
    return path


def changed(saved: Path, path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A copy of a file whose description is another one."""
    arrays = contents(saved)
    meta = json.loads(str(arrays["__record__"]))
    change(meta)
    return write(path, {**arrays, "__record__": np.array(json.dumps(meta))})


def refused(path: Path) -> str:
    """What the error says of a damaged file."""
    with pytest.raises(ValueError, match="is damaged: ") as caught:
        load_record(path)
    start = f"path: {str(path)!r} is damaged: "
    assert str(caught.value).startswith(start)
    return str(caught.value).removeprefix(start)


@each_file
def test_a_cut_file(saved: Path, tmp_path: Path) -> None:
    data, whole = saved.read_bytes(), load_record(saved)
    path = tmp_path / "cut.npz"
    for end in np.linspace(0, len(data) - 1, 40).astype(int):
        path.write_bytes(data[:end])
        assert read_or_refuse(path, whole), end


@each_file
def test_changed_bytes(saved: Path, tmp_path: Path) -> None:
    data, whole = saved.read_bytes(), load_record(saved)
    path = tmp_path / "changed.npz"
    generator = np.random.default_rng(len(data))
    # Half of them where the zip keeps names, sizes and places.
    directory = data.index(b"PK\x01\x02")
    places = [*generator.integers(0, len(data), 40), *generator.integers(directory, len(data), 40)]
    results = []
    for place in places:
        flipped = bytearray(data)
        flipped[place] ^= int(generator.integers(1, 256))
        path.write_bytes(flipped)
        results.append(read_or_refuse(path, whole))
    assert any(results)


@each_file
def test_a_missing_array(saved: Path, tmp_path: Path) -> None:
    arrays = contents(saved)
    for name in names_of(arrays):
        rest = {other: array for other, array in arrays.items() if other != name}
        assert refused(write(tmp_path / "a.npz", rest)).endswith(f"the array {name!r} is missing")


@each_file
def test_an_array_of_another_type_or_shape(saved: Path, tmp_path: Path) -> None:
    arrays = contents(saved)
    for name in names_of(arrays):
        array = arrays[name]
        others = [array.astype(str), array.astype(complex), array.astype("M8[s]"), array[None]]
        others += [np.array(1), array.astype(object)]
        if array.dtype.kind == "i":
            others.append(array.astype(float))
        for other in others:
            path = write(tmp_path / "a.npz", {**arrays, name: other})
            assert refused(path), (name, other.dtype, other.shape)


@each_file
def test_an_array_of_another_length(saved: Path, tmp_path: Path) -> None:
    arrays = contents(saved)
    # Axes of whose length nothing else in the record speaks.
    free = {"shuffled": 0, "start_ids": 0, "sequences": 0, "neurons": 0, "stability": 0}
    free |= {"random_changes": 0, "x_directions": 0, "y_directions": 0, "rates": 2}
    free |= {"values": 2} if saved.stem == "activations" else {}
    compared = 0
    for name in names_of(arrays):
        array = arrays[name]
        for axis in range(array.ndim):
            if axis == free.get(name.rpartition("/")[2]) or not array.size:
                continue
            longer = np.concatenate([array, array.take([0], axis)], axis)
            assert refused(write(tmp_path / "a.npz", {**arrays, name: longer})), (name, axis)
            compared += 1
    assert compared or saved.stem == "order"


@each_file
def test_a_field_of_another_type(saved: Path, tmp_path: Path) -> None:
    meta = json.loads(str(contents(saved)["__record__"]))
    kind = type(load_record(saved))
    hints = get_type_hints(kind, localns=_Classes())
    for name in meta["record"]["fields"]:
        if hints.get(name) in (None, dict[str, Any]):
            continue
        for value in ([[]], {"!record": "Tokens", "fields": {}}, True):

            def put(meta: dict[str, Any], name: str = name, value: Any = value) -> None:
                meta["record"]["fields"][name] = value

            assert refused(changed(saved, tmp_path / "a.npz", put)), (name, value)


def test_fields_that_are_missing_or_unknown(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    message = refused(changed(GENERATION, path, lambda m: m["record"]["fields"].pop("tokens")))
    assert "tokens: a Generation needs this field, and it is missing" in message
    message = refused(changed(GENERATION, path, lambda m: m["record"]["fields"].update(mood=1)))
    assert "mood: a Generation has no such field" in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "1"}, "its description has no whole number 'format'"),
        ({"format": None}, "its description has no whole number 'format'"),
        ({"record": ["Generation"]}, "no record is at its root"),
        ({"record": {"!array": "/logits"}}, "no record is at its root"),
        ({"record": {"!array": ["/logits"]}}, "the array ['/logits'] is missing"),
        ({"record": {"!record": ["Generation"], "fields": {}}}, "it holds a ['Generation']"),
        ({"record": {"!record": "os.system", "fields": {}}}, "it holds a 'os.system'"),
        ({"record": {"!record": "Generation", "fields": 3}}, "the record: got 3 for fields"),
        ({"record": {"!record": "Generation"}}, "the record: got None for fields"),
    ],
)
def test_a_description_of_another_form(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    assert message in refused(changed(GENERATION, tmp_path / "a.npz", lambda m: m.update(change)))


def test_a_record_of_another_class_in_its_place(tmp_path: Path) -> None:
    saved = GENERATION.with_name("attribution.npz")
    other = json.loads(str(contents(GENERATION.with_name("order.npz"))["__record__"]))["record"]
    arrays = contents(GENERATION.with_name("order.npz"))

    def put(meta: dict[str, Any]) -> None:
        meta["record"]["fields"]["generation"] = other

    path = changed(saved, tmp_path / "a.npz", put)
    path = write(path, {**arrays, **contents(path)})
    assert "generation: got a OrderTest, accepts a Generation" in refused(path)


@pytest.mark.parametrize("opening", ["[", '{"a":', '{"!record":"Tokens","fields":{"a":'])
@pytest.mark.parametrize("depth", [600, 100_000])
def test_nested_brackets(opening: str, depth: int, tmp_path: Path) -> None:
    arrays = contents(GENERATION)
    closing = {"[": "]", '{"a":': "1}"}.get(opening, "1}}")
    deep = opening * depth + closing[0] * (closing[0] == "1") + closing.strip("1") * depth
    text = f'{{"format": 1, "record": {deep}}}'
    assert refused(write(tmp_path / "a.npz", {**arrays, "__record__": np.array(text)}))


def with_header(path: Path, header: str, data: bytes = b"") -> Path:
    """A file one of whose arrays has a header of its own."""
    text = header.encode("latin1") + b"\n"
    member = io.BytesIO()
    member.write(b"\x93NUMPY\x02\x00" + len(text).to_bytes(4, "little") + text + data)
    with zipfile.ZipFile(GENERATION) as archive, zipfile.ZipFile(path, "w") as other:
        for name in archive.namelist():
            changed = name == "/logits.npy"
            other.writestr(name, member.getvalue() if changed else archive.read(name))
    return path


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("[" * 100_000, "has a header that cannot be read"),
        ("(" * 5000 + ")" * 5000, "has a header that cannot be read"),
        ("{'descr': '<f8', 'fortran_order': False}", "has a header that cannot be read"),
        ("{'descr': '<f9', 'fortran_order': False, 'shape': (6,)}", "a header that cannot be"),
        (
            "{'descr': '<f8', 'fortran_order': False, 'shape': (100000000000,)}",
            "claims 800,000,000,000 bytes in its header, and has 24",
        ),
        (
            "{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -3)}",
            "has a header that cannot be read",
        ),
        ("{'descr': '|O', 'fortran_order': False, 'shape': (6,)}", "holds object"),
        ("{'descr': '<U0', 'fortran_order': False, 'shape': (10000000000,)}", "holds <U0"),
    ],
)
def test_a_header_of_another_array(header: str, message: str, tmp_path: Path) -> None:
    assert message in refused(with_header(tmp_path / "a.npz", header, bytes(24)))


def test_a_member_that_claims_more_than_the_file_holds(tmp_path: Path) -> None:
    size = 10**12
    header = f"{{'descr': '|b1', 'fortran_order': False, 'shape': ({size},)}}"
    path = with_header(tmp_path / "a.npz", header)
    data = bytearray(path.read_bytes())
    place = data.index(b"/logits.npy", data.index(b"PK\x01\x02")) - 22
    assert int.from_bytes(data[place : place + 4], "little") == len(header) + 13
    data[place : place + 4] = (2**32 - 2).to_bytes(4, "little")
    path.write_bytes(data)
    assert "claims more bytes than the file can hold" in refused(path)


def test_texts_that_are_not_those_of_the_ids(tmp_path: Path) -> None:
    def shorten(meta: dict[str, Any]) -> None:
        meta["record"]["fields"]["tokens"]["fields"]["texts"].pop()

    assert "texts: got 22 texts for 23 ids" in refused(
        changed(GENERATION, tmp_path / "a.npz", shorten)
    )
    for name, field in (
        ("rankings", "texts"),
        ("watched", "texts"),
        ("predictions", "texts_by_id"),
    ):

        def empty(meta: dict[str, Any], field: str = field) -> None:
            meta["record"]["fields"][field] = {}

        path = changed(GENERATION.with_name(f"{name}.npz"), tmp_path / "a.npz", empty)
        assert f"{field}: got none for the id" in refused(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": [0, "1"]}, "rows: got a tuple, accepts tuple[int, ...]"),
        ({"tokens": 3}, "tokens: got shape (20,)"),
        ({"features": -1}, "accepts numbers from 0"),
        ({"dtype": "float9"}, "got 'float9' for a type of numbers"),
        ({"dtype": "object"}, "values: got an array of object, accepts float"),
        ({"path": 3}, "path: got 3, accepts a str"),
    ],
)
def test_activations_on_disk(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    record: Any = load_record(GENERATION.with_name("activations.npz"))
    held = StoredValues("absent.zarr", "k", (0, 1, 2), 20, 80)
    saved = dataclasses.replace(record, values=held).save(tmp_path / "a.npz")
    assert load_record(saved).values == held  # type: ignore[attr-defined]

    def put(meta: dict[str, Any]) -> None:
        meta["record"]["fields"]["values"]["!stored"].update(change)

    assert message in refused(changed(saved, tmp_path / "b.npz", put))


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    record: Any = load_record(GENERATION)
    with pytest.raises(ValueError, match="model: got 3, accepts a str"):
        dataclasses.replace(record, model=3).save(tmp_path / "a.npz")
    with pytest.raises(ValueError, match="ranks: got an array of float32, accepts int"):
        dataclasses.replace(record, ranks=record.logits).save(tmp_path / "a.npz")
    assert not list(tmp_path.iterdir())


def test_a_file_that_may_not_be_read_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(GENERATION.read_bytes())

    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError("not yours")

    monkeypatch.setattr(Path, "open", forbidden)
    with pytest.raises(PermissionError, match="not yours"):
        load_record(path)


@pytest.mark.parametrize("ids", [np.zeros(2), np.array(["1", "2"]), np.zeros((2, 1), int)])
def test_ids_are_whole_numbers_in_a_row(ids: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"ids: got .*, accepts one axis of whole numbers"):
        Tokens(ids, ("a", "b"), 0)


def test_whole_numbers_serve_as_floats(tmp_path: Path) -> None:
    record: Any = load_record(GENERATION)
    assert isinstance(record, Generation)
    whole = np.round(record.logits).astype(np.int64)
    path = dataclasses.replace(record, logits=whole).save(tmp_path / "a.npz")
    assert Generation.load(path).logits.dtype == np.int64


def test_every_array_and_annotation_is_declared() -> None:
    public = [getattr(ecco_captum, name) for name in ecco_captum.__all__]
    kinds = [kind for kind in public if isinstance(kind, type) and issubclass(kind, Record)]
    for kind in kinds:
        hints = get_type_hints(kind, localns=_Classes())
        declared = {name: spec for names, spec in kind._axes.items() for name in names.split()}
        for field in dataclasses.fields(kind):
            if "np.ndarray" in str(field.type) and not str(field.type).startswith("Mapping"):
                spec = declared[field.name]
                assert spec.split(":")[0] in ("int", "float", "bool"), (kind, field.name)
            assert field.name in hints
