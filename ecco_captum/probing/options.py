r"""How probes are trained and tested: one documented set of options, checked where it is made."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ecco_captum.core.checks import check_whole

Control = Literal["type", "token"]
"""Whether a control task gives each word type a random label, or each word one of its own."""

Split = Literal["token", "sentence"]
Select = Literal["validation", "test"]
Pooling = Literal["first", "last", "mean"]


@dataclass(frozen=True)
class ProbeOptions:
    r"""How probes are trained and tested.

    Args:
        trials (int): how often all is drawn anew: the split, the control task, the first weights.
        test_size (float): the part of the words that is tested on.
        epochs (int): how often the training words are seen.
        learning_rates (sequence of float): of Adam; each trains a probe, and the best is kept. As
            in the paper unless you say otherwise.
        control (str or None): ``"type"`` (or ``True``) for a random label of each word type;
            ``"token"`` for one of each word, which is the paper's wording; None (or ``False``) for
            no control task.
        split (str): whether single words (``"token"``) or whole sentences are tested on.
        select (str): where the learning rate is chosen: on a tenth of the training words that is
            not trained on (``"validation"``), or on the ``"test"`` words themselves, which is
            optimistic.
        pooling (str): of a word's tokens, the ``"first"``, the ``"last"``, or the ``"mean"``.
        codelength (bool): whether to measure the minimum description length as well, by online
            coding (Voita & Titov 2020): bits for all labels, each block of words coded by probes of
            those before. It nearly triples the work.

    Raises:
        ValueError: if one of them has no such value.
    """

    trials: int = 5
    test_size: float = 0.33
    epochs: int = 50
    learning_rates: Sequence[float] = (0.1, 1e-3, 1e-5)
    control: Control | None = "type"
    split: Split = "token"
    select: Select = "validation"
    pooling: Pooling = "mean"
    codelength: bool = False

    def __post_init__(self) -> None:
        check_whole("trials", self.trials)
        check_whole("epochs", self.epochs)
        rates = self.learning_rates
        wrong = [rate for rate in rates if isinstance(rate, bool) or not rate > 0]
        if wrong or not len(rates):
            raise ValueError(
                f"learning_rates: got {rates!r}, accepts numbers above 0, at least one"
            )
        if isinstance(self.test_size, bool) or not 0 < self.test_size < 1:
            raise ValueError(f"test_size: got {self.test_size!r}, accepts a part between 0 and 1")
        for name, value, accepted in (
            ("split", self.split, Split),
            ("select", self.select, Select),
            ("pooling", self.pooling, Pooling),
            ("control", self.control or "type", Control),
        ):
            if value not in get_args(accepted):
                names = ", ".join(map(repr, get_args(accepted)))
                raise ValueError(f"{name}: got {value!r}, accepts {names}")
        object.__setattr__(self, "learning_rates", tuple(float(rate) for rate in rates))

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> ProbeOptions:
        r"""Returns the defaults, with what was given in their place.

        Raises:
            TypeError: if there is no such option.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(options) - set(names))
        if unknown:
            raise TypeError(f"options: got {unknown[0]!r}, accepts {', '.join(names)}")
        control = options.get("control", "type")
        if isinstance(control, bool):
            control = "type" if control else None
        return cls(**{**options, "control": control})
