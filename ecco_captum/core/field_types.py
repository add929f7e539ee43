r"""What the fields of a dataclass are declared to be, compared with what a file holds for them."""

from __future__ import annotations

import dataclasses
import reprlib
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def check_fields(kind: type, values: Mapping[str, Any], classes: Mapping[str, Any]) -> None:
    """Raises a ValueError if a field is missing, unknown, or of another type than declared.

    ``classes`` has those that annotations name and the module of ``kind`` does not import.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = [name for name in values if name not in fields]
    if unknown:
        raise ValueError(f"{unknown[0]}: a {kind.__name__} has no such field")
    try:
        hints = get_type_hints(kind, localns=classes)
    except NameError:  # a class of another package: its annotations are its own matter
        hints = {}
    for name, field in fields.items():
        if name in values:
            hint = hints.get(name, Any)
            if not _matches(values[name], hint):
                raise ValueError(f"{name}: got {_shown(values[name])}, accepts {_named(hint)}")
        elif field.default is field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{name}: a {kind.__name__} needs this field, and it is missing")


def _matches(value: Any, hint: Any) -> bool:
    if hint is Any:
        return True
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_matches(value, each) for each in inner)
    if origin is Literal:
        return isinstance(value, str) and value in inner
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if inner[-1] is Ellipsis:
            return all(_matches(item, inner[0]) for item in value)
        return len(value) == len(inner) and all(map(_matches, value, inner))
    if origin is dict:
        return isinstance(value, dict) and all(_matches(v, inner[1]) for v in value.values())
    if hint in (int, float):
        numbers = (int, float) if hint is float else int
        return isinstance(value, numbers) and not isinstance(value, bool)
    if hint is None or hint is type(None):
        return value is None
    plain = origin or hint
    return not isinstance(plain, type) or isinstance(value, plain)


def _shown(value: Any) -> str:
    plain = value is None or isinstance(value, str | int | float)
    return reprlib.repr(value) if plain else f"a {type(value).__name__}"


def _named(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return ", ".join(map(repr, get_args(hint)))
    if isinstance(hint, type) and get_origin(hint) is None:
        return f"a {hint.__name__}"
    return str(hint).replace("typing.", "").replace("numpy.", "")


# Kinds of numpy's dtypes by what an array is declared to hold; whole numbers serve as floats.
_KINDS = {"int": "iu", "float": "fiu", "bool": "b"}


def check_dtype(name: str, value: Any, held: str) -> None:
    """Raises a ValueError if an array holds something else than "int", "float" or "bool"."""
    if value.dtype.kind not in _KINDS[held]:
        raise ValueError(f"{name}: got an array of {value.dtype}, accepts {held}")
