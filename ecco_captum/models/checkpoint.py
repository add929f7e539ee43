r"""What can be said of a checkpoint before it is loaded: where it is, and what its config says.

Nothing here imports torch or transformers, so that a wrong name is refused within a second.
"""

from __future__ import annotations

import json
import threading
from functools import cache
from pathlib import Path
from typing import Any

from ecco_captum.models.bundled import is_offline_name, local_folder, offline_models

_SECONDS = 2.0  # to find the hub, name look-up included


def config_of(name: str) -> dict[str, Any] | None:
    """The config of a checkpoint on this machine, as its file says; None if there is none."""
    folder = local_folder(name) if is_offline_name(name) else Path(name)
    path = None if folder is None else folder / "config.json"
    if path is None or not path.is_file():
        path = None if _is_path(name) or is_offline_name(name) else _cached_config(name)
    try:
        config = json.loads(path.read_text(encoding="utf-8")) if path else None
    except (OSError, ValueError):
        return None  # loading it says what is wrong
    return config if isinstance(config, dict) else None


def check_reachable(name: str) -> None:
    r"""Raises a ValueError, within seconds, if a checkpoint is neither here nor on a hub in reach.

    What is in the hub's cache needs no hub.
    """
    if is_offline_name(name) or Path(name).exists():
        return
    why = "there is no such file or directory" if _is_path(name) else ""
    if not why and _cached_config(name) is None:
        why = _unreachable(name)
    if why:
        offline = ", ".join(model.name for model in offline_models())
        raise ValueError(
            f"name: {name!r} could not be loaded: {why}. Accepted: a hub id (needs the network "
            f"once), a local directory with a config.json, a .gguf file, or an offline model "
            f"({offline})"
        )


def is_cached_only(name: str) -> bool:
    """Whether a checkpoint of a hub lies in the cache, and the hub cannot be reached."""
    if is_offline_name(name) or Path(name).exists() or _is_path(name):
        return False
    return _cached_config(name) is not None and bool(_unreachable(name))


def _is_path(name: str) -> bool:
    """Hub ids have one slash at most."""
    return name.endswith(".gguf") or name.startswith((".", "/", "~")) or name.count("/") > 1


def _cached_config(name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        path = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return None
    return Path(path) if isinstance(path, str) else None


@cache
def _unreachable(name: str) -> str:
    """Why a hub does not have it; empty if it has, or if only loading can tell."""
    said: list[str] = []
    # A resolver without a network takes longer than any time-out of a connection.
    thread = threading.Thread(target=lambda: said.append(_asked(name)), daemon=True)
    thread.start()
    thread.join(_SECONDS)
    return said[0] if said else _no_hub(f"no answer within {_SECONDS:.0f} s")


def _asked(name: str) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    try:
        HfApi().model_info(name, timeout=_SECONDS)
    except (HFValidationError, RepositoryNotFoundError) as error:
        # A gated one is there: loading it says what to sign.
        return "" if isinstance(error, GatedRepoError) else "the hub has no model of that name"
    except OfflineModeIsEnabled:
        return _no_hub("HF_HUB_OFFLINE is set")
    except HfHubHTTPError:
        return ""
    except Exception as error:  # of the network, whose errors are those of the client in use
        return _no_hub(" ".join(str(error).split()) or type(error).__name__)
    return ""


def _no_hub(reason: str) -> str:
    from huggingface_hub import constants

    return f"the model hub {constants.ENDPOINT} cannot be reached ({reason})"
