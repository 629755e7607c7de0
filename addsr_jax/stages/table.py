"""What is learned: the four stages and the small decoder, by the name that a config gives."""

from addsr_jax.stages import addsr, autoencoder, dape, objectives, seesr, tiny_decoder
from addsr_jax.stages.base import StageKind

STAGES = {
    'dape': StageKind('prompt_extractor', objectives.DapeObjective, dape.make),
    'autoencoder': StageKind('autoencoder', objectives.AutoencoderObjective, autoencoder.make),
    'seesr': StageKind('teacher', objectives.SeesrObjective, seesr.make),
    'addsr': StageKind('student', objectives.AddsrObjective, addsr.make),
    'tiny_decoder': StageKind('tiny_decoder', objectives.TinyDecoderObjective, tiny_decoder.make),
}
