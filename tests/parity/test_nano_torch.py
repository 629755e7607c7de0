"""The embedded model's networks in torch: benchmarks/nano_torch.py on what `convert to_pytorch nano` writes."""

import pytest

from addsr_jax.weights import pytorch_folder

pytestmark = [pytest.mark.parity, pytest.mark.torch]


def test_the_exported_networks_give_our_numbers_in_torch(tmp_path):
    from benchmarks import nano_torch

    pytorch_folder.to_pytorch('nano', tmp_path / 'nano', 'student', lambda line: None)
    found = nano_torch.differences(tmp_path / 'nano')
    assert set(found) == {'encoder', 'decoder', 'text encoder', 'prompt extractor', 'ControlNet', 'UNet'}
    assert max(found.values()) < 1e-5
