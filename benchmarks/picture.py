"""Makes the README's picture: the hover view on the demo's prompt, in headless Chromium.

python benchmarks/picture.py            # writes tutorials/gallery/saliency_{light,dark}.png
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Literal

from playwright.sync_api import sync_playwright

import ecco_captum
from ecco_captum.cli import DEMO_MODEL, DEMO_PROMPT

GALLERY = Path(__file__).parents[1] / "tutorials" / "gallery"
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hover", default="Hungary", help="the generated token to point at")
    hovered = parser.parse_args().hover
    lm = ecco_captum.load(DEMO_MODEL)
    attribution = ecco_captum.saliency(lm, ecco_captum.generate(lm, DEMO_PROMPT, max_new_tokens=24))
    GALLERY.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.html"
        attribution.to_html(report)
        for theme in ("light", "dark"):
            take(report, hovered, theme, GALLERY / f"saliency_{theme}.png")


def take(report: Path, hovered: str, theme: Literal["light", "dark"], target: Path) -> None:
    """One screenshot of the report with the pointer on a generated token."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), headless=True, args=FLAGS
        )
        page = browser.new_page(
            viewport={"width": 940, "height": 700}, device_scale_factor=2, color_scheme=theme
        )
        page.goto(report.as_uri())
        page.get_by_role("option", name=hovered).first.hover()
        page.screenshot(path=str(target), full_page=True)
        browser.close()
    print(target)


if __name__ == "__main__":
    main()
