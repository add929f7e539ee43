"""Makes a picture of every explorer from real output, in a real JupyterLab, in light and in dark.

And one of the report's first screen, as a page of its own.

python benchmarks/gallery.py             # writes tutorials/gallery/explorer_*_{light,dark}.png
python benchmarks/gallery.py report
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Locator, sync_playwright

import ecco_captum as ec
from ecco_captum.cli.commands import DEMO_PROMPT

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests" / "support"))

from lab import Lab, Notebook  # noqa: E402
from picture import FLAGS  # noqa: E402

SETUP = f"""
import ecco_captum as ec
from pathlib import Path
lm, encoder = ec.load("smollm2-135m"), ec.load("minilm-l6")
prompt = "The countries of the European Union are:\\n1. Austria\\n2. Belgium\\n3. Bulgaria\\n4."
generation = ec.generate(lm, prompt, max_new_tokens=24)
story = Path({str(ROOT / "tutorials" / "texts" / "alice.txt")!r}).read_text("utf-8").strip()
paragraphs = [text for text in story.split("\\n\\n") if text.strip()]
"""
# Of the words of a story: does each begin with a vowel? Nothing but its letters says so.
PROBES = """
acts = [ec.hidden_states(encoder, paragraphs), ec.neurons(encoder, paragraphs)]
words = acts[0].tokens.texts
vowels = ["vowel" if text.strip()[:1].lower() in "aeiou" else "consonant" for text in words]
tags = [tag if text.strip().isalpha() else None for tag, text in zip(vowels, words)]
ec.probe(acts, tags, n_tokens=2000).explore()
"""
CELLS = {
    "saliency": "ec.saliency(lm, generation).explore(lm)",
    "methods": "ec.compare_methods(lm, generation, randomisation=False).explore()",
    "rankings": "ec.rankings(lm, generation).explore(lm)",
    "watch": 'ec.rankings_watch(lm, "The keys to the cabinet", [" is", " are"]).explore()',
    "factors": 'ec.nmf(ec.neurons(encoder, story), 10, negatives="split").explore(encoder)',
    "similarity": 'ec.compare(ec.hidden_states(encoder, paragraphs), measure="cka", '
    "n_draws=50).explore()",
    "probes": PROBES,
    "studio": "ec.widgets.studio(lm)",
}


def main() -> None:
    """Reads the command line and makes the pictures that were asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    every = [*CELLS, "report"]
    parser.add_argument("views", nargs="*", default=every, help=", ".join(every))
    names = parser.parse_args().views
    if "report" in names:
        picture_report()
    explorers = [name for name in names if name != "report"]
    if explorers:
        picture_explorers(explorers)


def picture_report() -> None:
    """The first screen of the demo's report."""
    lm = ec.load("smollm2-135m")
    made = ec.report(lm, DEMO_PROMPT, max_new_tokens=24)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder, "report.html")
        made.to_html(path)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for theme in ("light", "dark"):
            view = {"width": 1280, "height": 800}
            page = browser.new_page(viewport=view, device_scale_factor=1.5, color_scheme=theme)
            page.goto(path.as_uri())
            page.locator(".ecco-answer [role=option]").first.wait_for()
            page.screenshot(path=str(ROOT / "tutorials" / "gallery" / f"report_{theme}.png"))
            print(f"report_{theme}.png")
        browser.close()


def picture_explorers(names: list[str]) -> None:
    """Each explorer in a notebook of its own."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        lab = Lab(Path(folder))
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        try:
            lab.write("gallery", SETUP, *(CELLS[name] for name in names))
            view = {"width": 1360, "height": 2400}
            page = browser.new_page(viewport=view, device_scale_factor=1.5)
            notebook = Notebook(page, lab, "gallery")
            notebook.run()
            for name in names:
                explorer = page.locator(".jp-CodeCell").nth(1 + names.index(name))
                point(name, explorer.locator(".ecco-explorer").first)
            for theme in ("light", "dark"):
                notebook.theme(f"JupyterLab {theme.title()}")
                for name in names:
                    cell = page.locator(".jp-CodeCell").nth(1 + names.index(name))
                    take(cell.locator(".ecco-explorer").first, f"explorer_{name}_{theme}.png")
        finally:
            lab.stop()
            browser.close()


def point(name: str, explorer: Locator) -> None:
    """What a reader would do first."""
    explorer.wait_for(timeout=120_000)
    explorer.scroll_into_view_if_needed()
    if name == "saliency":
        explorer.get_by_role("option", name="Hungary").first.hover()
    elif name in ("rankings", "similarity"):
        row = {"rankings": 27, "similarity": 3}[name]
        explorer.locator(".ecco-heat tbody tr").nth(row).locator("td").nth(4).click()
        explorer.locator(".bqplot .axis text").first.wait_for()
        explorer.page.wait_for_timeout(2000)
    elif name == "factors":
        explorer.locator(".ecco-factor[role=option]").nth(3).hover()
    elif name == "studio":
        explorer.get_by_role("button", name="Generate").click()
        explorer.locator("[role=option]").first.wait_for(timeout=120_000)


def take(explorer: Locator, name: str) -> None:
    """One screenshot."""
    explorer.scroll_into_view_if_needed()
    explorer.page.wait_for_timeout(500)
    explorer.screenshot(path=str(ROOT / "tutorials" / "gallery" / name))
    print(name)


if __name__ == "__main__":
    main()
