"""The lab: data, training, runs, scores, the ledger, sweeps and reports. `from resflow_lite.lab import load_flow`.

The modules of the lab import each other, never this face; what starts with an underscore is a module's own.
"""

from typing import TYPE_CHECKING

from ..faces import face

if TYPE_CHECKING:
    from . import leaderboard, report, tables
    from .baselines import gaussian_on_logits, independent_pixels
    from .checkpoints import load_flow, load_toy, pretrained
    from .claims import COMPARED, PENALISED, paper_claims
    from .costs import MODES, StepCosts, measure_costs
    from .data.images import Images, check_images, fetch, image_names, load_images
    from .evaluation import Evaluation, carry_out, dequantised, evaluate, proof_cost, run_hybrid, run_toy, sample_levels
    from .features import inception, train_features
    from .files import write_whole
    from .hours import GPU, MEASURED, PEAK_FLOPS, UTILISATION, simulated, step_seconds, step_tflop
    from .ledger import provenance, publish, read_entries
    from .machine import being_trained, connect
    from .notebooks import experiment_from_notebook
    from .package_data import shipped
    from .released import import_released
    from .reported import REPORTED, SECOND_HAND
    from .reproduction import estimate
    from .runs import Run, load_run
    from .scoring import estimating_with, image_bits
    from .seeds import by_seed, compare, group, mean_and_error, paired_interval
    from .sweeps import planned, published
    from .tasks.density import Experiment
    from .tasks.hybrid import (
        HybridExperiment,
        auroc,
        calibration_error,
        hybrid_weights,
        reliability,
        score_hybrid,
        summary,
    )
    from .tasks.plane import STEPS, ToyExperiment, point_nats
    from .tasks.task import noises
    from .training import fit, train_toy

__getattr__, __dir__ = face(__name__, __file__)
