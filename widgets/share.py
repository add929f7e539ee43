r"""A button that copies the current view as HTML without links."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget


class Share(anywidget.AnyWidget):  # type: ignore[misc]  # it has no types
    r"""
    Copies a view to the clipboard, as HTML that needs nothing from anywhere.

    Args:
        fragment (Callable): Returns the HTML of what is shown now.
    """

    _esm = Path(__file__).parent / "share.js"

    def __init__(self, fragment: Callable[[], str]) -> None:
        self._fragment = fragment
        super().__init__()
        self.on_msg(self._asked)

    def _asked(self, _: Any, content: dict[str, Any], __: Any) -> None:
        if content.get("share"):
            self.send({"html": self._fragment()})
