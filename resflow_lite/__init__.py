"""resflow-lite: Residual Flows for Invertible Generative Modeling (Chen et al. 2019), to read and to run.

Here are the names of the paper, by the folders that hold them. `rf.lab` has what trains, scores and compares models,
`rf.book` what draws the chapters' figures and checks their exercises.
"""

from .checks import check_activation, check_bijection, check_unbiased
from .errors import CheckFailed, DataError, InverseError, NotContractiveError, ResflowError, SettingsError
from .estimators.krylov import Krylov
from .estimators.linearization import Linearization, linearize
from .estimators.logdet import Exact, PowerSeries, log_det
from .estimators.series import Geometric, Matched, Poisson, Roulette, Truncated, expected_terms, tail_ratio
from .faces import face
from .layers.activations import ELU, Activation, CLipSwish, LipSwish, ReLU, Sine, Softplus, Tanh
from .layers.bijection import Bijection, Chain
from .layers.branch import LipschitzBranch
from .layers.continuous import ContinuousFlow
from .layers.convolution import LipschitzConv2d
from .layers.coupling import AffineCoupling, InvertibleLinear, MixtureCoupling
from .layers.elementwise import ActNorm, Logit, Normalize
from .layers.lipschitz import LipschitzLinear, update_norms_
from .layers.orders import LearnedOrder
from .layers.residual import ResidualBlock, invert
from .layers.shape import FactorOut, Flatten, NoiseChannels, Squeeze
from .models.certificate import Certificate
from .models.densities import toy_data, toy_names
from .models.dequantize import VariationalDequantizer, uniform_dequantize
from .models.flow import Flow, bits_per_dim
from .models.hybrid import HybridFlow, hybrid_flow
from .models.image import ImageModel, image_flow
from .models.presets import presets, recipes
from .models.systems import systems
from .models.toy import toy_flow

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

# further names, imported when they are asked for, and so is all that the lab and the book need
__getattr__, __dir__ = face(
    __name__,
    {
        "numerics.fixed_point": "Solution banach",
        "numerics.norms": "gram_upper power_iteration",
        "estimators.linearization": "AutogradLinearization",
        "estimators.logdet": "LogDetEstimate dense_jacobian",
        "layers.activations": "ACTIVATIONS compile_activations_",
        "layers.continuous": "dense_velocity",
        "models.bias": "BiasReport bias_report",
        "models.branches": "dense_branch",
        "models.hybrid": "hybrid_kinds",
        "models.presets": "Recipe",
        "models.systems": "System image_system toy_system with_budget",
        "checks": "CheckReport exact_log_det",
        "lab": "Experiment fit evaluate load_run load_images ToyExperiment run_toy HybridExperiment run_hybrid"
        " Evaluation Run Images check_images image_names",
        "book": "",
    },
)
