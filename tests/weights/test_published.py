"""What folders of others say of their networks: read, or refused in one line, whatever stands there."""

import json

import pytest

from addsr_jax.errors import UserError
from addsr_jax.sizes import SD2
from addsr_jax.weights import published

AUTOENCODER = {
    'in_channels': 3,
    'latent_channels': 4,
    'block_out_channels': [128, 256, 512, 512],
    'layers_per_block': 2,
    'norm_num_groups': 32,
    'scaling_factor': 0.18215,
}
TEXT = {
    'hidden_act': 'gelu',
    'vocab_size': 49408,
    'hidden_size': 1024,
    'intermediate_size': 4096,
    'num_hidden_layers': 23,
    'num_attention_heads': 16,
    'max_position_embeddings': 77,
    'layer_norm_eps': 1e-5,
}
SCHEDULE = {'beta_start': 0.00085, 'beta_end': 0.012, 'num_train_timesteps': 1000, 'beta_schedule': 'scaled_linear'}
READERS = {
    'unet': (published.unet_spec, published.unet_config(SD2.unet), SD2.unet),
    'controlnet': (published.controlnet_spec, published.controlnet_config(SD2.controlnet), SD2.controlnet),
    'autoencoder': (published.autoencoder_spec, AUTOENCODER, SD2.autoencoder),
    'text_encoder': (published.text_encoder_spec, TEXT, SD2.text_encoder),
    'schedule': (published.schedule_spec, SCHEDULE, SD2.schedule),
}
ABSURD = (None, True, 0, -1, 10**12, 0.5, '', 'x', '\x1b[2J', [], [[]], [-1], ['x'], [1] * 1000, {}, {'a': 1})


def written(folder, config):
    for name in ('config.json', 'scheduler_config.json'):
        (folder / name).write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize('kind', READERS)
def test_absurd_values_gone_and_strange_ones_are_one_line(kind, tmp_path):
    reader, config, spec = READERS[kind]
    assert reader(written(tmp_path, config)) == spec
    refused: list[str] = []
    for key in config:
        gone = {other: value for other, value in config.items() if other != key}
        for changed in (gone, *({**config, key: value} for value in ABSURD)):
            try:
                reader(written(tmp_path, changed))
            except UserError as error:
                refused.append(str(error))
    assert len(refused) > 5 * len(SCHEDULE)
    assert max(map(len, refused)) < 2000


@pytest.mark.parametrize('kind', ['unet', 'controlnet', 'autoencoder'])
def test_what_changes_numbers_and_no_shape_is_refused_by_its_key(kind, tmp_path):
    reader, config, spec = READERS[kind]
    named = config.get('_class_name', 'AutoencoderKL')
    for key, known in published.ONLY[named].items():
        for value in known:
            assert reader(written(tmp_path, {**config, key: value})) == spec
        for value in ('gelu', 2, 0.5, [0.1] * 4, [[]], {}):
            with pytest.raises(UserError, match=f'config.json says {key} '):
                reader(written(tmp_path, {**config, key: value}))


def test_a_controlnet_s_heads_are_what_diffusers_takes_for_them(tmp_path):
    config = published.controlnet_config(SD2.controlnet)
    assert published.controlnet_spec(written(tmp_path, {**config, 'num_attention_heads': None})) == SD2.controlnet
    asked = {**config, 'num_attention_heads': [1, 2, 4, 8]}
    assert published.controlnet_spec(written(tmp_path, asked)).unet.heads == (1, 2, 4, 8)
