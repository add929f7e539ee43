"""What records look like on a terminal, and where there is none."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from heat_samples import every_record, hostile_records
from rich.console import Console
from view_samples import hostile

import ecco_captum
from ecco_captum import load_record
from ecco_captum.core.record import Record
from ecco_captum.display.terminal import as_text, shaded, spread, table

SAVED = sorted((Path(__file__).parents[1] / "saved_records").glob("*.npz"))
CONTROLS = [code for code in range(32) if code != 10] + [0x7F, 0x9B, 0x202E, 0x200F]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Called in a test: between its fixtures and it, pytest gives it another standard output."""
    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in {"TERM": "xterm-256color", "COLORTERM": "truecolor"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.mark.parametrize("path", SAVED, ids=lambda path: path.stem)
def test_every_record_has_a_plain_view_that_says_more_than_its_name(path: Path) -> None:
    record = load_record(path)
    text = str(record)
    assert "\x1b" not in text
    assert len(text.splitlines()) > 2
    sentence = getattr(record, "sentence", "")
    assert sentence in text
    verdict = getattr(record, "verdict", "")
    assert f"[{verdict}]" in text if verdict else True
    assert "\n" not in repr(record)
    assert type(record).terminal is not Record.terminal


def test_no_kind_is_left_out() -> None:
    public = [getattr(ecco_captum, name) for name in ecco_captum.__all__]
    kinds = {kind for kind in public if isinstance(kind, type) and issubclass(kind, Record)}
    assert all("terminal" in vars(kind) for kind in kinds)


@pytest.mark.parametrize("name", every_record())
def test_records_of_many_shapes(name: str) -> None:
    assert len(str(every_record()[name]).splitlines()) > 3


@pytest.mark.parametrize("name", hostile_records())
def test_texts_cannot_act_on_a_terminal(name: str) -> None:
    record = hostile_records()[name]
    assert not {chr(code) for code in CONTROLS} & set(str(record))


def test_an_attribution_is_shaded_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_terminal(monkeypatch)
    attribution = load_record(SAVED[[path.stem for path in SAVED].index("attribution")])
    text = str(attribution)
    assert "48;2;" in text  # a background of its own
    assert "48;2;" not in repr(attribution)
    assert f"{np.abs(attribution.shares[0]).max():.1%}" in text


def test_hostile_attributions_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_terminal(monkeypatch)
    printed = re.sub("\x1b\\[[0-9;]*m", "", str(hostile()))  # rich's own colours
    assert not {chr(code) for code in CONTROLS} & set(printed)


def test_the_largest_share_has_the_strongest_shade() -> None:
    text = shaded(["a", "b", "c", "d"], np.array([0.0, 0.5, -1.0, 0.001]), "e")
    assert text.plain == "abcde"
    backs = {text.plain[span.start]: span.style.bgcolor for span in text.spans if span.style}
    assert backs.get("a") is None
    assert backs.get("d") is None
    assert backs["b"] is not None
    assert backs["c"] not in (None, backs["b"])


def test_shades_fit_the_background_that_the_terminal_names(monkeypatch: pytest.MonkeyPatch) -> None:
    backs = []
    for named in ("15;0", "0;15", ""):
        monkeypatch.setenv("COLORFGBG", named)
        backs.append(shaded(["a"], np.ones(1)).spans[0].style.bgcolor)
    assert backs[0] == backs[2] != backs[1]


def test_shades_are_left_out_where_there_are_no_colours() -> None:
    assert as_text(["first", shaded(["a", "b"], np.ones(2)), "last"]) == "first\n\nlast"


def test_no_color_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_terminal(monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")
    assert as_text([shaded(["a", "b"], np.ones(2)), "last"]) == "last"


@pytest.mark.parametrize(("term", "shown"), [("xterm-256color", True), ("xterm-16color", False)])
def test_shades_need_many_colours(term: str, shown: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_terminal(monkeypatch)
    monkeypatch.delenv("COLORTERM")
    monkeypatch.setenv("TERM", term)
    assert ("48;" in as_text([shaded(["a", "b"], np.ones(2)), "last"])) == shown


def test_a_few_of_many_layers() -> None:
    assert spread(31) == [0, 8, 15, 22, 30]
    assert spread(1) == [0]
    assert spread(3) == [0, 1, 2]


def test_rich_itself_prints_records() -> None:
    record = load_record(SAVED[0])
    screen = Console(file=io.StringIO(), width=200)
    screen.print(record)
    assert len(screen.file.getvalue().splitlines()) > 2  # type: ignore[attr-defined]


def test_records_load_without_rich() -> None:
    names = [f"ecco_captum.{name}.record" for name in ("attribution", "lens", "report", "core")]
    code = f"import importlib, sys\nfor name in {names}: importlib.import_module(name)\n"
    code += "print({'rich', 'torch'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_notebook_gets_plain_text_and_no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its standard output says that it is a terminal, and rich displays where it finds a kernel."""
    stream = type("OutStream", (Terminal,), {"__module__": "ipykernel.iostream"})()
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    said = as_text([table(["NAME"], [["value"]], {0})])
    assert said.split() == ["NAME", "value"]
    assert "\x1b" not in said
    assert stream.getvalue() == ""
