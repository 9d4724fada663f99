"""resflow-lite: Residual Flows for Invertible Generative Modeling (Chen et al. 2019), to read and to run.

Here are the names of the paper, by the folders that hold them. `rf.lab` has what trains, scores and compares models,
`rf.book` what draws the chapters' figures and checks their exercises.
"""

from typing import TYPE_CHECKING

from .faces import face

if TYPE_CHECKING:  # what there is, and where; it is imported when somebody asks for it
    from . import book, checks, errors, estimators, lab, layers, models, numerics
    from .checks import CheckReport, check_activation, check_bijection, check_unbiased, exact_log_det
    from .errors import CheckFailed, DataError, InverseError, NotContractiveError, ResflowError, SettingsError
    from .estimators.krylov import Krylov
    from .estimators.linearization import AutogradLinearization, Linearization, linearize
    from .estimators.logdet import Exact, LogDetEstimate, PowerSeries, dense_jacobian, log_det
    from .estimators.series import Geometric, Matched, Poisson, Roulette, Truncated, expected_terms, tail_ratio
    from .lab.data.images import Images, check_images, image_names, load_images
    from .lab.evaluation import Evaluation, evaluate, run_hybrid, run_toy
    from .lab.runs import Run, load_run
    from .lab.tasks.density import Experiment
    from .lab.tasks.hybrid import HybridExperiment
    from .lab.tasks.plane import ToyExperiment
    from .lab.training import fit
    from .layers.activations import (
        ACTIVATIONS,
        ELU,
        Activation,
        CLipSwish,
        LipSwish,
        ReLU,
        Sine,
        Softplus,
        Tanh,
        compile_activations_,
    )
    from .layers.bijection import Bijection, Chain
    from .layers.branch import LipschitzBranch
    from .layers.continuous import ContinuousFlow, dense_velocity
    from .layers.convolution import LipschitzConv2d
    from .layers.coupling import AffineCoupling, InvertibleLinear, MixtureCoupling
    from .layers.elementwise import ActNorm, Logit, Normalize
    from .layers.linear import LipschitzLinear
    from .layers.lipschitz import update_norms_
    from .layers.orders import LearnedOrder
    from .layers.residual import ResidualBlock, invert
    from .layers.shape import FactorOut, Flatten, NoiseChannels, Squeeze
    from .models.bias import BiasReport, bias_report
    from .models.branches import dense_branch
    from .models.certificate import Certificate
    from .models.densities import toy_data, toy_names
    from .models.dequantize import VariationalDequantizer, uniform_dequantize
    from .models.flow import Flow, bits_per_dim
    from .models.hybrid import HybridFlow, hybrid_flow, hybrid_kinds
    from .models.image import ImageModel, image_flow
    from .models.presets import Recipe, presets, recipes
    from .models.systems import System, image_system, systems, toy_system, with_budget
    from .models.toy import toy_flow
    from .numerics.fixed_point import Solution, banach
    from .numerics.norms import gram_upper, power_iteration

__version__ = "0.1.0"
__all__ = [
    # estimators
    *("log_det", "PowerSeries", "Krylov", "Exact", "Truncated", "Roulette", "Geometric", "Poisson", "Matched"),
    *("expected_terms", "tail_ratio", "linearize", "Linearization"),
    # layers
    *("Activation", "LipSwish", "CLipSwish", "ELU", "Tanh", "Sine", "Softplus", "ReLU"),
    *("LipschitzLinear", "LipschitzConv2d", "LearnedOrder", "update_norms_", "LipschitzBranch"),
    *("ResidualBlock", "invert", "Bijection", "Chain", "ActNorm", "Logit", "Normalize", "Squeeze", "Flatten"),
    *("FactorOut", "NoiseChannels", "AffineCoupling", "MixtureCoupling", "InvertibleLinear", "ContinuousFlow"),
    # models
    *("Flow", "toy_flow", "image_flow", "ImageModel", "HybridFlow", "hybrid_flow", "systems", "presets", "recipes"),
    *("Certificate", "uniform_dequantize", "VariationalDequantizer", "bits_per_dim"),
    *("toy_data", "toy_names"),
    # checks and errors
    *("check_activation", "check_bijection", "check_unbiased"),
    *("ResflowError", "SettingsError", "DataError", "InverseError", "NotContractiveError", "CheckFailed"),
    # of the lab
    *("Experiment", "fit", "evaluate", "load_run", "load_images"),
]

__getattr__, __dir__ = face(__name__, __file__)
