"""resflow-lite: Residual Flows for Invertible Generative Modeling (Chen et al. 2019), to read and to run."""

from .checks import CheckReport, check_activation, check_bijection, check_unbiased
from .errors import CheckFailed, DataError, InverseError, NotContractiveError, ResflowError, SettingsError
from .estimators.krylov import Krylov
from .estimators.linearization import AutogradLinearization, Linearization, linearize
from .estimators.logdet import Exact, LogDetEstimate, PowerSeries, log_det
from .estimators.series import Geometric, Matched, Poisson, Roulette, Truncated, expected_terms, tail_ratio
from .lab.data.images import Images, check_images, image_names, load_images
from .lab.evaluation import Evaluation, carry_out, evaluate
from .lab.runs import Run, load_run
from .lab.tasks.density import Experiment
from .lab.tasks.hybrid import HybridExperiment
from .lab.tasks.plane import ToyExperiment
from .lab.training import fit
from .layers.activations import ELU, Activation, CLipSwish, LipSwish, ReLU, Sine, Softplus, Tanh, compile_activations_
from .layers.bijection import Bijection, Chain
from .layers.branch import LipschitzBranch
from .layers.continuous import ContinuousFlow
from .layers.convolution import LipschitzConv2d
from .layers.coupling import AffineCoupling, InvertibleLinear, MixtureCoupling
from .layers.elementwise import ActNorm, Logit, Normalize
from .layers.lipschitz import LearnedOrder, LipschitzLinear, update_norms_
from .layers.residual import ResidualBlock, invert
from .layers.shape import FactorOut, Flatten, NoiseChannels, Squeeze
from .models.bias import BiasReport, bias_report
from .models.certificate import Certificate
from .models.densities import toy_data, toy_names
from .models.dequantize import VariationalDequantizer, uniform_dequantize
from .models.flow import Flow, bits_per_dim
from .models.hybrid import HybridFlow, hybrid_flow, hybrid_kinds
from .models.image import ImageModel, image_flow
from .models.presets import Recipe, presets, recipes
from .models.systems import System, image_system, systems, toy_system, with_budget
from .models.toy import toy_flow
from .numerics.fixed_point import Solution

run_toy = run_hybrid = carry_out

__version__ = "0.1.0"
