"""The page of what the command says of wrong inputs: every command, and what it says today."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

import ecco_captum
from ecco_captum.cli.commands import COMMANDS

DOCS = Path(__file__).parents[2] / "docs"


def script() -> Any:
    spec = importlib.util.spec_from_file_location("wrong_inputs", DOCS / "wrong_inputs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


WRONG = script()
PAGE = (DOCS / "wrong_inputs.md").read_text(encoding="utf-8")


def test_the_page_has_every_command() -> None:
    names = [command.__name__.replace("_", "-") for command in COMMANDS]
    assert list(WRONG.CASES) == names
    assert re.findall(r"^## `(.*)`$", PAGE, flags=re.MULTILINE) == names


def test_none_of_them_is_taken_for_right() -> None:
    codes = re.findall(r"^\[(\d+)\]$", PAGE, flags=re.MULTILINE)
    assert len(codes) == sum(map(len, WRONG.CASES.values()))
    assert set(codes) <= {"1", "2", "3"}
    assert "Traceback" not in PAGE


@pytest.mark.parametrize("command", WRONG.CASES)
def test_the_page_is_what_is_said_today(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what is said before a model is loaded; the rest takes a minute."""
    loaded: list[str] = []

    def load(name: str, **options: object) -> None:
        loaded.append(name)
        raise ValueError("not here")

    with WRONG.elsewhere():
        monkeypatch.setattr(ecco_captum, "load", load)
        for words in WRONG.CASES[command].values():
            before = len(loaded)
            block = WRONG.block(command, words)
            assert len(loaded) > before or block in PAGE, words
        monkeypatch.undo()
