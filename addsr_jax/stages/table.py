"""What is learned: the four stages, by the name that a config gives."""

from addsr_jax.stages import addsr, addsr_objective, autoencoder, dape, seesr
from addsr_jax.stages.base import StageKind

STAGES = {
    'dape': StageKind(dape.Objective, dape.make),
    'autoencoder': StageKind(autoencoder.Objective, autoencoder.make),
    'seesr': StageKind(seesr.Objective, seesr.make),
    'addsr': StageKind(addsr_objective.Objective, addsr.make),
}
