"""Models that accelerate has spread over devices, as far as one processor can show it."""

from __future__ import annotations

from collections.abc import Callable

import accelerate
import numpy as np
import pytest

from ecco_captum import faithfulness, force_decode, saliency
from ecco_captum.models.language_model import LanguageModel
from ecco_captum.testing import model_state

MakeLM = Callable[..., LanguageModel]


@pytest.mark.parametrize("method", ["input_x_gradient", "ig", "attn_lrp", "occlusion"])
def test_accelerates_hooks_change_nothing(tiny_lm: MakeLM, method: str) -> None:
    lm = tiny_lm("llama")
    generation = force_decode(lm, "The keys to", " the cabinet are")
    options = {"n_steps": 50} if method == "ig" else {}
    expected = saliency(lm, generation, method=method, **options)
    accelerate.dispatch_model(lm.model, {"": "cpu"}, force_hooks=True)
    assert hasattr(lm.model, "_hf_hook") or hasattr(lm.model.model, "_hf_hook")
    before = model_state(lm.model)
    found = saliency(lm, generation, method=method, **options)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-4, atol=1e-5)
    tested = faithfulness(lm, found, progress=False, randomisation=False)
    assert np.isfinite(tested.comprehensiveness).all()
    assert model_state(lm.model) == before
