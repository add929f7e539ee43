"""Probes that workers of Ray train: the same to the last bit as in one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from activation_samples import random, stored_in_parts

from ecco_captum import ProbeReport, probe
from ecco_captum.corpus.ray_engine import RayEngine
from ecco_captum.probing import probe as probing

ENGINES = ["local", RayEngine(workers=1), RayEngine(workers=2)]
WORDS = 200


def probed(states: Any, **change: Any) -> ProbeReport:
    rng = np.random.default_rng(0)
    tags = [None if k % 7 == 3 else "odd" if k % 2 else "even" for k in range(WORDS)]
    words = [f"w{k}" for k in rng.integers(40, size=WORDS)]
    options = {"words": words, "trials": 3, "epochs": 3, "learning_rates": (0.1, 1e-2)}
    return probe(states, tags, **{**options, "progress": False, **change})


def identical(some: ProbeReport, other: ProbeReport) -> None:
    for field in ("accuracy", "control_accuracy", "rates", "confusion", "codelength"):
        np.testing.assert_array_equal(getattr(some, field), getattr(other, field), err_msg=field)


@pytest.fixture(scope="module")
def states() -> Any:
    return random(0, signed=True, shape=(3, WORDS, 9))


@pytest.mark.usefixtures("ray_cluster")
def test_engines_and_workers_leave_no_trace(states: Any, tmp_path: Path) -> None:
    on_disk = stored_in_parts(states, tmp_path / "acts", [WORDS])
    local, one, two = (probed(on_disk, codelength=True, engine=engine) for engine in ENGINES)
    assert local.accuracy.shape == (3, 3)
    assert len(np.unique(local.accuracy)) > 2
    identical(local, one)
    identical(local, two)
    identical(local, probed(states, codelength=True))


def test_threads_leave_no_trace(states: Any) -> None:
    made = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            made.append(probed(states, codelength=True))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(1)
    identical(*made)


@pytest.mark.usefixtures("ray_cluster")
def test_reports_that_are_there_are_not_made_again(
    states: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = probed(states, checkpoint=tmp_path, engine=RayEngine(workers=2))
    assert [path.name for path in tmp_path.iterdir()] == ["neurons.npz"]

    def never(*given: Any, **options: Any) -> None:
        raise AssertionError("it was there")

    monkeypatch.setattr(probing._Run, "_trained", never)
    identical(first, probed(states, checkpoint=tmp_path))
    identical(first, probed(states, checkpoint=tmp_path, engine="ray"))


@pytest.mark.usefixtures("ray_cluster")
def test_progress_comes_from_workers(states: Any) -> None:
    parts: list[float] = []
    probed(states, engine=RayEngine(workers=2), progress=parts.append)
    assert parts == sorted(parts)
    assert len(set(parts)) >= 9  # layers and trials
    assert parts[-1] == pytest.approx(1)
    with pytest.raises(ValueError, match="engine: got 'spark'"):
        probed(states, engine="spark")
