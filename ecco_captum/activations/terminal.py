"""Activations on a terminal: what each layer's values are like."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.console import RenderableType

from ecco_captum.core.stored_array import StoredValues
from ecco_captum.core.text import format_number, visible
from ecco_captum.display.terminal import spread, table

if TYPE_CHECKING:
    from ecco_captum.activations.record import Activations

_LAYERS = 12


def activations_blocks(activations: Activations) -> list[RenderableType]:
    """The mean magnitude of a few layers, and where each is largest; nothing is read from disk."""
    layers, tokens, features = activations.shape
    texts = len(activations.sequences)
    said = (
        f"{activations.model} · {activations.kind} · {layers} layers, {tokens:,} tokens of "
        f"{texts:,} text{'' if texts == 1 else 's'}, {features:,} features"
    )
    values = activations.values
    if isinstance(values, StoredValues):
        return [said, f"On disk: {values.path}"]
    rows = []
    for row in spread(layers, _LAYERS) if values.size else []:
        held = np.abs(values[row].astype(np.float64))
        token, feature = np.unravel_index(int(held.argmax()), held.shape)
        most = format_number(float(values[row][token, feature]))
        where = visible(activations.tokens.texts[int(token)])
        mean = format_number(float(held.mean()))
        rows.append((activations.layer_names[row], mean, most, int(feature), where))
    header = ["LAYER", "MEAN MAGNITUDE", "LARGEST", "FEATURE", "AT TOKEN"]
    return [said, table(header, rows, {0, 4})]
