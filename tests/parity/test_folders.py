"""What we write for PyTorch, opened by diffusers and transformers as it is; and their files, read by them and by us."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from addsr_jax.networks.autoencoder import Autoencoder
from addsr_jax.networks.build import apply
from addsr_jax.networks.controlnet import ControlNet
from addsr_jax.networks.text_encoder import TextEncoder
from addsr_jax.networks.unet import UNet
from addsr_jax.weights import bundle as bundles
from addsr_jax.weights import conversion, low_rank_files, pytorch_folder, sources
from addsr_jax.weights.reader import open_folder
from tests import tiny_sd
from tests.golden import originals
from tests.parity import common

pytestmark = [pytest.mark.parity, pytest.mark.torch]
SPEC, SIDE = tiny_sd.SPEC, 16


@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
    return tiny_sd.save(tmp_path_factory.mktemp('bundle') / 'model')


@pytest.fixture(scope='module')
def folder(bundle, tmp_path_factory):
    place = tmp_path_factory.mktemp('folder') / 'for_torch'
    pytorch_folder.to_pytorch(bundle, place, 'student', lambda line: None)
    return place


def strict(kind: Any, place: Path):
    """The class with the tensors of a folder, every one of them and no other."""
    made = kind.from_config(kind.load_config(place))
    state = {n: common.tensor(t.read()) for n, t in open_folder(place, sources.STEMS['unet']).items()}
    made.load_state_dict(state, strict=True)
    return made.eval()


def inputs(spec):
    latents, text = common.normal(2, SIDE, SIDE, 4), common.normal(2, 7, spec.text_dim, seed=2)
    return latents, np.array([3, 901], np.int32), text


def test_every_network_loads_strictly_and_answers_as_ours(folder):
    import torch
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.controlnets.controlnet import ControlNetModel
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from transformers import CLIPTextModel

    params = tiny_sd.params()
    latents, t, text = inputs(SPEC.unet)
    image = common.normal(2, 8 * SIDE, 8 * SIDE, 3, seed=3)
    words = np.arange(154).reshape(2, 77) % SPEC.text_encoder.vocab_size
    loaded: Any = CLIPTextModel.from_pretrained(folder / 'text_encoder', output_loading_info=True)
    encoder, told = loaded
    theirs = [common.to_torch(latents), torch.from_numpy(t), torch.from_numpy(text)]
    with torch.no_grad():
        down, middle = strict(ControlNetModel, folder / 'controlnet')(
            *theirs, common.to_torch(image), return_dict=False
        )
        unet = strict(UNet2DConditionModel, folder / 'unet')(*theirs).sample
        decoded = strict(AutoencoderKL, folder / 'vae').decode(common.to_torch(latents)).sample
        said = encoder(torch.from_numpy(words)).last_hidden_state
    assert not any(told.values())  # tensors that are missing, or too many, or of another shape
    ours = apply(ControlNet(SPEC.controlnet), params['student']['controlnet'], latents, t, text, None, image, 1.0)
    for a, b in zip(ours[0], down, strict=True):
        common.close(a, b)
    common.close(ours[1], middle)
    common.close(apply(UNet(SPEC.unet), params['student']['unet'], latents, t, text, None), unet)
    common.close(apply(Autoencoder(SPEC.autoencoder), params['autoencoder'], latents, method='decode'), decoded)
    np.testing.assert_allclose(
        apply(TextEncoder(SPEC.text_encoder), params['text_encoder'], words), said.numpy(), atol=1e-5
    )


@pytest.mark.parametrize(('part', 'form'), [('student', {}), ('unet', {'dtype': 'bfloat16', 'shard': 1e-4})])
def test_the_folder_is_a_pipeline_of_diffusers(bundle, tmp_path, part, form):
    import torch
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

    pytorch_folder.to_pytorch(bundle, tmp_path / 'out', part, lambda line: None, **form)
    kind = torch.bfloat16 if form else torch.float32
    pipe: Any = DiffusionPipeline.from_pretrained(str(tmp_path / 'out'), dtype=kind)
    assert type(pipe).__name__ == json.loads((tmp_path / 'out' / 'model_index.json').read_text())['_class_name']
    assert pipe.scheduler.config.prediction_type == 'epsilon'
    assert pipe.tokenizer('a cat')['input_ids'][0] == pipe.tokenizer.bos_token_id
    state = pipe.unet.state_dict()
    wanted = {n: t.read() for n, t in open_folder(tmp_path / 'out' / 'unet', sources.STEMS['unet']).items()}
    assert set(state) == set(wanted)
    assert all(torch.equal(state[name], common.tensor(value)) for name, value in wanted.items())


def test_image_attentions_load_strictly_beside_diffusers_own_and_diffusers_refuses_to_leave_them_out(tmp_path):
    """SeeSR's second transformer after every first one, which is all that its classes add to those of diffusers."""
    import torch
    from diffusers.models.transformers.transformer_2d import Transformer2DModel
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

    files = originals.write(tmp_path / 'files')
    plan = sources.plan(files['sd'], addsr=files['addsr'], ram=files['ram'])
    conversion.from_pytorch(plan, tmp_path / 'bundle', lambda line: None, {})
    pytorch_folder.to_pytorch(tmp_path / 'bundle', tmp_path / 'out', 'student', lambda line: None)
    with pytest.raises(Exception, match=r'models\.unet_2d_condition|No module named|custom'):
        DiffusionPipeline.from_pretrained(str(tmp_path / 'out'))

    theirs: Any = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(tmp_path / 'out' / 'unet'))
    tokens = common.normal(2, 5, plan.spec.unet.image_dim, seed=5)
    for block in [*theirs.down_blocks, theirs.mid_block, *theirs.up_blocks]:
        if hasattr(block, 'attentions'):
            made = [
                Transformer2DModel(**{**dict(a.config), 'cross_attention_dim': tokens.shape[-1]})
                for a in block.attentions
            ]
            block.image_attentions = torch.nn.ModuleList(made)
            for text, image in zip(block.attentions, made, strict=True):
                text.forward = after(text.forward, image, torch.from_numpy(tokens))
    state = {
        n: common.tensor(t.read()) for n, t in open_folder(tmp_path / 'out' / 'unet', sources.STEMS['unet']).items()
    }
    theirs.load_state_dict(state, strict=True)
    latents, t, text = inputs(plan.spec.unet)
    with torch.no_grad():
        wanted = theirs(common.to_torch(latents), torch.from_numpy(t), torch.from_numpy(text)).sample
    student = bundles.load(tmp_path / 'bundle').params['student']['unet']
    common.close(apply(UNet(plan.spec.unet), student, latents, t, text, tokens), wanted)


