"""What a release must not forget: one version, its changelog, bounds that can be tried."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from oldest_versions import bounds, oldest
from packaging.utils import canonicalize_name
from packaging.version import Version

from ecco_captum import __version__

ROOT = Path(__file__).parents[2]
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def problems(changelog: str, version: str) -> list[str]:
    """What is wrong with a text that should be in the form of Keep a Changelog."""
    titles = re.findall(r"^## (.*)", changelog, flags=re.MULTILINE)
    unreleased = titles[:1] == ["[Unreleased]"]
    releases = titles[unreleased:]
    found = [
        f"{title!r} is no [version] - date"
        for title in releases
        if not re.fullmatch(r"\[\d+\.\d+\.\d+\S*\] - \d{4}-\d\d-\d\d", title)
    ]
    versions = [title.partition("]")[0].strip("[") for title in releases]
    if not found and versions != sorted(versions, key=Version, reverse=True):
        found.append("the newest version does not come first")
    if not unreleased and versions[:1] != [version]:
        found.append(f"neither [Unreleased] nor [{version}] comes first")
    kinds = set(re.findall(r"^### (.*)", changelog, flags=re.MULTILINE))
    return found + [f"{kind!r} is no kind of change" for kind in sorted(kinds - KINDS)]


def test_the_changelog_has_this_version_or_what_is_unreleased() -> None:
    assert problems((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), __version__) == []


@pytest.mark.parametrize(
    ("changelog", "expected"),
    [
        ("## [0.2.0] - 2026-01-31\n### Added\n## [0.1.0] - 2025-12-01", []),
        ("## [Unreleased]\n## [0.1.0] - 2025-12-01", []),
        ("## [0.1.0] - 2025-12-01", ["neither [Unreleased] nor [0.2.0] comes first"]),
        ("", ["neither [Unreleased] nor [0.2.0] comes first"]),
        ("## [Unreleased]\n## 0.1.0", ["'0.1.0' is no [version] - date"]),
        ("## [Unreleased]\n### New", ["'New' is no kind of change"]),
        (
            "## [Unreleased]\n## [0.9.0] - 2026-01-31\n## [0.10.0] - 2026-02-28",
            ["the newest version does not come first"],
        ),
    ],
)
def test_a_wrong_changelog_is_told(changelog: str, expected: list[str]) -> None:
    assert problems(changelog, "0.2.0") == expected


@pytest.mark.parametrize("name", ["setup.cfg", "pyproject.toml", "CITATION.cff", "README.md"])
def test_the_version_stands_in_one_place(name: str) -> None:
    assert __version__ not in (ROOT / name).read_text(encoding="utf-8")


def test_every_lower_bound_can_be_tried_and_is_kept_by_development() -> None:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    found = re.findall(r"^([\w.-]+)==(\S+)$", text, flags=re.MULTILINE)
    pins = {canonicalize_name(name): version for name, version in found}
    for name, bound in bounds().items():
        assert Version(bound) <= Version(pins[canonicalize_name(name)]), name
    assert "numpy==" + bounds()["numpy"] in oldest()
    swapped = oldest(torch="9.9.9")
    assert "torch==9.9.9" in swapped
    assert len(swapped) == len(oldest()) == len(bounds())
