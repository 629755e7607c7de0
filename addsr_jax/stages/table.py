"""What is learned: the four stages, by the name that a config gives."""

from addsr_jax.stages import addsr, autoencoder, dape, objectives, seesr
from addsr_jax.stages.base import StageKind

STAGES = {
    'dape': StageKind(objectives.DapeObjective, dape.make),
    'autoencoder': StageKind(objectives.AutoencoderObjective, autoencoder.make),
    'seesr': StageKind(objectives.SeesrObjective, seesr.make),
    'addsr': StageKind(objectives.AddsrObjective, addsr.make),
}
