"""Makes the README's pictures from real output, in headless Chromium.

python benchmarks/picture.py     # writes tutorials/gallery/*_{light,dark}.png
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import sync_playwright

import ecco_captum
from ecco_captum.cli.commands import DEMO_MODEL, DEMO_PROMPT

TUTORIALS = Path(__file__).parents[1] / "tutorials"
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


def main() -> None:
    """Reads the command line and makes the pictures that were asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pictures", nargs="*", default=list(PICTURES), help=", ".join(PICTURES))
    for name in parser.parse_args().pictures:
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.html"
            point = PICTURES[name](report)
            for theme in ("light", "dark"):
                take(report, point, theme, TUTORIALS / "gallery" / f"{name}_{theme}.png")


def saliency(report: Path) -> Callable[[Any], Any]:
    """The demo's list of countries; the pointer is on the third that the model wrote."""
    lm = ecco_captum.load(DEMO_MODEL)
    attribution = ecco_captum.saliency(lm, ecco_captum.generate(lm, DEMO_PROMPT, max_new_tokens=24))
    attribution.to_html(report)
    return lambda page: page.get_by_role("option", name="Hungary").first


def factors(report: Path) -> Callable[[Any], Any]:
    """The beginning of a story, and the factor of its pronouns, tested on what follows."""
    lm = ecco_captum.load("minilm-l6")
    text, rest = (
        (TUTORIALS / "texts" / name).read_text("utf-8").strip()
        for name in ("alice.txt", "alice_next.txt")
    )
    found = ecco_captum.nmf(ecco_captum.neurons(lm, text), 10, negatives="split")
    effects = [found.effect(lm, rest, k) for k in range(found.count)]
    found.to_html(report, effects=effects, stability=found.stability(5))
    pronouns = [k for k in range(found.count) if found.top_tokens(k, 1)[0][1].strip() == "her"]
    return lambda page: page.get_by_role("option").nth(pronouns[0])


def similarity(report: Path) -> Callable[[Any], Any]:
    """Hidden states and neurons of a small encoder, over the same story."""
    lm = ecco_captum.load("minilm-l6")
    texts = [
        paragraph
        for name in ("alice.txt", "alice_next.txt")
        for paragraph in (TUTORIALS / "texts" / name).read_text("utf-8").split("\n\n")
    ]
    read = [ecco_captum.hidden_states(lm, texts), ecco_captum.neurons(lm, texts)]
    ecco_captum.compare(read, measure="cka", n_draws=100).to_html(report)
    return lambda page: page.get_by_role("gridcell").nth(13 * 4 + 10)


PICTURES = {"saliency": saliency, "factors": factors, "similarity": similarity}


def take(
    report: Path, point: Callable[[Any], Any], theme: Literal["light", "dark"], target: Path
) -> None:
    """One screenshot of the report with the pointer on something."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), headless=True, args=FLAGS
        )
        page = browser.new_page(
            viewport={"width": 940, "height": 700}, device_scale_factor=2, color_scheme=theme
        )
        page.goto(report.as_uri())
        point(page).hover()
        page.screenshot(path=str(target), full_page=True)
        browser.close()
    print(target.name)


if __name__ == "__main__":
    main()
