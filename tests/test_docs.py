"""The documentation names what there is: every public name, and no call that does not exist."""

from __future__ import annotations

import re
from pathlib import Path

import ecco_captum

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def test_every_public_name_is_in_the_api_pages_once() -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in (DOCS / "api").glob("*.rst"))
    named = re.findall(r"^\.\. auto\w+:: ecco_captum\.(\w+)$", pages, flags=re.MULTILINE)
    assert sorted(named) == sorted({*ecco_captum.__all__} - {"__version__"})
