"""What is learned: the four stages and the small decoder, by the name that a config gives."""

from addsr_jax.stages import addsr, autoencoder, dape, objectives, seesr, tiny_decoder
from addsr_jax.stages.base import StageKind

STAGES = {
    'dape': StageKind(objectives.DapeObjective, dape.make),
    'autoencoder': StageKind(objectives.AutoencoderObjective, autoencoder.make),
    'seesr': StageKind(objectives.SeesrObjective, seesr.make),
    'addsr': StageKind(objectives.AddsrObjective, addsr.make),
    'tiny_decoder': StageKind(objectives.TinyDecoderObjective, tiny_decoder.make),
}
