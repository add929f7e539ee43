"""Checks that every link of built pages leads somewhere; those into the network are listed."""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The links and the anchors of one page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = {"", "top"}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value is not None:
                self.links.add(value)
            elif name == "id" or (name == "name" and tag == "a"):
                self.anchors.add(value or "")


def main(root: Path) -> int:
    r"""Returns how many links of the pages under a folder are broken, and prints them."""
    pages = {path.resolve(): Page(path) for path in sorted(root.rglob("*.html"))}
    broken: list[str] = []
    outside: set[str] = set()
    for path, page in pages.items():
        for link in sorted(page.links):
            where = f"{path.relative_to(root.resolve())}: {link}"
            parts = urlsplit(link)
            if parts.scheme in ("data", "mailto", "javascript"):
                continue
            if parts.scheme or parts.netloc:
                outside.add(link)
                whole = parts.scheme == "https" and "." in parts.netloc
                if not whole or any(letter.isspace() for letter in link):
                    broken.append(f"{where} (no whole https address)")
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                broken.append(f"{where} (no such file)")
            elif target in pages and unquote(parts.fragment) not in pages[target].anchors:
                broken.append(f"{where} (no such anchor)")
    print("\n".join(sorted(outside)))
    print(f"{len(pages)} pages, {len(outside)} addresses outside of them (not visited)")
    print("\n".join(broken) if broken else "Every link within the pages leads somewhere.")
    return len(broken)


if __name__ == "__main__":
    sys.exit(1 if main(Path(sys.argv[1])) else 0)