def after(first, second, tokens):
    """`first`, and `second` on its result with other tokens."""

    def forward(hidden, encoder_hidden_states=None, **rest):
        hidden = first(hidden, encoder_hidden_states=encoder_hidden_states, return_dict=False)[0]
        return second(hidden, encoder_hidden_states=tokens, return_dict=False)

    return forward


def test_ldms_layout_becomes_what_diffusers_own_conversion_makes_of_it():
    from diffusers.loaders import single_file_utils as theirs
    from transformers import CLIPTextConfig

    states = tiny_sd.states()
    tensors = {kind: {n: common.tensor(v) for n, v in tiny_sd.to_ldm(kind, states[kind]).items()} for kind in states}
    config = {'layers_per_block': 1, 'down_block_types': [''] * 4, 'up_block_types': [''] * 4}
    made = {
        'unet': theirs.convert_ldm_unet_checkpoint(prefixed(tensors['unet'], 'model.diffusion_model.'), config),
        'controlnet': theirs.convert_controlnet_checkpoint(tensors['controlnet'], config),
        'autoencoder': theirs.convert_ldm_vae_checkpoint(
            prefixed(tensors['autoencoder'], 'first_stage_model.'), config
        ),
    }
    for kind, wanted in made.items():
        assert set(wanted) == set(states[kind])
        assert all(np.array_equal(wanted[name].numpy(), states[kind][name]) for name in wanted)
    holder = type('Holder', (), {'config': CLIPTextConfig(hidden_size=32)})
    wanted = theirs.convert_open_clip_checkpoint(holder, prefixed(tensors['text_encoder'], 'cond_stage_model.model.'))
    used = {n: v for n, v in wanted.items() if 'layers.2.' not in n and not n.startswith('text_projection')}
    assert {n.removeprefix('text_model.') for n in used} == {
        n.removeprefix('text_model.') for n in states['text_encoder']
    }


def prefixed(tensors, start):
    return {f'{start}{name}': value for name, value in tensors.items()}


def test_adapters_of_kohya_merge_to_what_diffusers_fuses(bundle, tmp_path):
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

    pytorch_folder.to_pytorch(bundle, tmp_path / 'out', 'unet', lambda line: None)
    own = {n: t for n, t in open_folder(tmp_path / 'out' / 'unet', sources.STEMS['unet']).items()}
    layers = [n.removesuffix('.weight') for n, t in own.items() if '.attn' in n and n.endswith('weight')]
    noise, tensors = np.random.default_rng(3), {}
    for layer in layers:
        rows, columns = own[f'{layer}.weight'].shape
        stem = f'lora_unet_{layer.replace(".", "_")}'
        tensors[f'{stem}.lora_down.weight'] = noise.normal(size=(2, columns)).astype(np.float32)
        tensors[f'{stem}.lora_up.weight'] = noise.normal(size=(rows, 2)).astype(np.float32)
        tensors[f'{stem}.alpha'] = np.array(1, np.float32)
    save_file(tensors, tmp_path / 'lora.safetensors')
    pipe: Any = StableDiffusionPipeline.from_pretrained(str(tmp_path / 'out'))
    pipe.load_lora_weights(str(tmp_path), weight_name='lora.safetensors')
    pipe.fuse_lora()
    pipe.unload_lora_weights()
    wanted = pipe.unet.state_dict()
    found = low_rank_files.merged(own, low_rank_files.read(tmp_path / 'lora.safetensors', print), 'unet')
    assert len(layers) > 20
    for name, tensor in found.items():
        np.testing.assert_allclose(tensor.read(), wanted[name].numpy(), atol=1e-5)
    assert np.abs(wanted[f'{layers[0]}.weight'].numpy() - own[f'{layers[0]}.weight'].read()).max() > 0.1
