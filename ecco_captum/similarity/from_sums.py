r"""Measures of similarity: from the sums of two layers and of their pair to a number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

from ecco_captum.core.checks import check_whole
from ecco_captum.similarity.canonical import (
    Whitened,
    correlations,
    projection_weights,
    published_weights,
    rewhitened,
    truncated,
    variates,
    whitened,
)
from ecco_captum.similarity.kernels import LinearKernel, linear_alignment, linear_kernel
from ecco_captum.similarity.sums import CrossSums, Frame, Layer, Sums

if TYPE_CHECKING:
    from ecco_captum.corpus.engines import Engine

MeasureName = Literal["cca", "svcca", "pwcca", "cka"]


WeightBy = Literal["x", "y", "mean"]


Definition = Literal["paper", "published"]


Kernel = Literal["linear", "rbf"]


Both = tuple[float, float]
"""What x is to y, and what y is to x."""


class Measure(Protocol):
    """What a comparison needs of a measure; ``Any`` is a layer prepared for its pairs."""

    @property
    def norms(self) -> bool:
        """Whether a pair's sums need the norms of its tokens, too."""

    def side(
        self,
        layer: Layer,
        frame: Frame,
        sums: Sums,
        own: CrossSums | None,
        engine: Engine | None = None,
    ) -> Any:
        """Prepares a layer, once, from its sums and those of its pair with itself.

        An engine makes the sums of what has to be read again.
        """

    def values(self, x: Any, y: Any, cross: CrossSums) -> Both:
        """Compares a pair."""


@dataclass(frozen=True)
class CCA:
    """CCA: the mean canonical correlation."""

    norms: bool = False

    def side(
        self,
        layer: Layer,
        frame: Frame,
        sums: Sums,
        own: CrossSums | None,
        engine: Engine | None = None,
    ) -> Whitened:
        return whitened(layer, frame, sums, engine)

    def resampled(self, side: Whitened, sums: Sums) -> Whitened:
        """The same layer with other weights of its tokens."""
        return rewhitened(side, sums)

    def values(self, x: Whitened, y: Whitened, cross: CrossSums) -> Both:
        mean = float(correlations(x, y, cross).mean())
        return mean, mean


@dataclass(frozen=True)
class SVCCA(CCA):
    """SVCCA: the same between leading singular directions."""

    variance: float = 0.99
    dims: int | None = None

    def __post_init__(self) -> None:
        given = self.variance
        if isinstance(given, bool) or not isinstance(given, float | int) or not 0 < given <= 1:
            raise ValueError(f"variance: got {given!r}, accepts a number above 0, up to 1")
        if self.dims is not None:
            check_whole("dims", self.dims)

    def side(
        self,
        layer: Layer,
        frame: Frame,
        sums: Sums,
        own: CrossSums | None,
        engine: Engine | None = None,
    ) -> Whitened:
        return truncated(layer, frame, sums, variance=self.variance, dims=self.dims)


@dataclass(frozen=True)
class PWCCA(CCA):
    """PWCCA: canonical correlations, weighed by what they account for."""

    weight_by: WeightBy = "x"
    definition: Definition = "paper"

    def __post_init__(self) -> None:
        _check("weight_by", self.weight_by, WeightBy)
        _check("definition", self.definition, Definition)

    def values(self, x: Whitened, y: Whitened, cross: CrossSums) -> Both:
        pair = variates(x, y, cross)
        weights = projection_weights if self.definition == "paper" else published_weights
        by_x = float(pair.correlations @ weights(x, pair.of_x))
        by_y = float(pair.correlations @ weights(y, pair.of_y))
        mean = (by_x + by_y) / 2
        return {"x": (by_x, by_y), "y": (by_y, by_x), "mean": (mean, mean)}[self.weight_by]


@dataclass(frozen=True)
class CKA:
    """CKA, whose Gaussian kernels need all pairs of tokens and are computed elsewhere."""

    kernel: Kernel = "linear"
    debiased: bool = True
    bandwidth: float | None = None
    norms: bool = True

    def __post_init__(self) -> None:
        _check("kernel", self.kernel, Kernel)
        if not isinstance(self.debiased, bool):
            raise ValueError(f"debiased: got {self.debiased!r}, accepts True or False")
        wide = self.bandwidth
        if wide is not None and (isinstance(wide, bool) or not wide > 0):
            raise ValueError(f"bandwidth: got {wide!r}, accepts a number above 0")

    def side(
        self,
        layer: Layer,
        frame: Frame,
        sums: Sums,
        own: CrossSums | None,
        engine: Engine | None = None,
    ) -> LinearKernel:
        assert own is not None  # as norms are asked for
        return linear_kernel(layer, frame, sums, own, debiased=self.debiased)

    def values(self, x: LinearKernel, y: LinearKernel, cross: CrossSums) -> Both:
        value = linear_alignment(x, y, cross, debiased=self.debiased)
        return value, value


_MEASURES: dict[str, Any] = {"cca": CCA, "svcca": SVCCA, "pwcca": PWCCA, "cka": CKA}


_OPTIONS = {
    "cca": (),
    "svcca": ("variance", "dims"),
    "pwcca": ("weight_by", "definition"),
    "cka": ("kernel", "debiased", "bandwidth"),
}


def find_measure(name: str, options: dict[str, Any]) -> Any:
    """Returns the measure "cca", "svcca", "pwcca" or "cka" with its function's options."""
    _check("measure", name, MeasureName)
    for option in options:
        if option not in _OPTIONS[name]:
            accepted = ", ".join(_OPTIONS[name]) or "none"
            raise TypeError(f"{option}: measure {name!r} has no such option, accepts {accepted}")
    return _MEASURES[name](**options)


def _check(name: str, given: Any, accepted: Any) -> None:
    if given not in get_args(accepted):
        shown = ", ".join(map(repr, get_args(accepted)))
        raise ValueError(f"{name}: got {given!r}, accepts {shown}")
