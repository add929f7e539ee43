"""The documentation names what there is: every public name, and no call that does not exist."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.util
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import ecco_captum
from ecco_captum.cli.commands import COMMANDS
from ecco_captum.core.tokens import Tokens
from ecco_captum.models.language_model import LanguageModel

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def beside_conf(name: str) -> Any:
    """A module of the documentation's folder, which is no package."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_public_name_is_in_the_api_pages_once() -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in (DOCS / "api").glob("*.rst"))
    named = re.findall(r"^\.\. auto\w+:: ecco_captum\.(\w+)$", pages, flags=re.MULTILINE)
    assert sorted(named) == sorted({*ecco_captum.__all__} - {"__version__"})


# What a name of the middle column stands for; of these, members are looked up.
STANDING = {
    "lm": ecco_captum.LanguageModel,
    "generation": ecco_captum.Generation,
    "attribution": ecco_captum.Attribution,
    "acts": ecco_captum.Activations,
    "factors": ecco_captum.Factors,
}
# What stands for something of the reader's own.
GIVEN = {"x", "y", "text", "prompt", "target", "continuation", "model", "tokenizer", "slice"}
GIVEN |= {"IntegratedGradients"}


def middle_column() -> list[str]:
    page = (DOCS / "coming_from.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| .* \|$", page, flags=re.MULTILINE)
    cells = [row.split("|")[2] for row in rows]
    return [code for cell in cells for code in re.findall(r"`([^`]+)`", cell)]


def returned(function: Any) -> Any:
    """The class that a function returns, by its annotation."""
    name = str(inspect.signature(function).return_annotation)
    return getattr(ecco_captum, name, None)


def kind_of(node: ast.expr) -> Any:
    """The class or function that an expression gives; every name and keyword in it is checked."""
    if isinstance(node, ast.Name):
        if node.id in GIVEN:
            return None
        assert node.id in STANDING or node.id in ecco_captum.__all__, node.id
        return STANDING.get(node.id) or getattr(ecco_captum, node.id)
    if isinstance(node, ast.Attribute):
        owner = kind_of(node.value)
        if owner is None:
            return None
        fields = {field.name: field.type for field in dataclasses.fields(owner)}
        assert node.attr in fields or hasattr(owner, node.attr), ast.unparse(node)
        kinds = {"Tokens": Tokens, "Generation": ecco_captum.Generation}
        return kinds.get(str(fields.get(node.attr))) or getattr(owner, node.attr, None)
    if isinstance(node, ast.Call):
        function = kind_of(node.func)
        for argument in [*node.args, *(keyword.value for keyword in node.keywords)]:
            kind_of(argument)
        if function is None:
            return None
        signature, told = inspect.signature(function), inspect.getdoc(function) or ""
        for keyword in node.keywords:
            known = keyword.arg in signature.parameters or re.search(
                rf"``{keyword.arg}``|[(]{keyword.arg},", told
            )
            assert known, f"{ast.unparse(node)}: no {keyword.arg}"
        return returned(function)
    return None


def test_the_calls_that_readers_are_told_to_make_exist() -> None:
    column = middle_column()
    assert len(column) > 40
    for code in column:
        kind_of(ast.parse(code, mode="eval").body)


def test_both_sides_of_every_row_are_run_by_a_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS.parent / "benchmarks"))
    script = importlib.import_module("coming_from")
    page = (DOCS / "coming_from.md").read_text(encoding="utf-8")
    rows = script.rows(page)
    assert len(rows) == len(re.findall(r"^\| .* \|$", page, flags=re.MULTILINE)) - 4 * 2
    keys = [(library, script.key_of(library, cell)) for library, cell in rows]
    checks = [(library, key) for library, own in script.CHECKS.items() for key in own]
    assert sorted(keys) == sorted(checks), "a check for each row, a row for each check"
    assert script.key_of("Captum", "`a_new_call()`") is None


@pytest.mark.parametrize(
    "code",
    ["saliency(lm, generation, methods='ig')", "attribution.show()", "neuron(lm, text)"],
)
def test_a_call_that_does_not_exist_is_found(code: str) -> None:
    with pytest.raises(AssertionError):
        kind_of(ast.parse(code, mode="eval").body)


@pytest.mark.model
def test_the_code_of_the_page_runs(real_lm: LanguageModel) -> None:
    page = (DOCS / "coming_from.md").read_text(encoding="utf-8")
    generation = ecco_captum.generate(real_lm, "The capital of France is", max_new_tokens=2)
    attribution = ecco_captum.saliency(real_lm, generation)
    names = {"ec": ecco_captum, "lm": real_lm, "generation": generation, "attribution": attribution}
    for example in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(compile(example, "coming_from.md", "exec"), names)
    assert "result" in names


def test_broken_links_are_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_links = beside_conf("check_links")
    there = '<a href="b.html#here">b</a><img src="data:image/png;base64,"><a href="#top">up</a>'
    (tmp_path / "a.html").write_text(there + '<a href="https://example.org/c">c</a>')
    (tmp_path / "b.html").write_text('<h1 id="here">b</h1>')
    assert check_links.main(tmp_path) == 0
    assert "https://example.org/c" in capsys.readouterr().out
    wrong = '<a href="b.html#there">b</a><a href="c.html">c</a><a href="http://example.org">d</a>'
    (tmp_path / "b.html").write_text(wrong)
    assert check_links.main(tmp_path) == 4
    told = capsys.readouterr().out
    for place in ("a.html: b.html#here", "b.html: b.html#there", "b.html: c.html"):
        assert place in told


def test_the_page_of_the_command_has_every_command() -> None:
    page = beside_conf("generated").command_line()
    headings = re.findall(r"^## `ecco-captum ([\w-]+)`$", page, flags=re.MULTILINE)
    assert headings == [command.__name__.replace("_", "-") for command in COMMANDS]
    assert "[default: smollm2-135m]" in page
    assert "Exit codes: 0 done" in page


@pytest.mark.parametrize("paths", [(), ("a.ipynb", "more/b.ipynb")])
def test_notebooks_are_copied_with_their_folders(
    paths: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generated = beside_conf("generated")
    for name in ("from", "to"):
        (tmp_path / name).mkdir()
    for path in (*paths, "more/picture.png", ".ipynb_checkpoints/a.ipynb"):
        place = tmp_path / "from" / path
        place.parent.mkdir(exist_ok=True)
        place.write_text("{}")
    monkeypatch.setattr(generated, "NOTEBOOKS", tmp_path / "from")
    monkeypatch.setattr(generated, "COPIES", tmp_path / "to")
    generated.copy_notebooks()
    copied = {path.relative_to(tmp_path / "to").as_posix() for path in tmp_path.glob("to/**/*.*")}
    assert copied == {*paths, "more/picture.png", "index.md"}
    page = (tmp_path / "to" / "index.md").read_text(encoding="utf-8")
    assert ("a\nmore/b\n" in page) == bool(paths)


def test_a_widget_is_shown_where_it_has_a_static_view() -> None:
    view = "application/vnd.jupyter.widget-view+json"
    bar = {"data": {view: {}, "text/plain": "Generating:   0%|"}}
    explorer = {"data": {view: {}, "text/html": "<p>scores</p>"}}
    printed = {"name": "stdout", "text": "Paris"}
    left = {"data": {"text/plain": ["Generating:   0%|", "          |"]}}
    notebook = {"cells": [{"source": "# A title"}, {"outputs": [bar, left, explorer, printed]}]}
    cells = beside_conf("generated").shown(notebook)["cells"]
    assert cells == [{"source": "# A title"}, {"outputs": [explorer, printed]}]
