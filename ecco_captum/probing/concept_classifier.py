r"""Linear probes as the classifier of Captum's TCAV (Kim et al. 2018)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from captum.concept._utils.classifier import Classifier
from torch import Tensor

from ecco_captum.core.checks import check_whole
from ecco_captum.probing.training import fit_probes

_VALIDATED = 0.1


class ProbeClassifier(Classifier):  # type: ignore[misc]
    r"""Tells concepts apart by the linear probes of :func:`ecco_captum.probe`.

    Give it to ``captum.concept.TCAV`` instead of its default, a perceptron that is trained with
    scikit-learn. As in ``probe``, one probe is trained for each learning rate, by Adam on
    cross-entropy, and the best on held-out examples is kept. Its rows of weights are the concept
    activation vectors: they point to where a concept gains over the others.

    Args:
        epochs (int, optional): how often the examples are seen. Default: 50
        learning_rates (sequence of float, optional): of Adam. Default: 0.1, 1e-3, 1e-5
        seed (int, optional): of the split, the first weights and the order. Default: 0

    Raises:
        ValueError: if an argument is wrong.

    Examples::

        >>> examples = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
        >>> batch = examples, (examples[:, 0] > 0).long()  # as TCAV makes them of two concepts
        >>> classifier = ProbeClassifier()
        >>> bool(classifier.train_and_eval([batch])["accs"] > 0.9)
        True
        >>> classifier.weights().shape
        torch.Size([2, 4])
    """

    def __init__(
        self, epochs: int = 50, learning_rates: Iterable[float] = (0.1, 1e-3, 1e-5), seed: int = 0
    ) -> None:
        check_whole("epochs", epochs)
        check_whole("seed", seed, least=0)
        self.epochs, self.seed = epochs, seed
        self.learning_rates = tuple(learning_rates)
        if not self.learning_rates or any(not rate > 0 for rate in self.learning_rates):
            raise ValueError(
                f"learning_rates: got {learning_rates!r}, accepts numbers above 0, at least one"
            )
        self._found: tuple[Tensor, list[int]] | None = None

    def train_and_eval(
        self, dataloader: Iterable[Any], test_split_ratio: float = 0.33, **kwargs: Any
    ) -> dict[str, Tensor]:
        r"""Trains the probes; see Captum's ``Classifier``.

        Args:
            dataloader (DataLoader): gives pairs of inputs (examples, features) and labels
                (examples,).
            test_split_ratio (float, optional): the part that is tested on. Default: 0.33
            **kwargs: nothing else is accepted.

        Returns:
            dict: ``accs``, the accuracy on the test part, and ``chance``, that of its most frequent
            concept.

        Raises:
            TypeError: if there are further arguments.
            ValueError: if there are too few examples or concepts.
        """
        if kwargs:
            raise TypeError(f"got {', '.join(kwargs)}, accepts test_split_ratio alone")
        if not 0 < test_split_ratio < 1:
            raise ValueError(
                f"test_split_ratio: got {test_split_ratio!r}, accepts a part between 0 and 1"
            )
        pairs = list(dataloader)
        x = torch.cat([inputs.detach().flatten(1) for inputs, _ in pairs]).float()
        concepts, labels = np.unique(
            torch.cat([labels for _, labels in pairs]).cpu().numpy(), return_inverse=True
        )
        tested = round(test_split_ratio * len(x))
        edge = tested + max(1, round(_VALIDATED * (len(x) - tested)))
        if len(concepts) < 2 or tested < 1 or edge >= len(x):
            raise ValueError(
                f"dataloader: got {len(x)} examples of {len(concepts)} concepts, accepts two or "
                "more, with examples to learn from, to choose the rate on, and to test on"
            )
        order = np.random.default_rng(self.seed).permutation(len(x))[None]
        test, validation, train = np.split(order, [tested, edge], axis=1)
        device, x = x.device, x.cpu()
        probes = fit_probes(
            x,
            labels[None, None].astype(np.int64),
            train,
            labels=len(concepts),
            learning_rates=self.learning_rates,
            epochs=self.epochs,
            seeds=[self.seed],
        )

        def right(words: np.ndarray) -> np.ndarray:
            """(rates,)"""
            guessed = probes.scores(x, words)[:, 0, :, 0].argmax(-1).numpy()
            return np.asarray((guessed == labels[words[0]]).mean(axis=1))

        best = int(right(validation).argmax())
        weights = probes.weights[best, 0, :, 0].T
        # What all concepts share changes no probability; without it a row is its concept's gain.
        self._found = (weights - weights.mean(dim=0)).to(device), concepts.tolist()
        most = np.bincount(labels[train[0]]).argmax()
        return {
            "accs": torch.tensor(right(test)[best], dtype=torch.float32),
            "chance": torch.tensor((labels[test[0]] == most).mean(), dtype=torch.float32),
        }

    def weights(self) -> Tensor:
        r"""(concepts, features), each concept's weights less the mean of all.

        Raises:
            RuntimeError: if nothing has been trained.
        """
        return self._trained()[0]

    def classes(self) -> list[int]:
        r"""The concepts' numbers, in the order of the weights' rows.

        Raises:
            RuntimeError: if nothing has been trained.
        """
        return self._trained()[1]

    def _trained(self) -> tuple[Tensor, list[int]]:
        if self._found is None:
            raise RuntimeError("there are no weights yet, train_and_eval() makes them")
        return self._found
