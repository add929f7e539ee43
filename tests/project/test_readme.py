"""What the README and the guide say is what happens: their Python runs, their files are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ecco_captum.models.language_model import LanguageModel

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")


@pytest.mark.model
def test_the_examples_run_as_written(
    real_lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *others = re.findall(r"```python\n(.*?)```", README + GUIDE, flags=re.DOTALL)
    assert len(others) == GUIDE.count("```python"), "the README has one example"
    assert len(first.strip().splitlines()) <= 11
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(first, "README.md", "exec"), names)
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert names["generation"].text.startswith(" Paris")  # type: ignore[attr-defined]
    for example in others:
        exec(compile(example, "README.md", "exec"), names)
    assert "Does it hold?" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_its_links_and_pictures_are_there() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", README):
        path, _, anchor = target.partition("#")
        assert target.startswith("https://") or (ROOT / path).is_file(), target
        if anchor and not target.startswith("https://"):
            headings = re.findall(r"^#+ (.*)$", (ROOT / path).read_text("utf-8"), re.MULTILINE)
            assert anchor in [heading.lower().replace(" ", "-") for heading in headings], target


def test_its_commands_exist() -> None:
    targets = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^\$ make (\w+)", README, flags=re.MULTILINE):
        assert re.search(rf"^{target}:", targets, flags=re.MULTILINE), target
