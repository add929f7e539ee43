r"""Zarr, Parquet or Arrow: bytes on disk, and seconds to write and read a part's hidden states.

A part's states (layers, tokens, features) of a model, in float16, as each format would keep them:
Zarr as the package writes it, Parquet and Arrow IPC with a column of vectors for each layer. Read
are one layer whole, all layers of 256 tokens in a row, and one layer at 256 tokens here and there.

    python benchmarks/formats.py --conllu en_ewt-ud-dev.conllu
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
from ray_workers import corpus
from saliency import table

import ecco_captum as ec
from ecco_captum.activations.store import Store

RUNS, FEW = 5, 256


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--conllu", type=Path, nargs="+", required=True)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--tokens", type=int, default=8192)
    options = parser.parse_args()
    lm = ec.load(options.model)
    acts = ec.hidden_states(lm, corpus(options.conllu, options.tokens), dtype="float16")
    values = np.asarray(acts.values)
    some = np.sort(np.random.default_rng(0).permutation(values.shape[1])[:FEW])
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for kind, (write, read) in FORMATS.items():
            path = Path(name) / kind.replace(" ", "")
            seconds = took(lambda write=write, path=path: write(path, acts), 1)
            files = [path] if path.is_file() else list(path.rglob("*"))
            size = sum(file.stat().st_size for file in files if file.is_file())
            asked = {
                "one layer": (slice(15, 16), slice(None)),
                "all layers, a run": (slice(None), slice(1000, 1000 + FEW)),
                "one layer, here and there": (slice(15, 16), some),
            }
            times = []
            for layers, tokens in asked.values():
                got = read(path, layers, tokens)
                np.testing.assert_array_equal(got, values[layers][:, tokens])
                times.append(took(lambda: read(path, layers, tokens), RUNS))  # noqa: B023
            cells = [f"{1000 * each:,.0f}" for each in (seconds, *times)]
            rows.append([kind, f"{size / values.nbytes:.0%}", *cells])
    layers, tokens, features = values.shape
    print(f"\n{options.model}: {layers} layers × {tokens:,} tokens × {features}, float16, ")
    print(f"{values.nbytes / 1e6:,.0f} MB raw; milliseconds, medians of {RUNS} reads\n")
    table(
        ("", "size", "write", "one layer", f"all, {FEW} in a row", f"one, {FEW} here and there"),
        rows,
    )


def took(action: Callable[[], object], runs: int) -> float:
    """Seconds, the median."""
    times = []
    for _ in range(runs):
        begun = time.perf_counter()
        action()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def write_zarr(path: Path, acts: ec.Activations) -> None:
    """As a part of a corpus."""
    path.mkdir()
    layers, _, features = acts.shape
    what = {"kind": "hidden", "stack": "decoder", "model": "m", "layers": list(range(layers))}
    store = Store(path, {**what, "dtype": "float16", "features": features, "key": "k"})
    digests = list(range(len(acts.sequences)))
    store.append(np.asarray(acts.values), acts.tokens, acts.sequences, digests)
    store.complete()


def read_zarr(path: Path, layers: slice, tokens: slice | np.ndarray) -> np.ndarray:
    return np.asarray(ec.Activations.open(path).values[layers, tokens])


def arrow(acts: ec.Activations) -> pa.Table:
    values = np.asarray(acts.values)
    columns = [
        pa.FixedSizeListArray.from_arrays(pa.array(layer.reshape(-1)), layer.shape[1])
        for layer in values
    ]
    return pa.table(columns, names=[f"layer {k}" for k in range(len(values))])


def vectors(given: pa.Table, tokens: slice | np.ndarray) -> np.ndarray:
    """(layers, tokens, features)"""
    read = []
    for column in given.columns:
        whole = column.combine_chunks()
        width = whole.type.list_size
        read.append(whole.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)[tokens])
    return np.stack(read)


def names(layers: slice) -> list[str]:
    return [f"layer {k}" for k in range(31)[layers]]


def read_parquet(path: Path, layers: slice, tokens: slice | np.ndarray) -> np.ndarray:
    return vectors(pq.read_table(path, columns=names(layers)), tokens)


def read_arrow(path: Path, layers: slice, tokens: slice | np.ndarray) -> np.ndarray:
    return vectors(feather.read_table(path, columns=names(layers), memory_map=True), tokens)


FORMATS: dict[str, tuple[Callable[..., None], Callable[..., np.ndarray]]] = {
    "Zarr, lz4 and bitshuffle": (write_zarr, read_zarr),
    "Parquet, zstd": (
        lambda path, acts: pq.write_table(arrow(acts), path, compression="zstd"),
        read_parquet,
    ),
    "Parquet, byte split and zstd": (
        lambda path, acts: pq.write_table(
            arrow(acts),
            path,
            compression="zstd",
            use_dictionary=False,
            use_byte_stream_split=True,
        ),
        read_parquet,
    ),
    "Arrow IPC, lz4": (
        lambda path, acts: feather.write_feather(arrow(acts), str(path), compression="lz4"),
        read_arrow,
    ),
    "Arrow IPC, plain": (
        lambda path, acts: feather.write_feather(
            arrow(acts), str(path), compression="uncompressed"
        ),
        read_arrow,
    ),
}


if __name__ == "__main__":
    main()
