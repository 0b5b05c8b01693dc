"""bfloat16 where the hardware has it."""

import pytest
import torch

from toolkit.options.precision import supported_precision


def test_bfloat16_falls_back_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    with pytest.warns(UserWarning, match="32-true replaces bf16-mixed"):
        assert supported_precision("bf16-mixed") == "32-true"
    assert supported_precision("32-true") == "32-true"
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    assert supported_precision("bf16-mixed") == "bf16-mixed"
