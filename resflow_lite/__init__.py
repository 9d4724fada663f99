"""resflow-lite: Residual Flows for Invertible Generative Modeling (Chen et al. 2019), to read and to run."""

from .checks import CheckReport, check_activation, check_bijection, check_images, check_unbiased
from .datasets.images import Images, image_names, load_images
from .datasets.toy import toy_data, toy_names
from .errors import CheckFailed, DataError, InverseError, NotContractiveError, ResflowError, SettingsError
from .estimators.krylov import Krylov
from .estimators.linearization import AutogradLinearization, Linearization, linearize
from .estimators.logdet import Exact, LogDetEstimate, PowerSeries, log_det
from .estimators.series import Geometric, Matched, Poisson, Roulette, Truncated, expected_terms, tail_ratio
from .experiments.bias import BiasReport, bias_report
from .experiments.evaluation import Evaluation, evaluate
from .experiments.hybrid import HybridExperiment, run_hybrid
from .experiments.runs import Run, load_run
from .experiments.settings import Experiment
from .experiments.toy import ToyExperiment, run_toy
from .experiments.training import fit
from .layers.activations import ELU, Activation, CLipSwish, LipSwish, ReLU, Sine, Softplus, Tanh, compile_activations_
from .layers.bijection import Bijection
from .layers.branch import LipschitzBranch
from .layers.chain import Chain
from .layers.continuous import ContinuousFlow
from .layers.coupling import AffineCoupling, InvertibleLinear, MixtureCoupling
from .layers.elementwise import ActNorm, Logit, Normalize
from .layers.lipschitz import LearnedOrder, LipschitzConv2d, LipschitzLinear, update_norms_
from .layers.residual import ResidualBlock, invert
from .layers.shape import FactorOut, Flatten, NoiseChannels, Squeeze
from .models.certificate import Certificate
from .models.dequantize import VariationalDequantizer, uniform_dequantize
from .models.flow import Flow, bits_per_dim
from .models.hybrid import HybridFlow, hybrid_flow, hybrid_kinds
from .models.image import ImageModel, image_flow
from .models.opponents import System, image_system, systems, toy_system, with_budget
from .models.presets import Recipe, presets, recipes
from .models.toy import toy_flow
from .numerics.fixed_point import Solution

__version__ = "0.1.0"
