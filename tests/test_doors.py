"""Who may import whom: downward only. And what an import costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ecco_captum

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ecco_captum"

PAPER = ("checks", "figure", "heat", "lines", "text")
# A module may import modules of lower layers, and those named beside it.
LAYERS: dict[str, tuple[int, set[str]]] = {
    "_version": (0, set()),
    "checks": (1, set()),
    "tokens": (1, set()),
    "legible": (1, set()),
    "shades": (1, set()),
    "html": (1, {"legible", "shades"}),
    "generation_html": (1, {"html", "legible", "shades", "tokens"}),
    "saliency_data": (1, {"legible", "shades", "tokens"}),
    "saliency_html": (1, {"html", "legible", "saliency_data", "shades", "tokens"}),
    "comparison_html": (1, {"html", "legible", "saliency_data", "saliency_html", "tokens"}),
    "svg_parts": (1, {"html", "legible"}),
    "line_chart": (1, {"html", "svg_parts"}),
    "faithfulness_chart": (1, {"line_chart", "svg_parts"}),
    "faithfulness_html": (1, {"faithfulness_chart", "html", "legible", "shades"}),
    "heat_data": (1, {"legible", "shades"}),
    "heat_html": (1, {"heat_data", "html", "legible", "shades"}),
    "rankings_html": (1, {"heat_data", "heat_html", "html", "legible"}),
    "watch_html": (1, {"heat_data", "heat_html", "html", "legible"}),
    "predictions_html": (1, {"heat_data", "heat_html", "legible"}),
    "pairs_html": (1, {"heat_data", "heat_html", "legible"}),
    "similarity_html": (1, {"heat_data", "heat_html", "legible"}),
    "probe_tables": (1, {"heat_data", "heat_html", "legible"}),
    "probe_html": (1, {"heat_data", "heat_html", "legible", "line_chart", "probe_tables"}),
    "probe_plots": (1, {"paper_checks", "paper_figure", "paper_lines", "paper_text"}),
    # Figures for papers; imported by methods alone, as matplotlib may be absent.
    "paper_checks": (1, set()),
    "paper_text": (1, {"legible"}),
    "paper_figure": (1, {"paper_text", "shades"}),
    "paper_heat": (1, {"legible", "paper_figure", "paper_text", "shades"}),
    "paper_lines": (1, {"legible", "paper_figure", "paper_text", "shades"}),
    "lens_plots": (1, {"paper_checks", "paper_figure", "paper_heat", "paper_lines", "paper_text"}),
    "factors_data": (1, {"legible", "paper_checks", "shades", "tokens"}),
    "factors_html": (
        1,
        {"factors_data", "heat_html", "html", "legible", "saliency_html", "tokens"},
    ),
    "factors_plots": (
        1,
        {*("factors_data", "legible", "lens_plots"), *(f"paper_{part}" for part in PAPER)},
    ),
    "similarity_plots": (1, {"legible", *(f"paper_{part}" for part in PAPER)}),
    "stored_values": (2, set()),
    "progress": (2, set()),
    "records": (2, {"models", "recompute", "stored_values"}),
    # Watching a model run, and what is read off it.
    "structures": (3, set()),
    "lineage": (3, set()),
    "parts": (3, set()),
    "prompts": (3, set()),
    "replay": (3, {"structures"}),
    "tracing": (3, {"lineage", "replay", "structures"}),
    "stacks": (3, {"tracing"}),
    "feed_forward": (3, {"replay", "stacks", "tracing"}),
    "reading": (3, {"feed_forward", "parts", "stacks", "tracing"}),
    "evidence": (3, {"replay", "structures"}),
    "anatomy": (
        3,
        {
            *("evidence", "feed_forward", "parts", "prompts", "reading"),
            *("stacks", "structures", "tracing"),
        },
    ),
    "causality": (3, {"models", "prompts"}),
    # Models.
    "offline": (3, set()),
    "modes": (3, set()),
    "entrance": (3, {"anatomy", "replay"}),
    "models": (3, {"anatomy", "entrance", "modes", "offline"}),
    "encoding": (3, set()),
    "decoding": (3, {"models"}),
    "tasks": (3, {"models"}),
    "teacher_forcing": (3, {"models", "modes", "passages", "scoring"}),
    "prediction": (3, {"encoding", "models", "modes", "scores", "tasks"}),
    # From embeddings to the scores of targets, and their gradients.
    "scores": (3, {"encoding", "models", "tasks"}),
    "passages": (3, {"causality", "models", "tasks"}),
    "scoring": (3, {"entrance", "models", "passages", "replay", "scores"}),
    # Each layer's hidden states, read with the model's own tail.
    "translators": (3, {"models"}),
    "unembedding": (
        3,
        {
            *("causality", "models", "passages", "products", "replay"),
            *("scoring", "teacher_forcing", "translators"),
        },
    ),
    "readouts": (3, set()),
    # What passes a model's modules.
    "capture": (3, {"models", "parts", "replay"}),
    "baselines": (3, {"models", "passages"}),
    "products": (3, set()),
    "gradients": (3, {"products"}),
    "memory": (3, {"models", "replay"}),
    "aggregation": (3, set()),
    # Rules for operations: another backward, or a look at what passes.
    "rules": (3, set()),
    "slopes": (3, set()),
    "functions": (3, {"rules"}),
    "operations": (3, {"functions", "replay", "rules"}),
    "relevance": (3, {"operations", "replay", "rules", "slopes"}),
    "rescale": (3, {"operations", "replay", "rules", "slopes"}),
    "attention": (3, {"replay", "rules"}),
    # Attribution methods.
    "methods": (3, {"models", "passages", "scores", "scoring"}),
    "presence": (3, {"causality", "entrance", "methods", "products", "scoring"}),
    "gradient_methods": (
        3,
        {"gradients", "methods", "modes", "relevance", "replay", "rescale"},
    ),
    "perturbation_methods": (3, {"methods", "modes", "presence"}),
    "attention_methods": (3, {"attention", "methods"}),
    "catalogue": (
        3,
        {
            *("attention_methods", "gradient_methods", "gradients", "methods"),
            *("modes", "perturbation_methods", "presence"),
        },
    ),
    "removal": (3, {"baselines", "methods", "models", "passages", "presence", "scores", "scoring"}),
    "generation": (4, set()),
    # Analyses.
    "arguments": (5, set()),
    "attribution_record": (5, {"comparison", "grouping", "captum_results"}),
    "attribution": (5, {"arguments", "attribution_record"}),
    "grouping": (5, {"attribution_record"}),
    "comparison": (5, {"attribution_record"}),
    "captum_results": (5, {"attribution_record"}),
    "captum_classes": (5, {"arguments"}),
    "faithfulness_record": (5, {"attribution_record"}),
    # Its check on shuffled weights runs the attribution again.
    "randomisation": (5, {"attribution", "attribution_record", "comparison"}),
    # Not named after its function: importing it would hide that.
    "erasure": (5, {"arguments", "attribution_record", "faithfulness_record", "randomisation"}),
    "layers": (5, {"arguments"}),
    "rankings_record": (5, {"layers"}),
    "predictions_record": (5, {"layers"}),
    "watched_record": (5, {"layers"}),
    "pairs_record": (5, {"layers"}),
    # Modules are not named after their functions: importing them would hide those.
    "lens": (5, {"layers", "predictions_record", "rankings_record"}),
    "candidates": (5, {"layers"}),
    "watching": (5, {"candidates", "layers", "watched_record"}),
    "pairs": (5, {"candidates", "layers", "pairs_record"}),
    "command_options": (7, set()),
    "command_output": (7, set()),
    "commands": (7, set()),
    "activations_record": (5, {"activations_store"}),
    "corpus": (5, set()),
    "layer_reading": (5, {"activations_record", "corpus"}),
    "activations_store": (5, {"activations_record"}),
    "activations": (5, {"activations_record", "activations_store", "corpus", "layer_reading"}),
    "factor_views": (5, {"effect_record", "factors_record"}),
    "factors_record": (5, {"activations_record", "factor_effect", "factor_views", "factors"}),
    "factor_matrix": (5, {"activations_record", "factors_record"}),
    "factor_fits": (5, {"factor_matrix"}),
    "factors": (5, {"activations_record", "factor_fits", "factor_matrix", "factors_record"}),
    "ablation": (5, {"activations_record", "factors_record"}),
    "effect_record": (5, set()),
    "factor_effect": (
        5,
        {
            *("ablation", "activations", "activations_record", "corpus"),
            *("effect_record", "factors_record"),
        },
    ),
    # How alike layers are: arrays and records, no models.
    "moments": (5, set()),
    "gathering": (5, {"moments"}),
    "wide_layers": (5, {"gathering", "moments"}),
    "canonical": (5, {"gathering", "moments"}),
    "kernels": (5, {"moments"}),
    "measures": (5, {"canonical", "kernels", "moments"}),
    "pairwise": (5, {"gathering", "kernels", "measures", "moments"}),
    "resampling": (5, {"gathering", "kernels", "measures", "moments", "pairwise"}),
    "compared_layers": (5, {"activations_record", "moments"}),
    "canonical_record": (5, set()),
    "similarity": (
        5,
        {
            *("canonical", "canonical_record", "compared_layers", "measures"),
            *("moments", "pairwise", "wide_layers"),
        },
    ),
    "word_alignment": (5, set()),
    "similarity_record": (5, set()),
    "comparing": (
        5,
        {
            *("activations_record", "compared_layers", "measures", "moments", "pairwise"),
            *("resampling", "similarity_record", "wide_layers", "word_alignment"),
        },
    ),
    # What a layer knows: treebanks and arrays.
    "treebank": (5, set()),
    "word_states": (5, {"activations_record", "treebank"}),
    "control_tasks": (5, set()),
    "linear_probes": (5, set()),
    "probe_record": (5, set()),
    "probe_draws": (5, {"control_tasks"}),
    "probe_training": (5, {"linear_probes", "probe_draws"}),
    "probe_sources": (
        5,
        {"activations", "activations_record", "probe_draws", "treebank", "word_states"},
    ),
    "workers": (5, set()),
    "probing": (
        5,
        {
            *("control_tasks", "probe_draws", "probe_record", "probe_sources"),
            *("probe_training", "treebank", "word_states", "workers"),
        },
    ),
    "concept_classifier": (5, {"linear_probes"}),
    # What explorers are handed.
    "recompute": (6, set()),
    "cli": (7, set()),
}
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
