"""Choices that more than one room knows by name."""

from __future__ import annotations

from typing import Literal

Task = Literal["causal", "seq2seq", "masked", "classification"]
"""What a model's outputs are: text that goes on, text written while reading a source, words at
masks, the class of a text."""

Verdict = Literal["supported", "partly supported", "inconclusive", "not supported"]
"""What a test says of a claim."""
