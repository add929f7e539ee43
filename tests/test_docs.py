"""The documentation names what there is: every public name, and no call that does not exist."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import ecco_captum
from ecco_captum.models import LanguageModel
from ecco_captum.tokens import Tokens

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


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
            known = keyword.arg in signature.parameters or re.search(rf"\b{keyword.arg}\b", told)
            assert known, f"{ast.unparse(node)}: no {keyword.arg}"
        return returned(function)
    return None


def test_the_calls_that_readers_are_told_to_make_exist() -> None:
    column = middle_column()
    assert len(column) > 40
    for code in column:
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
