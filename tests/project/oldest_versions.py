"""The oldest versions that setup.cfg accepts, as pip's constraints: python oldest_versions.py.

With --torch VERSION, torch alone is another: its oldest is a CUDA build of gigabytes.
"""

from __future__ import annotations

import argparse
import configparser
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def bounds() -> dict[str, str]:
    """The lower bound of each runtime dependency, by its name."""
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    found = {}
    for line in setup["options"]["install_requires"].split("\n"):
        if line.strip():
            match = re.fullmatch(r"([\w.-]+)>=([\w.]+)", line.strip())
            if match is None:
                raise SystemExit(f"setup.cfg: {line!r} is no name>=version, so has no oldest one")
            found[match[1]] = match[2]
    return found


def oldest(torch: str | None = None) -> list[str]:
    """A pip constraint for each runtime dependency."""
    versions = bounds()
    if torch is not None:
        versions["torch"] = torch
    return [f"{name}=={version}" for name, version in versions.items()]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torch", metavar="VERSION", help="instead of its lower bound")
    print("\n".join(oldest(parser.parse_args().torch)))
