r"""A box for a token, which completes it and says what is wrong with it as it is typed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import traitlets


class TokenBox(anywidget.AnyWidget):  # type: ignore[misc]  # it has no types
    r"""
    A text field for one token, or several with commas between them.

    Args:
        complete (Callable, optional): ``complete(text)`` returns tokens that start like the last
            one of a text, as whole texts, and what there is to say of it. Default: ``None``

    Examples::

        >>> box = TokenBox(description="Contrast", value=" is")
        >>> box.observe(lambda change: print(change["new"]), "value")
    """

    _esm = Path(__file__).parent / "token_box.js"

    value = traitlets.Unicode(help="The text, once it was entered.").tag(sync=True)
    typed = traitlets.Unicode(help="The text as it is being typed.").tag(sync=True)
    options = traitlets.List(traitlets.Unicode(), help="What completes it.").tag(sync=True)
    hint = traitlets.Unicode(help="What is unusual about it.").tag(sync=True)
    description = traitlets.Unicode(help="The label.").tag(sync=True)
    placeholder = traitlets.Unicode().tag(sync=True)
    tooltip = traitlets.Unicode().tag(sync=True)
    disabled = traitlets.Bool(False).tag(sync=True)

    def __init__(
        self,
        *,
        complete: Callable[[str], tuple[list[str], str]] | None = None,
        **traits: Any,
    ) -> None:
        self._complete = complete
        super().__init__(**traits)
        self.observe(self._read, ["typed", "value"])

    def _read(self, change: dict[str, Any]) -> None:
        if self._complete is not None:
            self.options, self.hint = self._complete(change["new"])
