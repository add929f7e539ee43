"""Who may import whom: downward only. And what an import costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from module_layers import LAYERS

import ecco_captum

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ecco_captum"

TORCH_SIDE = {"torch", "transformers", "captum"}


def imports_of(path: Path) -> dict[str, bool]:
    """Names imported, and whether at run time (not only for type checkers)."""
    found: dict[str, bool] = {}

    def visit(node: ast.AST, run_time: bool) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            run_time = False
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            names = [node.module or ""]
        for name in names:
            found[name] = found.get(name, False) or run_time
        for child in ast.iter_child_nodes(node):
            visit(child, run_time)

    visit(ast.parse(path.read_text(encoding="utf-8")), True)
    return found


def test_every_module_has_a_layer() -> None:
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert modules == set(LAYERS)


@pytest.mark.parametrize("module", sorted(LAYERS))
def test_imports_go_downward(module: str) -> None:
    layer, beside = LAYERS[module]
    for name, run_time in imports_of(PACKAGE / f"{module}.py").items():
        top, _, rest = name.partition(".")
        if top == "ecco_captum":
            target = rest.partition(".")[0]
            if target in ("", "widgets"):  # the public names; explore()
                assert layer >= 2, f"{module} imports {name}"
                continue
            lower = LAYERS[target][0] < layer or (layer == 7 and target != module)
            assert lower or target in beside or not run_time, f"{module} imports {target}"
        if layer <= 2:
            assert top not in TORCH_SIDE or not run_time, f"{module} imports {name}"
        if layer == 1:
            allowed = top in sys.stdlib_module_names or top in ("numpy", "ecco_captum")
            allowed |= top == "matplotlib" and module.startswith("paper_")
            assert allowed, f"{module} imports {name}"


@pytest.mark.parametrize("path", sorted((ROOT / "widgets").glob("*.py")), ids=lambda p: p.name)
def test_widgets_know_records_and_no_models(path: Path) -> None:
    for name, run_time in imports_of(path).items():
        assert name.partition(".")[0] not in TORCH_SIDE
        if name == "ecco_captum.recompute" and path.name == "__init__.py":
            continue  # inside of studio(), which is given a model
        if run_time and name.startswith("ecco_captum.") and ".widgets" not in name:
            assert LAYERS[name.split(".")[1]][0] <= 2, f"{path.name} imports {name}"


def test_only_the_anatomy_knows_where_models_keep_their_parts() -> None:
    # Paths of modules of particular architectures, in code: transformer.h, model.layers, lm_head …
    for path in PACKAGE.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not attributes & {"lm_head", "wte", "h", "embed_tokens", "mlp"}, path.name


def fresh(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd="/").stdout


def test_the_widgets_are_there_when_they_are_asked_for() -> None:
    code = "import ecco_captum; print(callable(ecco_captum.widgets.studio))"
    assert fresh(code).strip() == "True"


def test_the_import_is_light() -> None:
    loaded = fresh(
        "import sys, ecco_captum; ecco_captum.__all__;"
        "print([m for m in ('torch', 'transformers', 'captum', 'ipywidgets', 'anywidget', 'bqplot',"
        " 'pandas', 'sklearn') if m in sys.modules])"
    )
    assert loaded.strip() == "[]"


def test_the_widgets_do_without_torch() -> None:
    code = "import sys, ecco_captum.widgets; print('torch' in sys.modules)"
    assert fresh(code).strip() == "False"


def test_public_names_are_sorted_and_there() -> None:
    names = ecco_captum.__all__
    assert names == sorted(names)
    for name in names:
        value = getattr(ecco_captum, name)
        assert name == "__version__" or (value.__doc__ and len(value.__doc__) > 60), name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        ecco_captum.nothing  # noqa: B018
