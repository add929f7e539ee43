"""A tiny model on disk, a folder to write into, and help as GitHub's log would show it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ecco_captum.models.language_model import LanguageModel


@pytest.fixture(autouse=True)
def plain_help(monkeypatch: pytest.MonkeyPatch) -> None:
    """typer takes GitHub's log for a terminal; lines are as wide there as here."""
    monkeypatch.setattr("typer.rich_utils.FORCE_TERMINAL", False)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where files go that no test names."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def model(tiny_lm: Callable[..., LanguageModel], tmp_path: Path) -> str:
    lm = tiny_lm("gpt2")
    lm.model.save_pretrained(tmp_path / "model")
    lm.tokenizer.save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")
