"""The paper's claims at nano size: students of one teacher at a small equal budget, each with one idea taken out, or
with one choice of the published script.

    addsr ablate --config configs/ablation.py --workdir runs/ablation --lq LQ --hr HR --config.photos=REDUCED

Nineteen runs of configs/addsr.py:nano; on two CPU cores about three minutes of training each. What a run changes is
written as config overrides of that run; the runs named in `seeds` change the seed only, and a difference that is
smaller than theirs is reported as none.
"""

from ml_collections import ConfigDict

PLAIN_ADD = (
    'objective.psr_train=0.0',
    'objective.second_step_latent=hr',
    'objective.teacher_condition=lq',
    'objective.ta_form=constant',
)
PUBLISHED = (
    'objective.ta_index=first_step',
    'objective.second_step_latent=hr',
    'objective.psr_range=signed',
    'objective.noise=shared',
    'objective.branch=per_pair',
    'objective.spectral_steps=3',
    'objective.d_grad_leak=True',
)


def get_config():
    return ConfigDict(
        {
            'config': 'configs/addsr.py:nano',  # what every run trains
            'photos': '',  # folder of training photographs; '': the sample photos
            'steps': 60,  # updates of every run
            'pairs': 16,  # of --lq and --hr, spread evenly
            'seeds': ('addsr', 'addsr_seed1', 'addsr_seed2'),
            'runs': {
                'addsr': (),
                'addsr_seed1': ('seed=1',),
                'addsr_seed2': ('seed=2',),
                'no_psr': ('objective.psr_train=0.0',),
                'lq_teacher': ('objective.teacher_condition=lq',),
                'ta_linear': ('objective.ta_form=linear',),
                'ta_constant': ('objective.ta_form=constant',),
                'ta_released': ('objective.ta_index=first_step',),
                'plain_add': PLAIN_ADD,
                # the student's adversarial weight was chosen for AddSR: plain ADD gets half of it as well
                'plain_add_half': (*PLAIN_ADD, 'objective.adversarial_weight=0.001'),
                # what the published script has instead of our defaults (docs/differences.md), one at a time, then all
                'second_step_hr': ('objective.second_step_latent=hr',),
                'psr_signed': ('objective.psr_range=signed',),
                'noise_shared': ('objective.noise=shared',),
                'branch_per_pair': ('objective.branch=per_pair',),
                'branch_per_batch': ('objective.branch=per_batch',),
                'spectral_steps_3': ('objective.spectral_steps=3',),
                'd_grad_leak': ('objective.d_grad_leak=True',),
                'released': PUBLISHED,
                'batch_16': ('batch_size=16', 'steps=30'),  # as many photographs, in half the updates
            },
            'methods': ('addsr-1', 'addsr-2', 'addsr-4'),  # every run is scored with these
            'metrics': ('psnr', 'ssim', 'niqe', 'lpips', 'dists'),  # by these; the last two need the extra [metrics]
            'without_psr': ('no_psr', 'plain_add', 'plain_add_half'),  # and these restore with PSR weight 0
            # The perception-distortion curve: the first seed, over steps and over PSR weights (after the @).
            'curve': (
                'addsr-8',
                'addsr-2@0',
                'addsr-2@1',
                'addsr-4@0',
                'addsr-4@0.2',
                'addsr-4@0.6',
                'addsr-4@0.8',
                'addsr-4@1',
                'addsr-8@0',
                'addsr-8@1',
            ),
            'teacher': 'seesr-50',  # scored once, from the weights that the runs start from
        }
    )
