"""What an import costs, and who may know torch. Who may import whom is in pyproject.toml."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ecco_captum

PACKAGE = Path(__file__).parents[2] / "ecco_captum"
HEAVY = (
    "torch",
    "transformers",
    "captum",
    "ipywidgets",
    "anywidget",
    "bqplot",
    "pandas",
    "sklearn",
)
# In every folder these file names mean the same: a result, its page, its figure, its print.
KINDS = ("record", "html", "plot", "terminal")
VIEWS = sorted(path for name in KINDS for path in PACKAGE.rglob(f"{name}.py"))


def fresh(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd="/").stdout


def module_of(path: Path) -> str:
    return ".".join(["ecco_captum", *path.relative_to(PACKAGE).with_suffix("").parts])


def test_the_import_is_light() -> None:
    loaded = fresh(
        "import sys, ecco_captum; ecco_captum.__all__;"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    assert loaded.strip() == "[]"


def test_results_and_their_views_load_without_torch() -> None:
    modules = [module_of(path) for path in VIEWS]
    assert len(modules) > 15
    code = (
        "import importlib, sys\n"
        f"for module in {modules}:\n"
        "    importlib.import_module(module)\n"
        "    assert 'torch' not in sys.modules, module\n"
    )
    fresh(code)


def test_the_widgets_do_without_torch() -> None:
    code = "import sys, ecco_captum.widgets; print('torch' in sys.modules)"
    assert fresh(code).strip() == "False"


def test_the_widgets_are_there_when_they_are_asked_for() -> None:
    code = "import ecco_captum; print(callable(ecco_captum.widgets.studio))"
    assert fresh(code).strip() == "True"


def test_a_folder_does_not_hide_the_function_of_its_name() -> None:
    code = "import ecco_captum.report.record; print(callable(ecco_captum.report))"
    assert fresh(code).strip() == "True"


def test_only_the_anatomy_knows_where_models_keep_their_parts() -> None:
    # Paths of modules of particular architectures, in code: transformer.h, model.layers, lm_head …
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not attributes & {"lm_head", "wte", "h", "embed_tokens", "mlp"}, path.name


def test_public_names_are_sorted_and_there() -> None:
    names = ecco_captum.__all__
    assert names == sorted(names)
    for name in names:
        value = getattr(ecco_captum, name)
        assert name == "__version__" or (value.__doc__ and len(value.__doc__) > 60), name
    with pytest.raises(AttributeError, match="nothing"):
        ecco_captum.nothing  # noqa: B018
