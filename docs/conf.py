"""How Sphinx builds the documentation. Nothing here asks the network."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import generated  # noqa: E402  # beside this file

import ecco_captum  # noqa: E402
from ecco_captum.display.colours import COLORS  # noqa: E402

generated.write_all()

project = "ecco-captum"
author = "The ecco-captum developers"
copyright = "The ecco-captum developers, Apache-2.0"
version = release = ecco_captum.__version__
language = "en-GB"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_generated"]
nitpicky = True

# Notebooks are shown as they were run.
nb_execution_mode = "off"
# Widgets would need scripts from the network; their static views, which outputs hold, do not.
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]
nb_ipywidgets_js: dict[str, dict[str, str]] = {}
myst_enable_extensions = ["attrs_inline"]
myst_heading_anchors = 3

# A notebook may leave out a level of headings; it is still readable.
suppress_warnings = ["myst.header"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
# Captum's docstrings are written for Captum's pages.
autodoc_inherit_docstrings = False
autodoc_default_options = {"members": True}
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
# Types are prose ("list of messages"): what is a link among them, _linked() makes one.
napoleon_use_param = False
napoleon_use_rtype = False
napoleon_custom_sections = [("Fields", "params_style")]

# Names of other libraries: their inventories would have to be fetched.
_OTHERS = (
    "captum|collections|ipywidgets|matplotlib|np|numpy|os|pandas|pa|pathlib|pd|pyarrow|torch|transformers"
    "|xarray|xr"
)
# The same where the package's annotations call them by their last name alone, and types that it has
# for itself: unions of what the docstrings spell out.
_SHORT = (
    "Callable|Classifier|Figure|GradientAttribution|Iterable|Iterator|LLMAttributionResult|Mapping|"
    "PathLike|PreTrainedModel|PreTrainedTokenizerBase|Sequence|Tensor|VisualizationDataRecord|"
    "Directions|Negatives|Part|Progress|Prompt|R|Value"
)
nitpick_ignore_regex = [
    (r"py:.*", rf"({_OTHERS})\..*"),
    (r"py:.*", rf"(ecco_captum(\.\w+)+\.)?({_SHORT})"),
]

html_theme = "furo"
html_title = "ecco-captum"
html_static_path = ["_static"]
html_css_files = ["docs.css"]
html_copy_source = False
html_show_sphinx = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"
_light, _dark = (
    {
        "color-brand-primary": COLORS["accent"][theme],
        "color-brand-content": COLORS["accent"][theme],
        "color-brand-visited": COLORS["accent"][theme],
        "color-api-name": COLORS["ink"][theme],
        "color-api-pre-name": COLORS["soft"][theme],
    }
    for theme in (0, 1)
)
html_theme_options = {"light_css_variables": _light, "dark_css_variables": _dark}

PUBLIC = [name for name in ecco_captum.__all__ if name != "__version__"]
# What public records are made of has its place in the pages, too.
PARTS = {
    "AnatomyError": "models.anatomy.parts",
    "Block": "models.anatomy.parts",
    "Embedding": "models.anatomy.parts",
    "Explorer": "widgets",
    "Finding": "report.record",
    "ProbeOptions": "probing.probe",
    "NeuronSite": "models.anatomy.parts",
    "OfflineModel": "models.bundled",
    "Site": "models.anatomy.parts",
    "Stack": "models.anatomy.parts",
    "StoredValues": "core.stored_array",
    "Studio": "widgets.studio_page",
    "TaggedSentence": "probing.treebank",
    "Tokens": "core.tokens",
}
TARGETS = {name: f"ecco_captum.{name}" for name in PUBLIC}
TARGETS |= {name: f"ecco_captum.{module}.{name}" for name, module in PARTS.items()}

_ARGUMENT = re.compile(r"^(    \*{0,2}\w+ \()(.*?)(\): .*)$")
_RETURNED = re.compile(r"^(    )([A-Z]\w+)(: .*)$")
_TYPED = {"Args:": _ARGUMENT, "Returns:": _RETURNED, "Raises:": _RETURNED}
_NAMES = re.compile(rf"\b({'|'.join(TARGETS)})\b")


def _linked(types: str) -> str:
    return _NAMES.sub(lambda match: f":py:class:`~{TARGETS[match[1]]}`", types)


def _set(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Arguments of records are their fields; types are links; examples are code."""
    fields = what == "class" and hasattr(value, "__dataclass_fields__")
    # Of "(layers,): the names" napoleon would take the shape for a type: an empty word before it.
    section, done = "", ["\\ "] if what == "property" else list[str]()
    for line in lines:
        if re.fullmatch(r"[A-Z]\w+:", line):
            section = line
            done.append("Fields:" if fields and line == "Args:" else line)
        elif line == "Examples::":
            section = line
            done += [".. rubric:: Examples", "", ".. code-block:: pycon"]
        elif section in _TYPED and (match := _TYPED[section].match(line)):
            done.append(match[1] + _linked(match[2]) + match[3])
        else:
            done.append(line)
    lines[:] = done


def _signed(
    app: Any, what: str, name: str, value: Any, options: Any, signature: str, returned: str
) -> tuple[str, str] | None:
    """Records are made by functions: how they could be made by hand stands in nobody's way."""
    if what == "class" and issubclass(value, ecco_captum.Record):
        return "", ""
    if what == "class" and hasattr(value, "class_traits"):  # a widget, whose annotations say less
        return f"({', '.join(list(inspect.signature(value.__init__).parameters)[1:])})", ""
    return None


def _resolved(app: Any, env: Any, node: Any, content: Any) -> Any:
    """Annotations name the module where a class is written, pages the one where it is public."""
    if node.get("refdomain") != "py":
        return None
    parts = node["reftarget"].split(".")
    at = next((k for k, part in enumerate(parts) if part in TARGETS), None)
    if at is None:
        return None
    target = ".".join([TARGETS[parts[at]], *parts[at + 1 :]])
    domain = env.get_domain("py")
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", target, node, content)


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", _set, priority=400)
    app.connect("autodoc-process-signature", _signed)
    app.connect("missing-reference", _resolved)
