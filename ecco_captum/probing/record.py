r"""ProbeReport: what a linear probe reads from each layer's states, beside its control task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ecco_captum.core.checks import Verdict
from ecco_captum.core.record import Record, data_frame
from ecco_captum.core.significance import LEVEL, holm
from ecco_captum.core.text import format_fixed

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


VALIDATED = 0.1
"""The part of the training words where the learning rate is chosen."""

_TESTED = 0.33  # in records that do not say


@dataclass(frozen=True, eq=False)
class ProbeReport(Record):
    r"""Accuracy and selectivity of linear probes on layers.

    Args:
        representations (tuple of str): (rows,), "hidden" or "neurons".
        layers (tuple of str): (rows,), such as "embedding" or "block 3".
        accuracy (array): (rows, trials), the part of test words that are predicted right.
        control_accuracy (array): (rows, trials), the same of the control task; NaN without one.
        rates (array): (rows, trials, tasks), the learning rates that were chosen.
        confusion (array): (rows, labels, labels), int64, test words of all trials: true labels in
            rows, predicted ones in columns.
        majority (array): (trials,), accuracy of the most frequent label.
        by_type (array): (trials,), accuracy of each word type's most frequent label.
        labels (tuple of str): (labels,), their names.
        label (str): the column that was predicted.
        model (str): whose states.
        words (int): how many there are.
        dropped (int): words that the model's context cut off.
        codelength (array, optional): (rows, trials, tasks), bits that all labels take when they are
            coded by probes, the task's and the control task's (Voita & Titov 2020).
        settings (dict): source, test_size, epochs, learning_rates, control, split, select, pooling,
            codelength, seed.

    Examples::

        >>> corpus = read_conllu()
        >>> report = probe(encoder, corpus, representations=["hidden"], layers=[0, 2], trials=2)
        >>> report.selectivity.shape, report.labels[:3]
        ((2, 2), ('ADJ', 'ADP', 'ADV'))
        >>> bool(report.accuracy.mean() > report.majority.mean())
        True
    """

    title: ClassVar[str] = "What does each layer know?"
    _axes: ClassVar[dict[str, str]] = {
        "representations layers": "rows",
        "accuracy control_accuracy": "float: rows trials",
        "rates codelength": "float: rows trials tasks",
        "labels": "labels",
        "confusion": "int: rows labels labels",
        "majority by_type": "float: trials",
    }

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
    codelength: np.ndarray | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def selectivity(self) -> np.ndarray:
        """(rows, trials), accuracy less that of the control task (Hewitt & Liang 2019)."""
        return np.asarray(self.accuracy - self.control_accuracy)

    @property
    def baseline(self) -> np.ndarray:
        """(trials,), the larger of ``by_type`` and ``majority``; where words are not known this."""
        return np.asarray(np.fmax(self.by_type, self.majority))

    @property
    def p_selectivity(self) -> np.ndarray:
        """(rows,), p-values of the corrected resampled t-test that selectivity is above 0.

        Trials share words, so their deviation is taken t · sd · √(1/trials + test/train) for the
        error of the mean (Nadeau & Bengio 2003), with the parts of the words that are tested on and
        trained on; one-sided. NaN with one trial, or without a control task.
        """
        return self._p_values(self.selectivity)

    @property
    def p_accuracy(self) -> np.ndarray:
        """(rows,), p-values of the same test that accuracy is above ``baseline``."""
        return self._p_values(self.accuracy - self.baseline)

    @property
    def p_adjusted(self) -> np.ndarray:
        """(rows,), p-values that both hold, adjusted for all rows (Holm 1979).

        Both hold where the less sure one does: its p-value is the larger one.
        """
        return holm(np.maximum(self.p_selectivity, self.p_accuracy))

    @property
    def verdict(self) -> Verdict:
        """Whether some layer knows more of the labels than words tell and probes memorise.

        Supported if both accuracy over the baseline and selectivity are above 0 in some row, at 5%
        over all rows; otherwise inconclusive.
        """
        return "supported" if (self.p_adjusted <= LEVEL).any() else "inconclusive"

    @property
    def claim(self) -> str:
        """What the verdict says, with p, trials and layers, as a sentence."""
        rows, trials = self.accuracy.shape
        p = self.p_adjusted
        if np.isnan(p).all():
            needed = "at least two trials" if trials < 2 else "a control task"
            return f"A test against control tasks and words' labels needs {needed}."
        clear = int((p <= LEVEL).sum())
        layers = f"layer{'' if rows == 1 else 's'} beat{'s' if clear == 1 else ''}"
        return (
            f"{clear} of {rows} {layers} both the control task and the "
            f"labels that words alone give (smallest p = {p.min():.2g}, adjusted for all layers; "
            f"{trials} trials)."
        )

    def _p_values(self, differences: np.ndarray) -> np.ndarray:
        """(rows,), of (rows, trials), that their mean is above 0."""
        from scipy.stats import t as student

        trials = differences.shape[1]
        if trials < 2:
            return np.full(len(differences), np.nan)
        tested = self.settings.get("test_size", _TESTED)
        ratio = tested / ((1 - VALIDATED) * (1 - tested))
        words = self.confusion.sum(axis=(1, 2)) / trials
        # Trials that all give the same number are no surer than half a test word.
        spread = np.maximum(differences.std(axis=1, ddof=1), 0.5 / np.maximum(words, 1))
        values = differences.mean(axis=1) / (spread * np.sqrt(1 / trials + ratio))
        return np.asarray(student.sf(values, trials - 1))

    @property
    def baselines(self) -> dict[str, np.ndarray]:
        """Accuracies without a probe, (trials,), by name; those that could be measured."""
        named = {"most frequent label": self.majority, "most frequent of the word": self.by_type}
        return {name: values for name, values in named.items() if not np.isnan(values).any()}

    @property
    def recall(self) -> np.ndarray:
        """(rows, labels), the part of each label's test words predicted right; NaN of none."""
        there = self.confusion.sum(axis=2)
        right = np.diagonal(self.confusion, axis1=1, axis2=2)
        return np.divide(right, there, out=np.full(there.shape, np.nan), where=there > 0)

    @property
    def compression(self) -> np.ndarray:
        """(rows, trials), how many times shorter than log2 K bits a label the task's code is."""
        if self.codelength is None:
            raise ValueError("codelength: was not measured, accepts probe(…, codelength=True)")
        uniform = self.words * np.log2(len(self.labels))
        return np.asarray(uniform / self.codelength[..., 0])

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
        """Which layer is read most accurately, and how much of that the probes memorised."""
        best = int(self.accuracy.mean(axis=1).argmax())
        right = _percent(self.accuracy[best])
        sentence = f"Best layer: {self.named(best)}, {right} of the words"
        if not np.isnan(self.by_type).any():
            sentence += f" (each word's most frequent label: {_percent(self.by_type)})"
        if np.isnan(self.control_accuracy).any():
            return f"{sentence}. Without a control task nobody knows how much was memorised."
        return f"{self._memorised(sentence)} {self.claim}"

    def _memorised(self, sentence: str) -> str:
        """The sentence with what control tasks reach."""
        most = int(self.selectivity.mean(axis=1).argmax())
        control, points = self.control_accuracy[most], 100 * self.selectivity[most].mean()
        return (
            f"{sentence}. Most selective: {self.named(most)}; on the control task (random labels) "
            f"its probes reach {_percent(control)}, {format_fixed(points, 1)} points less."
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

        Columns: accuracy, accuracy_sd, selectivity, selectivity_sd, control_accuracy, p_accuracy,
        p_selectivity, p_adjusted (of both, over all layers); and, where
        labels were coded, codelength and control_codelength (bits) and compression, the part of a
        uniform code's bits over them.
        """
        coded: dict[str, np.ndarray] = {}
        if self.codelength is not None:
            bits = self.codelength.mean(axis=1)
            coded = {"codelength": bits[:, 0], "compression": self.compression.mean(axis=1)}
            if bits.shape[1] > 1:
                coded["control_codelength"] = bits[:, 1]
        return data_frame(
            {
                "representation": list(self.representations),
                "layer": list(self.layers),
                "accuracy": self.accuracy.mean(axis=1),
                "accuracy_sd": self.accuracy.std(axis=1),
                "selectivity": self.selectivity.mean(axis=1),
                "selectivity_sd": self.selectivity.std(axis=1),
                "control_accuracy": self.control_accuracy.mean(axis=1),
                "p_accuracy": self.p_accuracy,
                "p_selectivity": self.p_selectivity,
                "p_adjusted": self.p_adjusted,
                **coded,
            }
        )

    def to_latex(self) -> str:
        r"""Returns the paper's Table 1: layers in rows, accuracy and selectivity in percent.

        Where labels were coded, a third column has the code's length in kbit.
        """
        columns = {"Accuracy": (100 * self.accuracy, 1), "Selectivity": (100 * self.selectivity, 1)}
        if self.codelength is not None:
            columns["Codelength (kbit)"] = (self.codelength[..., 0] / 1000, 2)
        head = " & ".join(["Representation & Layer", *columns])
        lines = [rf"\begin{{tabular}}{{ll{'r' * len(columns)}}}", rf"{head} \\"]
        for k, (name, layer) in enumerate(zip(self.representations, self.layers, strict=True)):
            cells = [_in_latex(values[k], places) for values, places in columns.values()]
            lines.append(rf"{' & '.join([name, layer, *cells])} \\")
        return "\n".join([*lines, r"\end{tabular}"])

    def fragment(self) -> str:
        from ecco_captum.probing.html import probe_view

        return str(probe_view(self))

    def plot(self, *, width: float = 3.35, title: str = "") -> Figure:
        r"""Returns accuracy and selectivity over layers as a figure for a paper.

        See :meth:`Record.plot`.
        """
        from ecco_captum.probing.plot import probe_figure

        return probe_figure(self, width=width, title=title)

    def named(self, row: int) -> str:
        """A row as a sentence names it, such as "hidden states of block 3"."""
        name = {"hidden": "hidden states", "neurons": "neurons"}
        kind = self.representations[row]
        return f"{name.get(kind, kind)} of {self.layers[row]}"

    def terminal(self) -> list[Any]:
        from ecco_captum.probing.terminal import probe_blocks

        return probe_blocks(self)

    def __repr__(self) -> str:
        return f"ProbeReport({self.subtitle}: {len(self.layers)} layers)"


def joined_reports(reports: Sequence[ProbeReport]) -> ProbeReport:
    r"""One report of several representations of the same words in the same trials."""

    def rows(name: str) -> np.ndarray:
        return np.concatenate([getattr(report, name) for report in reports])

    coded = all(report.codelength is not None for report in reports)
    return replace(
        reports[0],
        representations=tuple(name for report in reports for name in report.representations),
        layers=tuple(layer for report in reports for layer in report.layers),
        accuracy=rows("accuracy"),
        control_accuracy=rows("control_accuracy"),
        rates=rows("rates"),
        confusion=rows("confusion"),
        codelength=rows("codelength") if coded else None,
    )


def _in_latex(values: np.ndarray, places: int) -> str:
    if np.isnan(values).any():
        return "--"
    return rf"${values.mean():.{places}f} \pm {values.std():.{places}f}$"


def _percent(values: np.ndarray) -> str:
    return f"{100 * values.mean():.1f}%"
