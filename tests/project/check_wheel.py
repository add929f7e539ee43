"""Compares the built wheel and sdist with the sources: python check_wheel.py FOLDER DIRECT.

FOLDER holds the sdist and the wheel made from it, DIRECT the wheel made from the checkout.
"""

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def expected_files() -> set[str]:
    """What an installation has to hold, as paths in site-packages."""
    kept = {".py", ".pyi", ".j2", ".js", ".css", ".conllu", ".typed"}
    sources = [p for p in (ROOT / "ecco_captum").rglob("*") if p.suffix in kept]
    sources += [ROOT / "ecco_captum" / "py.typed"]
    files = {p.relative_to(ROOT).as_posix() for p in sources if "__pycache__" not in p.parts}
    widgets = [p for p in (ROOT / "widgets").rglob("*") if p.suffix in kept]
    return files | {
        f"ecco_captum/widgets/{p.relative_to(ROOT / 'widgets').as_posix()}" for p in widgets
    }


def contents(wheel: Path) -> dict[str, bytes]:
    """Every file of a wheel: installers know no more of it."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def main(folder: Path, direct: Path) -> str:
    """Returns what differs; empty if nothing does."""
    (wheel,), (sdist,), (other,) = folder.glob("*.whl"), folder.glob("*.tar.gz"), direct.glob("*")
    ours, theirs = contents(wheel), contents(other)
    packed = {name for name in ours if ".dist-info/" not in name}
    expected = expected_files()
    problems = [f"wheel lacks {name}" for name in sorted(expected - packed)]
    problems += [f"wheel has {name} as well" for name in sorted(packed - expected)]
    with tarfile.open(sdist) as archive:
        unpacked = {name.partition("/")[2] for name in archive.getnames()}
    sources = {name.replace("ecco_captum/widgets/", "widgets/") for name in expected}
    sources |= {"setup.cfg", "pyproject.toml", "README.md", "LICENSE"}
    problems += [f"sdist lacks {name}" for name in sorted(sources - unpacked)]
    problems += [
        f"{name} is another in the wheel that the sdist makes"
        for name in sorted(ours.keys() | theirs.keys())
        if ours.get(name) != theirs.get(name)
    ]
    return "\n".join(problems)


if __name__ == "__main__":
    differences = main(Path(sys.argv[1]), Path(sys.argv[2]))
    print(differences or f"The wheel and the sdist hold all {len(expected_files())} files.")
    sys.exit(1 if differences else 0)
