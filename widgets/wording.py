r"""What explorers say of errors and durations, in the words of their controls."""

from __future__ import annotations

import re

_LABELS = {
    "versus": "Contrast",
    "score": "Score",
    "aggregate": "Combine by",
    "method": "Method",
    "prompt": "Prompt",
    "max_new_tokens": "Tokens",
    "temperature": "Temperature",
    "n_components": "Factors",
    "measure": "Measure",
}
"""Name of an argument: what its control is called."""

# An error's words, as a pattern, and what a reader who wrote no code needs to know.
_PLAIN = (
    (r"versus: (['\"].*?['\"]) is (\d+) tokens of .*", r"Contrast: \1 is \2 tokens. Choose one."),
    (r"versus: an entropy .*", "Contrast: entropy has no token to contrast. Empty the box."),
    (
        r"score: (\S+) depends on no score.*",
        r"\1 reads no score: set Score to logit and empty Contrast.",
    ),
    (
        r"aggregate: (\S+) attributes to whole tokens.*",
        r"\1 gives one number for each token: set Combine by to the method's own.",
    ),
    (
        r"max_new_tokens: (\d+) prompt tokens and (\d+) outputs need (\d+) .* holds (\d+)",
        r"Tokens: the prompt's \1 and \2 more are \3; the model reads at most \4. Ask for fewer.",
    ),
    (
        r"prompt: it has (\d+) tokens, .* holds (\d+).*",
        r"Prompt: it has \1 tokens, the model reads at most \2. Shorten it.",
    ),
    (r".*(out of memory|can't allocate memory).*", "The memory is full. Use a shorter text."),
)
_MINUTE, _HOUR = 60.0, 3600.0


def plain_words(error: BaseException) -> str:
    """What went wrong, without names of arguments or functions."""
    text = " ".join(str(error).split()) or type(error).__name__
    for pattern, plain in _PLAIN:
        if re.fullmatch(pattern, text, re.IGNORECASE):
            said = re.sub(pattern, plain, text, flags=re.IGNORECASE)
            return _spaced(said)
    name, colon, rest = text.partition(": ")
    if colon and name.isidentifier():
        label = _LABELS.get(name)
        text = f"{label}: {rest}" if label else rest
    text = re.sub(r"\bgot (.+?)(?=, accepts |;|$)", r"\1 does not work", text, count=1)
    text = re.sub(r"[,;] accepts ", "; possible: ", text)
    text = re.sub(r"\b(?:\w+\.)*(\w+)\(\)", lambda match: match[1].replace("_", " "), text)
    text = re.sub(r"\b([a-z]+(?:_[a-z]+)+)\b", lambda match: match[1].replace("_", " "), text)
    return text[:1].upper() + text[1:].replace("`", "")


def _spaced(text: str) -> str:
    """A method's name as words, first letter large."""
    first, blank, rest = text.partition(" ")
    return first.replace("_", " ")[:1].upper() + first.replace("_", " ")[1:] + blank + rest


def duration(seconds: float) -> str:
    """A time that is not known exactly: "20 s", "3 min", "1.5 h"."""
    if seconds < _MINUTE:
        return f"{max(1, round(seconds))} s"
    if seconds < _HOUR:
        return f"{round(seconds / _MINUTE)} min"
    return f"{seconds / _HOUR:.2g} h"
