r"""Activations on disk: a Zarr v3 folder that grows text by text and survives being killed.

The folder holds ``values`` (layers, tokens, features), one chunk a layer and run of tokens; of the
tokens ``ids``, ``lengths`` (bytes of each one's text) and ``bytes`` (UTF-8); of the texts
``sequences`` (where each starts) and ``digests``. How much of these counts is said in one place,
the folder's attribute, which is replaced last and in one step: whatever lies behind it belongs to a
run that was cut off and is written over. Nothing that counts is ever changed; the chunk at the end
is replaced whole.
"""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import filelock
import numpy as np

from ecco_captum.core.stored_array import MARK, StoredValues, imported_zarr, opened_group
from ecco_captum.core.tokens import Tokens
from ecco_captum.corpus.parts import is_corpus_folder, part_folder, read_manifest

_FORMAT = 1
_CHUNK_BYTES = 2**23
_LAST_BYTES = 2**25  # of all layers' last chunks, which are replaced where texts are added
_CHUNK_TOKENS = 2**16  # of the arrays that hold one number a token

Description = Mapping[str, Any]
"""What a folder's values are of: kind, stack, model, layers, dtype and features."""


@contextlib.contextmanager
def open_for_append(path: Path) -> Iterator[None]:
    """While active, no other process may write into the folder; one left empty goes away."""
    imported_zarr()
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"store: there is no folder {str(path.absolute().parent)!r}")
    if path.exists() and not path.is_dir():
        raise ValueError(f"store: {str(path)!r} is a file, accepts a folder")
    made = not path.exists()
    if not made and not _left_over(path) and not _is_ours(path):
        raise ValueError(
            f"store: the folder {str(path)!r} holds something else, accepts a new one or one that "
            "holds activations"
        )
    # Beside the folder, which is a Zarr hierarchy and nothing else.
    lock = filelock.FileLock(path.absolute().with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise ValueError(f"store: another process is writing to {str(path)!r}") from error
    try:
        path.mkdir(exist_ok=True)
        yield
    finally:
        if made and _left_over(path):
            shutil.rmtree(path)
        with contextlib.suppress(OSError):  # Windows keeps files that are open
            Path(lock.lock_file).unlink()
        lock.release()


def _left_over(path: Path) -> bool:
    """Whether nothing was written there yet, but by a run that was cut off at its start."""
    return all(file.suffix == ".partial" for file in path.iterdir())


def _is_ours(path: Path) -> bool:
    try:
        opened_group(path)
    except ValueError:
        return False
    return True


class Store:
    """A folder that activations are written into, one run of texts after the other.

    It is used inside of :func:`open_for_append`. ``description`` is what its values are of; a
    folder that holds something else raises a ValueError.
    """

    def __init__(self, path: Path, description: Description) -> None:
        self.path = path
        self._description = dict(description)
        if _left_over(path):
            self._create()
        else:
            for partial in path.rglob("*.partial"):  # of a file that was never finished
                partial.unlink()
            self._group = opened_group(path, mode="r+")
            self._compare()
        if not self.tokens:
            self._create_arrays()

    @property
    def texts(self) -> int:
        """How many texts it holds."""
        return int(self._mark["texts"])

    @property
    def tokens(self) -> int:
        """How many tokens it holds."""
        return int(self._mark["tokens"])

    def digests(self) -> list[int]:
        """What stands for each text that it holds."""
        digests: list[int] = self._group["digests"][: self.texts].tolist()
        return digests

    def first(self, tokens: int) -> np.ndarray:
        """(layers, tokens, features) of its first tokens."""
        return np.asarray(self._group["values"][:, :tokens])

    def append(
        self, values: np.ndarray, tokens: Tokens, sequences: np.ndarray, digests: list[int]
    ) -> None:
        """Adds texts: ``values`` (layers, tokens, features), and a 64-bit digest of each text."""
        encoded = [text.encode("utf-8", "surrogatepass") for text in tokens.texts]
        lengths = np.array([len(text) for text in encoded], np.uint32)
        added = np.frombuffer(b"".join(encoded), np.uint8)
        held = self._mark
        self._extend("values", held["tokens"], values, axis=1)
        self._extend("ids", held["tokens"], tokens.ids)
        self._extend("lengths", held["tokens"], lengths)
        self._extend("bytes", held["bytes"], added)
        self._extend("sequences", held["texts"], sequences + held["tokens"])
        self._extend("digests", held["texts"], np.array(digests, np.uint64))
        self._commit(
            texts=held["texts"] + len(sequences),
            tokens=held["tokens"] + len(tokens),
            bytes=held["bytes"] + len(added),
            complete=False,
        )

    def complete(self) -> None:
        """Says that all texts are there."""
        self._commit(complete=True)

    @property
    def _mark(self) -> dict[str, Any]:
        return dict(self._group.attrs[MARK])

    def _commit(self, **changes: Any) -> None:
        self._group.attrs.put({MARK: {**self._mark, **changes}})

    def _create(self) -> None:
        held = {"texts": 0, "tokens": 0, "bytes": 0, "complete": False}
        mark = {"format": _FORMAT, "key": uuid.uuid4().hex, **self._description, **held}
        zarr = imported_zarr()
        self._group = zarr.create_group(str(self.path), zarr_format=3, attributes={MARK: mark})

    def _compare(self) -> None:
        for name, wanted in self._description.items():
            held = self._mark[name]
            if held != wanted:
                raise ValueError(
                    f"store: {str(self.path)!r} holds {name} {held!r}, this run has {wanted!r}; "
                    "accepts the arguments that it was begun with, or a new folder"
                )

    def _create_arrays(self) -> None:
        from zarr.codecs import BloscCodec

        packed = BloscCodec(cname="lz4", clevel=1, shuffle="bitshuffle")
        dtype, features = np.dtype(self._description["dtype"]), int(self._description["features"])
        layers = len(self._description["layers"])
        size = min(_CHUNK_BYTES, _LAST_BYTES // layers)
        chunk = 2 ** (max(1, size // (features * dtype.itemsize)).bit_length() - 1)
        make = self._group.create_array
        options: dict[str, Any] = {"compressors": packed, "overwrite": True}
        make(
            "values",
            shape=(layers, 0, features),
            chunks=(1, chunk, features),
            dtype=dtype,
            dimension_names=("layer", "token", "feature"),
            **options,
        )
        for name, kind in (
            ("ids", "int64"),
            ("lengths", "uint32"),
            ("bytes", "uint8"),
            ("sequences", "int64"),
            ("digests", "uint64"),
        ):
            make(name, shape=(0,), chunks=(_CHUNK_TOKENS,), dtype=kind, **options)

    def _extend(self, name: str, start: int, added: np.ndarray, axis: int = 0) -> None:
        array = self._group[name]
        shape = list(array.shape)
        shape[axis] = start + added.shape[axis]
        if array.shape != tuple(shape):
            array.resize(tuple(shape))
        where = (slice(None),) * axis + (slice(start, shape[axis]),)
        array[where] = added


def open_store(path: str | Path) -> dict[str, Any]:
    r"""Returns the fields of the activations that a folder holds; see :meth:`Activations.open`."""
    if is_corpus_folder(Path(path)):
        kinds = [kind for kind in ("hidden", "neurons") if held_parts(Path(path), kind)]
        if len(kinds) > 1:
            raise ValueError(
                f"path: {str(path)!r} holds hidden states and neurons; accepts "
                "Captured.open(path).hidden_states, or .neurons"
            )
        return open_captured(Path(path), kinds[0] if kinds else "hidden")
    group = opened_group(path)
    mark = group.attrs[MARK]
    if mark["format"] > _FORMAT:
        raise ValueError(
            f"path: {str(path)!r} has format {mark['format']}, this version reads up to {_FORMAT}; "
            "a newer ecco-captum wrote it"
        )
    if not mark["complete"]:
        raise ValueError(
            f"path: the run that writes {str(path)!r} has not finished, {mark['texts']} texts are "
            "there; call it again with the same texts, and it goes on from there"
        )
    count = mark["tokens"]
    ends = np.cumsum(group["lengths"][:count], dtype=np.int64).tolist()
    data = group["bytes"][: mark["bytes"]].tobytes()
    starts = [0, *ends[:-1]]
    texts = tuple(
        data[start:end].decode("utf-8", "surrogatepass")
        for start, end in zip(starts, ends, strict=True)
    )
    layers = np.array(mark["layers"], np.int64)
    return {
        "values": StoredValues(
            str(Path(path).absolute()),
            mark["key"],
            tuple(range(len(layers))),
            count,
            mark["features"],
            np.dtype(mark["dtype"]),
        ),
        "layers": layers,
        "tokens": Tokens(group["ids"][:count], texts, count),
        "sequences": np.asarray(group["sequences"][: mark["texts"]]),
        "kind": mark["kind"],
        "stack": mark["stack"],
        "model": mark["model"],
    }


def held_parts(folder: Path, kind: str) -> list[Path]:
    """The folders of all parts that have values of a kind; an error if parts are missing."""
    numbers = range(len(read_manifest(folder)))
    paths = [part_folder(folder, number) / kind for number in numbers]
    return [path for path in paths if path.is_dir()]


def open_captured(folder: Path, kind: str) -> dict[str, Any]:
    r"""Returns the fields of the activations of one kind that a run over a corpus has written."""
    folder = folder.absolute()
    parts = [open_store(path) for path in held_parts(folder, kind)]
    if not parts:
        raise ValueError(f"path: {str(folder)!r} holds no activations of the kind {kind!r}")
    values = [part["values"] for part in parts]
    tokens = [part["tokens"] for part in parts]
    starts = np.cumsum([0, *(len(each) for each in tokens)])[:-1]
    ids = np.concatenate([each.ids for each in tokens])
    texts = tuple(text for each in tokens for text in each.texts)
    sequences = [part["sequences"] + start for part, start in zip(parts, starts, strict=True)]
    listed = tuple(
        (Path(each.path).relative_to(folder).as_posix(), each.key, each.tokens) for each in values
    )
    return {
        **parts[0],
        "values": replace(values[0], path=str(folder), key="", tokens=len(ids), parts=listed),
        "tokens": Tokens(ids, texts, len(ids)),
        "sequences": np.concatenate(sequences),
    }
