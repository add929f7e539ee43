r"""ProbeReport: what each layer's states tell a linear probe, beside its control task."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ecco_captum.records import Record

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class ProbeReport(Record):
    r"""Accuracy and selectivity of linear probes on layers.

    Args:
        representations (tuple of str): (rows,), "hidden" or "neurons".
        layers (tuple of str): (rows,), such as "embedding" or "block 3".
        accuracy (array): (rows, trials), the part of test words that are told right.
        control_accuracy (array): (rows, trials), the same of the control task; NaN without one.
        rates (array): (rows, trials, tasks), the learning rates that were chosen.
        confusion (array): (rows, labels, labels), int64, test words of all trials: true labels in
            rows, told ones in columns.
        majority (array): (trials,), accuracy of the most frequent label.
        by_type (array): (trials,), accuracy of each word type's most frequent label.
        labels (tuple of str): (labels,), their names.
        label (str): the column that was told.
        model (str): whose states.
        words (int): how many there are.
        dropped (int): words that the model's context cut off.
        settings (dict): source, test_size, epochs, learning_rates, control, split, select, pooling,
            seed.
    """

    representations: tuple[str, ...]
    layers: tuple[str, ...]
    accuracy: np.ndarray
    control_accuracy: np.ndarray
    rates: np.ndarray
    confusion: np.ndarray
    majority: np.ndarray
    by_type: np.ndarray
    labels: tuple[str, ...]
    label: str
    model: str
    words: int
    dropped: int = 0
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def selectivity(self) -> np.ndarray:
        """(rows, trials), accuracy less that of the control task (Hewitt & Liang 2019)."""
        return np.asarray(self.accuracy - self.control_accuracy)

    @property
    def recall(self) -> np.ndarray:
        """(rows, labels), the part of each label's test words that are told right; NaN of none."""
        there = self.confusion.sum(axis=2)
        right = np.diagonal(self.confusion, axis1=1, axis2=2)
        return np.divide(right, there, out=np.full(there.shape, np.nan), where=there > 0)

    @property
    def subtitle(self) -> str:
        """What is shown."""
        source = f" of {self.settings['source']}" if self.settings.get("source") else ""
        trials = self.accuracy.shape[1]
        return (
            f"{self.model} · linear probes of {self.label}, {len(self.labels)} labels, over "
            f"{self.words:,} words{source} · mean of {trials} trial{'' if trials == 1 else 's'}"
        )

    @property
    def sentence(self) -> str:
        """Which layer tells most, and how much of it is learned by heart."""
        best = int(self.accuracy.mean(axis=1).argmax())
        said = (
            f"{self._named(best)} tells most: {_percent(self.accuracy[best])} of the words, where "
            f"the most frequent label of each word is right for {_percent(self.by_type)}."
        )
        if np.isnan(self.control_accuracy).any():
            return f"{said} Without a control task nobody knows how much of it is learned by heart."
        most = int(self.selectivity.mean(axis=1).argmax())
        return (
            f"{said} {self._named(most)} is the most selective: its probes tell random labels of "
            f"words {_percent(self.selectivity[most])} less often."
        )

    @property
    def note(self) -> str:
        """How it was measured."""
        control = {
            "type": "The control task gives each word type a random label.",
            "token": "The control task gives each word a random label of its own.",
            None: "",
        }[self.settings.get("control")]
        chosen = {
            "validation": "Learning rates were chosen on training words that were held out.",
            "test": "Learning rates were chosen on the test words, which is optimistic.",
        }[self.settings.get("select", "validation")]
        cut = f" {self.dropped:,} words beyond the context were dropped." if self.dropped else ""
        return f"{control} {chosen}{cut}".strip()

    def to_pandas(self) -> pd.DataFrame:
        r"""Returns one row a layer: representation, layer, and means and deviations over trials.

        Columns: accuracy, accuracy_sd, selectivity, selectivity_sd, control_accuracy.
        """
        import pandas as pd

        return pd.DataFrame(
            {
                "representation": list(self.representations),
                "layer": list(self.layers),
                "accuracy": self.accuracy.mean(axis=1),
                "accuracy_sd": self.accuracy.std(axis=1),
                "selectivity": self.selectivity.mean(axis=1),
                "selectivity_sd": self.selectivity.std(axis=1),
                "control_accuracy": self.control_accuracy.mean(axis=1),
            }
        )

    def to_latex(self) -> str:
        r"""Returns the paper's Table 1: layers in rows, accuracy and selectivity in percent."""
        lines = [r"\begin{tabular}{llrr}", r"Representation & Layer & Accuracy & Selectivity \\"]
        rows = zip(self.representations, self.layers, self.accuracy, self.selectivity, strict=True)
        for name, layer, accuracy, selective in rows:
            cells = " & ".join(
                "--"
                if np.isnan(one).any()
                else rf"${100 * one.mean():.1f} \pm {100 * one.std():.1f}$"
                for one in (accuracy, selective)
            )
            lines.append(rf"{name} & {layer} & {cells} \\")
        return "\n".join([*lines, r"\end{tabular}"])

    def _title(self) -> str:
        from ecco_captum.probe_html import TITLE

        return TITLE

    def _html(self) -> str:
        from ecco_captum.probe_html import probe_view

        return probe_view(
            self.representations,
            self.layers,
            self.accuracy,
            self.control_accuracy,
            baselines={
                "most frequent label": self.majority,
                "most frequent label of each word": self.by_type,
            },
            subtitle=self.subtitle,
            sentence=self.sentence,
            note=self.note,
        )

    def _named(self, row: int) -> str:
        return f"{self.representations[row]}, {self.layers[row]},"

    def __str__(self) -> str:
        return self.sentence

    def __repr__(self) -> str:
        return f"ProbeReport({self.subtitle}: {len(self.layers)} layers)"


def _in_latex(values: np.ndarray) -> str:
    if np.isnan(values).any():
        return "--"
    return rf"${100 * values.mean():.1f} \pm {100 * values.std():.1f}$"


def _percent(values: np.ndarray) -> str:
    return f"{100 * values.mean():.1f}%"
