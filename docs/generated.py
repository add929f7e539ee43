"""What is made anew at every build: the command's help, tables of traits, copies of notebooks."""

from __future__ import annotations

import base64
import importlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
NOTEBOOKS = HERE.parent / "tutorials"
COPIES = HERE / "tutorials"
GENERATED = HERE / "_generated"

EXPLORERS = {
    "saliency": "SaliencyExplorer",
    "methods": "MethodsExplorer",
    "rankings": "RankingsExplorer WatchExplorer",
    "factors": "FactorsExplorer",
    "similarity": "SimilarityExplorer",
    "probing": "ProbeExplorer",
    "view": "TokenStrip",
}


def write_all() -> None:
    r"""Writes ``_generated`` and ``tutorials`` beside this file, both ignored by git."""
    for folder in (GENERATED, COPIES):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    (GENERATED / "command_line.md").write_text(command_line(), encoding="utf-8")
    (GENERATED / "traits.md").write_text(traits(), encoding="utf-8")
    copy_notebooks()


def command_line() -> str:
    r"""Returns the help of the command and of each of its commands, in typer's Markdown."""
    command = [sys.executable, "-m", "typer", "ecco_captum.cli", "utils", "docs"]
    command += ["--name", "ecco-captum", "--title", "Command line"]
    return subprocess.run(command, capture_output=True, check=True, encoding="utf-8").stdout


def traits() -> str:
    r"""Returns a table of the traits that notebooks can observe and set, in Markdown."""
    rows = ["| explorer | trait | kind | what it is |", "| --- | --- | --- | --- |"]
    for module, names in EXPLORERS.items():
        home = importlib.import_module(f"ecco_captum.widgets.{module}")
        for name in names.split():
            explorer = getattr(home, name)
            # An explorer's own, and those of a base that it shares with another one.
            bases = [base for base in explorer.__mro__ if base.__module__ == home.__name__]
            own = {key: trait for base in bases for key, trait in vars(base).items()}
            for key, trait in own.items():
                if not key.startswith("_") and hasattr(trait, "info_text"):
                    kind = re.sub("^an? ", "", trait.info())
                    rows.append(f"| `{name}` | `{key}` | {kind} | {trait.help} |")
    return "\n".join(rows) + "\n"


def shown(notebook: dict[str, Any]) -> dict[str, Any]:
    r"""Returns a notebook without widgets that have no static view, such as progress bars."""
    for cell in notebook.get("cells", []):
        if "outputs" in cell:
            cell["outputs"] = [
                output for output in cell["outputs"] if not _unseen(output.get("data", {}))
            ]
    return notebook


def _unseen(data: dict[str, Any]) -> bool:
    """Of a bar, some notebooks have kept what stands for it as text alone."""
    if "application/vnd.jupyter.widget-view+json" in data:
        return "text/html" not in data
    return set(data) == {"text/plain"} and "%|" in "".join(data["text/plain"])


def figures(notebook: dict[str, Any]) -> dict[str, bytes]:
    r"""Returns the pictures of cells that have a tag, by that tag."""
    pictures_by_tag = {}
    for cell in notebook.get("cells", []):
        pictures = [output.get("data", {}).get("image/png") for output in cell.get("outputs", [])]
        for tag in cell["metadata"].get("tags", []):
            for picture in filter(None, pictures):
                pictures_by_tag[tag] = base64.b64decode("".join(picture))
    return pictures_by_tag


def copy_notebooks() -> None:
    r"""Copies every notebook with what it shows from beside it, its figures, and lists them."""
    kept = {".ipynb", ".png", ".svg", ".txt"}
    for path in sorted(NOTEBOOKS.rglob("*")):
        place = path.relative_to(NOTEBOOKS)
        hidden = any(part.startswith((".", "_")) for part in place.parts)
        if path.is_file() and path.suffix in kept and not hidden:
            (COPIES / place).parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".ipynb":
                without_bars = shown(json.loads(path.read_text(encoding="utf-8")))
                (COPIES / place).write_text(json.dumps(without_bars), encoding="utf-8")
                for tag, picture in figures(without_bars).items():
                    (GENERATED / f"{tag}.png").write_bytes(picture)
            else:
                shutil.copyfile(path, COPIES / place)
    notebooks = sorted(path.relative_to(COPIES).with_suffix("") for path in COPIES.rglob("*.ipynb"))
    said = "Notebooks as they ran, outputs included." if notebooks else "There are none yet."
    page = f"# Tutorials\n\n{said}\n"
    if notebooks:
        listed = "\n".join(path.as_posix() for path in notebooks)
        page += f"\n```{{toctree}}\n:maxdepth: 1\n\n{listed}\n```\n"
    (COPIES / "index.md").write_text(page, encoding="utf-8")
