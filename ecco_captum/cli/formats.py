r"""The files that results are written to: a format for each ending, whole or not at all."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ecco_captum.core.exchange import plain
from ecco_captum.core.record import Record
from ecco_captum.core.record_file import replacing

FIGURES = (".png", ".pdf", ".svg")
TABLES = (".csv", ".parquet")
_LABELS = {".html": "Page", ".npz": "Record", ".json": "Numbers"}
_LABELS |= dict.fromkeys(TABLES, "Table") | dict.fromkeys(FIGURES, "Figure")
_NEEDED = {
    "pandas": ((".csv", ".parquet"), "data"),
    "pyarrow": ((".parquet",), "arrow"),
    "matplotlib": (FIGURES, "plot"),
}

STDOUT = Path("-")


def formats_of(kind: type) -> tuple[str, ...]:
    """The endings of files that a kind of result can be written to."""
    if not issubclass(kind, Record):
        formats: tuple[str, ...] = vars(kind)["formats"]
        return formats
    has = {
        (".html",): kind.fragment is not Record.fragment,
        (".npz", ".json"): True,
        TABLES: kind.to_pandas is not Record.to_pandas,
        FIGURES: kind.plot is not Record.plot,
    }
    return tuple(ending for endings, there in has.items() if there for ending in endings)


def check_paths(paths: Sequence[Path]) -> None:
    """Raises an error for files that could not be written, whatever they will hold."""
    named: set[Path] = set()
    for path in paths:
        place = path if path == STDOUT else path.absolute()
        if place in named:
            raise ValueError(f"--output: '{path}' is named twice")
        named.add(place)
        if path == STDOUT:
            continue
        if not place.parent.is_dir():
            raise FileNotFoundError(f"--output: there is no folder '{place.parent}'")
        if path.is_dir():
            raise IsADirectoryError(f"--output: '{path}' is a folder, accepts a file")
        if path.suffix.lower() not in _LABELS:
            raise ValueError(
                f"--output: got '{path}', accepts a name with {', '.join(_LABELS)}, or '-' for "
                "standard output"
            )


def check_formats(paths: Sequence[Path], kind: type) -> None:
    """Raises a ValueError for formats that a kind of result lacks, or that need more installed."""
    accepted = formats_of(kind)
    for path in paths:
        ending = path.suffix.lower()
        if path != STDOUT and ending not in accepted:
            raise ValueError(
                f"--output: got '{path}', and there is no {_LABELS[ending].lower()} of "
                f"{kind.__name__}; accepts a name with {', '.join(accepted)}"
            )
        for module, (endings, extra) in _NEEDED.items():
            own = ending == ".csv" and not issubclass(kind, Record)
            if not own and ending in endings and importlib.util.find_spec(module) is None:
                raise ValueError(
                    f"--output: '{path}' needs {module}: pip install 'ecco-captum[{extra}]'"
                )


def numbers(result: Any, beside: Mapping[str, Any]) -> str:
    """A result as one line of JSON, with what stands beside it on its page."""
    if not isinstance(result, Record):
        return json.dumps(plain(result.with_results()), allow_nan=False)
    also = {name: plain(value) for name, value in beside.items() if value is not None}
    return json.dumps({**plain(result), **also} if also else plain(result), allow_nan=False)


def write(result: Any, path: Path, beside: Mapping[str, Any]) -> str:
    """Writes a result in the format that the path names; returns what the file is."""
    ending = path.suffix.lower()
    if ending == ".html":
        result.to_html(path, **beside)
    elif ending == ".npz":
        result.save(path)
    else:
        with replacing(path) as file:
            if ending == ".json":
                file.write(numbers(result, beside).encode() + b"\n")
            elif ending == ".csv":
                text = _csv(result)
                file.write(text.encode("utf-8", "backslashreplace"))
            elif ending == ".parquet":
                parquet: Any = importlib.import_module("pyarrow.parquet")
                parquet.write_table(result.to_arrow(), file)
            else:
                result.plot().savefig(file, format=ending[1:])
    return _LABELS[ending]


def _csv(result: Any) -> str:
    if not isinstance(result, Record):
        return str(result.to_csv())
    return result.to_pandas().to_csv(index=False, lineterminator="\n")
