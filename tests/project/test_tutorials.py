"""Tutorials as they are kept: executed, their texts right about their own outputs."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from quoted_numbers import CAPTION, quoted_numbers, stands_in, unsupported

ROOT = Path(__file__).parents[2]
PATHS = sorted((ROOT / "tutorials").glob("[0-9]*.ipynb"))
FIGURES = ROOT / "docs" / "figures"


def cells(path: Path) -> list[dict[str, Any]]:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        cell["source"] = "".join(cell["source"])
        for output in cell.get("outputs", []):
            output["text"] = "".join(output.get("text", ""))
            data = output.get("data", {})
            output["data"] = {kind: "".join(data[kind]) for kind in data if kind.startswith("text")}
            output["kinds"] = sorted(data)
    return notebook["cells"]  # type: ignore[no-any-return]


def test_there_are_seven() -> None:
    assert [path.name[0] for path in PATHS] == list("1234567")


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_each_number_of_its_text_is_computed_above(path: Path) -> None:
    assert unsupported(cells(path)) == []


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_it_was_executed_in_order_and_shows_something_everywhere(path: Path) -> None:
    code = [cell for cell in cells(path) if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    for cell in code:
        assert all(output["output_type"] != "error" for output in cell["outputs"])
        for output in cell["outputs"]:
            # A code host has no kernel: text, pictures and static views are what it can show.
            assert "application/vnd.jupyter.widget-view+json" not in output["kinds"]
    assert any("text/html" in output["kinds"] for cell in code for output in cell["outputs"])
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"/(?:home|root|Users|tmp/ipykernel)", text), "paths of whoever ran it"
    assert "hub" in cells(path)[0]["source"], "how to take another model stands at the top"


def shows_a_picture(cell: dict[str, Any]) -> bool:
    """Whether a cell displays a figure or a view; a table of pandas is none."""
    return any(
        "image/png" in output["kinds"]
        or ("text/html" in output["kinds"] and "dataframe" not in output["data"]["text/html"])
        for output in cell.get("outputs", [])
    )


def without_captions(listed: list[dict[str, Any]]) -> list[str]:
    """The sources of pictures that no caption stands right behind, those in texts included."""
    missing = []
    for cell, after in zip(listed, [*listed[1:], {"cell_type": "none", "source": ""}], strict=True):
        if cell["cell_type"] == "code" and shows_a_picture(cell):
            begins = after["source"].partition("\n")[0]
            if after["cell_type"] != "markdown" or not CAPTION.fullmatch(begins):
                missing.append(cell["source"])
        if cell["cell_type"] == "markdown":
            pictures = re.findall(r"^!\[.*\)\n*(.*)", cell["source"], flags=re.MULTILINE)
            missing += [cell["source"] for behind in pictures if not CAPTION.fullmatch(behind)]
    return missing


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_each_picture_has_a_caption_right_behind_it(path: Path) -> None:
    assert without_captions(cells(path)) == []
    pictures = sum(map(shows_a_picture, cells(path)))
    text = "\n".join(cell["source"] for cell in cells(path) if cell["cell_type"] == "markdown")
    captions = re.findall(r"^\*What to see: .*", text, flags=re.MULTILINE)
    assert len(set(captions)) == len(captions) == pictures + text.count("![") > 0


def test_a_picture_without_a_caption_is_found() -> None:
    view = {"kinds": ["text/html"], "data": {"text/html": "<section>1</section>"}}
    table = {"kinds": ["text/html"], "data": {"text/html": '<table class="dataframe">'}}
    shown = {"cell_type": "code", "source": "a", "outputs": [view]}
    listed = {"cell_type": "code", "source": "b", "outputs": [table]}
    said = {"cell_type": "markdown", "source": "*What to see: one is dark.*\n\nAnd so on."}
    late = {"cell_type": "markdown", "source": "And so on.\n\n*What to see: one is dark.*"}
    assert without_captions([shown, said, listed]) == []
    assert without_captions([shown, late]) == ["a"]
    assert without_captions([shown]) == ["a"]
    assert without_captions([{"cell_type": "markdown", "source": "![a](a.png)\n\nText."}]) != []


class _Visible(HTMLParser):
    """What is left of a view where scripts, style sheets and SVG are taken out."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.text = 0, ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.hidden += tag in ("script", "style", "svg")

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag in ("script", "style", "svg")

    def handle_data(self, data: str) -> None:
        self.text += "" if self.hidden else data


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_code_host_without_scripts_shows_text_and_numbers(path: Path) -> None:
    for cell in cells(path):
        for output in cell.get("outputs", []):
            if "text/html" in output["data"]:
                seen = _Visible()
                seen.feed(output["data"]["text/html"])
                assert re.search(r"\d", seen.text), cell["source"]
                assert len(seen.text.split()) > 10, cell["source"]


@pytest.mark.parametrize("page", sorted(FIGURES.glob("*_*.md")), ids=lambda page: page.stem)
def test_each_number_of_a_figures_page_is_computed_in_its_tutorial(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    (name,) = re.findall(r"\(\.\./tutorials/([\w]+)\)", text)
    (notebook,) = (path for path in PATHS if path.stem == name)
    printed = [
        text
        for cell in cells(notebook)
        for output in cell.get("outputs", [])
        for text in (output["text"], output["data"].get("text/plain", ""))
    ]
    for number in quoted_numbers(text):
        assert stands_in(number, printed), number


def test_what_counts_as_a_quoted_number() -> None:
    text = (
        "In 2021, figure 3 and Table 1 of section 2: 41% of 1,145, `x = 9`, [here](a/7.html), "
        "−1.5 nats, SmolLM2-135M and all-MiniLM-L6-v2.\n1. Not a result\n```python\n8\n```\n"
    )
    assert quoted_numbers(text) == ["41", "1,145", "−1.5"]


@pytest.mark.parametrize(
    ("quoted", "printed", "expected"),
    [
        ("41", "share 40.6%", True),
        ("41", "share 41.6%", False),
        ("0.42", "0.417", True),
        ("0.42", "0.4", False),  # fewer digits than are quoted
        ("−1.5", "margin -1.52", True),
        ("1.5", "margin -1.52", False),
        ("1,145", "1145 words", True),
        ("3", "block 30", False),
        ("0.00", "-0.00", True),
        ("1", "1e-05", False),
    ],
)
def test_a_number_stands_where_it_is_printed(quoted: str, printed: str, expected: bool) -> None:
    assert stands_in(quoted, [printed]) is expected


def test_a_changed_number_is_told_of() -> None:
    code = {"cell_type": "code", "outputs": [{"output_type": "stream", "text": "0.71"}]}
    silent = {"cell_type": "code", "outputs": []}
    right = {"cell_type": "markdown", "source": "It is 0.71."}
    wrong = {"cell_type": "markdown", "source": "It is 0.72."}
    assert unsupported([code, silent, right]) == []
    (problem,) = unsupported([code, silent, wrong])
    assert problem == "cell 2 says 0.72, which the cells above do not print"
    assert unsupported([code, right, {**code, "outputs": []}, wrong]) != []
