"""What readers of a page see is plain text: no name of a function, no argument."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from factors_samples import every_factors_view
from heat_samples import every_record
from view_samples import classified, comparison, countries, faithful, masked

_ATTRIBUTIONS = {
    "saliency": countries(),
    "signed": countries(signed=True),
    "a second place": countries(left_as_is=("token_type_embeddings",)),
    "masked": masked(),
    "classified": classified(),
    "comparison": comparison([0, 1, 2]),
    "faithfulness": faithful(),
}
VIEWS = {
    **{kind: record.fragment() for kind, record in _ATTRIBUTIONS.items()},
    **{kind: record.fragment() for kind, record in every_record().items()},
    **{f"factors, {kind}": view for kind, view in every_factors_view().items()},
}


class Seen(HTMLParser):
    """The text of a page, titles and labels included."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.inside, self.text = 0, ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside += tag in ("script", "style")
        said = (value or "" for name, value in attrs if name in ("title", "aria-label", "alt"))
        self.text += "".join(f" {value} " for value in said)

    def handle_endtag(self, tag: str) -> None:
        self.inside -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        self.text += "" if self.inside else data


def code_in(html: str) -> list[str]:
    """Calls, ``name()``, and arguments, ``name=``, in what is read."""
    return re.findall(r"\b[a-z]\w+\(\)|\b[a-z_]{3,}=", Seen(html).text)


@pytest.mark.parametrize("kind", VIEWS)
def test_a_view_names_no_function_and_no_argument(kind: str) -> None:
    assert code_in(VIEWS[kind]) == []


def test_code_in_a_sentence_is_found() -> None:
    assert code_in("<p>Remove it to test it: faithfulness().</p><script>f()</script>") == [
        "faithfulness()"
    ]
    assert code_in('<p title="with draws=3">2 of 3 (all)</p>') == ["draws="]
