"""Densities of images: papermill parameters, the command line and Python all become an `Experiment`."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...errors import SettingsError
from ...estimators.logdet import Estimator, PowerSeries
from ...estimators.noise import PROBES, Noise
from ...estimators.series import DRAWS, Law, Roulette
from ...expect import FLAG, Check, integer, number, one_of
from ...layers.activations import ACTIVATIONS, Activation
from ...layers.elementwise import ALPHA
from ...layers.gradient import MEMORY
from ...models.branches import NORMS
from ...models.flow import Flow, bits_per_dim
from ...models.image import ImageModel, image_flow
from ...models.systems import image_system, systems
from ..data.images import Images, expected_images, image_names, image_shape, known_images
from ..names import PROFILES
from ..scoring import affordable_truth, bits_of, claim, estimating_with, first_images, image_bits
from .batches import SAMPLING, VALIDATION_SEED, ImageTask, epochs
from .profiles import BUDGET, base_model, profile_values
from .question import PASSES, Question
from .task import AMOUNT, BLOCKS, COUNT, PARAMETERS, PER_SCALE, TERMS, WIDTH, Training, option, within
from .words import COUNTS, ESTIMATORS, EVALUATES, LAWS, TRAINS, USUAL, Unknown, estimator_words, named

OF_THE_LAW = ("law", "law_parameter", "n_exact", "draws", "n_probes", "probe")
OF_IMAGE_MODEL = ("coeff", "alpha", "factor_out", "squeeze_first", "padding", "activation")
"""Settings that the data's own model (profiles.py) fills."""
OF_THE_MODEL = ("width", "n_dense", "dense_width", "norms", "memory", "train_estimator", "eval_estimator", "eval_exact")
OF_THE_MODEL += (*OF_THE_LAW, *(name for name in OF_IMAGE_MODEL if name != "alpha"))
"""Settings that a system brings along."""
CLAIMS = 4
"""Passes of what a training claims of held-out images: it is random where the truth is not."""
COEFF = within("(0, 1)", "a number between 0 and 1, such as 0.98")
DATASET = Check(expected_images, known_images, names=image_names)
ACTIVATION = Check(
    f"one of {', '.join(ACTIVATIONS)}, or an Activation class",
    lambda found: isinstance(found, type | Unknown) or one_of(ACTIVATIONS).fits(found),
    names=ACTIVATIONS,
)


@dataclass(frozen=True)
class Experiment(Training):
    """What to train, on what, for how long. A value of None takes the profile's (profiles.py); `python -m resflow_lite
    fit --help` has a line for each setting. Beside names, train_estimator, eval_estimator and law take objects,
    activation a class, and dataset a function like the one that load_images takes.

    The law of the training's estimator is set by train_estimator, or by law, law_parameter, n_exact, draws, n_probes
    and probe, or by both where they agree. Raises SettingsError for a wrong value, with its name.
    """

    dataset: str | Callable[[str], Images] = option("digits", f"{', '.join(image_names)}, or folder:PATH", DATASET)
    profile: str = option("laptop", "smoke (seconds), laptop (minutes on two cores) or paper", one_of(PROFILES))
    flip: bool | None = option(None, "images are flipped left to right half the time", FLAG)
    sampling: str = option("replacement", "of a batch's images: replacement, or epochs of all images", one_of(SAMPLING))
    train_on_validation: bool = option(False, "validation images are trained on, too, and choose no weights", FLAG)
    blocks: tuple[int, ...] | None = option(None, "residual blocks per scale, such as [4, 4]", PER_SCALE)
    width: int | None = option(None, "channels inside a block", integer(1, WIDTH))
    n_dense: int | None = option(None, "fully connected blocks at the end", integer(0, BLOCKS))
    dense_width: int | None = option(None, "their width", integer(1, WIDTH))
    activation: str | type[Activation] | None = option(None, f"one of {', '.join(ACTIVATIONS)}", ACTIVATION)
    norms: str | None = option(None, "spectral, or learned: of an order of its own where layers meet", one_of(NORMS))
    norm_penalty: float = option(0.0, "times the layers' mean norm, in the objective of learned orders alone", AMOUNT)
    coeff: float | None = option(None, "bound of every layer's norm, below 1", COEFF)
    alpha: float | None = option(None, "of the logit at the start: alpha + (1 - 2 alpha) x", ALPHA)
    factor_out: bool | None = option(None, "half of the channels leave after each scale", FLAG)
    squeeze_first: bool | None = option(None, "2 x 2 pixels become channels before the first scale", FLAG)
    padding: int | None = option(None, "channels of noise beside the image's own", integer(0, BLOCKS))
    memory: str | None = option(
        None, f"of the blocks: {', '.join(MEMORY)}; store is fastest, recompute smallest", one_of(MEMORY)
    )
    train_estimator: str | Estimator | None = option(None, f"of log-determinants: {', '.join(ESTIMATORS)}", TRAINS)
    law: str | Law | None = option(None, "of the roulette's number of terms: geometric, poisson or matched", COUNTS)
    law_parameter: float | None = option(None, "p of the geometric law, rate of the Poisson law", number("[-inf, inf]"))
    n_exact: int | None = option(None, "terms before the roulette", integer(0, TERMS))
    draws: str | None = option(None, f"of N in a batch: {', '.join(DRAWS)}; a GPU is fastest with stratified ones")
    n_probes: int | None = option(None, "probes of an estimate", integer(1, TERMS))
    probe: str | None = option(None, f"their kind: {' or '.join(PROBES)}", one_of(PROBES))
    eval_estimator: str | Estimator | None = option(None, 'of scores, such as "Krylov(20)"; None: the best', EVALUATES)
    eval_exact: int | None = option(None, "terms before a roulette that scores; None: no roulette", integer(0, TERMS))
    system: str | None = option(None, f"in place of that model, one of {', '.join(systems)}", one_of(systems))
    parameters: int | None = option(None, "about so many, of a system", integer(1, PARAMETERS))
    validation: int | None = option(None, "held-out images that choose the reported weights; 0: the last's", COUNT)
    evaluations: int | None = option(None, "passes over the test images, each with fresh noise", integer(1, PASSES))
    truth_images: int = option(0, "held-out images at which the record compares training's claim with the truth", COUNT)

    def __post_init__(self, filled: dict[str, Any] | None) -> None:
        self._refuse_carried(filled)
        self._check_each()
        self._fill(dict(validation=0) if self.train_on_validation else {})
        self._fill(self._open_values())
        self._check()

    def _open_values(self) -> dict[str, Any]:
        """The profile's values; those of the model only where no system brings its own."""
        base = base_model(self.dataset)
        values = profile_values(self.dataset, self.profile) | {name: getattr(base, name) for name in OF_IMAGE_MODEL}
        if self.system is None:
            self._expect("parameters", self.parameters is None, "None without a system: width makes the model larger")
            return values | self._law_values(values)
        for name in OF_THE_MODEL:
            self._expect(name, getattr(self, name) is None, f"None, because system = {self.system!r} has its own")
        return {n: v for n, v in values.items() if n not in OF_THE_MODEL} | dict(parameters=BUDGET[self.profile])

    def _law_values(self, values: dict[str, Any]) -> dict[str, Any]:
        """What of the profile's estimator is left where the law is set by its parts; a contradiction is refused."""
        chosen, own = [name for name in OF_THE_LAW if getattr(self, name) is not None], self.train_estimator
        if not chosen:
            return {}
        usual = estimator_words(named(values["train_estimator"] if own is None else own))
        if own is not None:
            for name in chosen:
                told = f"{usual.get(name)!r}, which train_estimator = {own!r} has, or one of the two"
                self._expect(name, usual.get(name) == getattr(self, name), told)
            return {}
        if self.law not in (None, usual["law"]):
            usual["law_parameter"] = USUAL.get(self.law) if isinstance(self.law, str) else None
        return dict(train_estimator=None) | usual

    def _check(self) -> None:
        self._check_training()
        for name in ("validation", "truth_images"):
            unused = self.train_on_validation and getattr(self, name)
            self._expect(name, not unused, "0 with train_on_validation, which holds no images out")
        felt = self.norms == "learned" or not self.norm_penalty
        self._expect("norm_penalty", felt, "0 unless norms = 'learned': only learned orders feel it")
        if self.system is None:
            own = not isinstance(self.activation, type) or issubclass(self.activation, Activation)
            self._expect("activation", own, ACTIVATION.words)
            self._check_estimators()
        shape = image_shape(self.dataset)  # of a published set, whose files need not be here
        squeezed = self.squeeze_first if self.system is None else self.system == "glow"
        self._expect_scales(shape, len(self.blocks) - 1 + squeezed)
        usual = profile_values(self.dataset, self.profile)["blocks"], BUDGET[self.profile]
        if self.system and shape and (self.blocks, self.parameters) != usual:
            self._expect_buildable(shape)

    def _check_estimators(self) -> None:
        both = self.eval_estimator is not None and self.eval_exact is not None
        self._expect("eval_exact", not both, f"None, because eval_estimator = {self.eval_estimator!r}")
        if self.train_estimator is not None:
            return
        no_number = self.law not in ("geometric", "poisson")
        self._expect("law_parameter", not no_number or self.law_parameter is None, f"None with law = {self.law!r}")
        try:
            self.estimators()
        except (SettingsError, TypeError) as error:
            raise SettingsError(f"law_parameter = {self.law_parameter!r}: {error}") from None

    def estimators(self) -> tuple[Estimator, Estimator]:
        """Of the training and of the evaluation."""
        training, evaluation = self.train_estimator, self.eval_estimator
        if training is None:
            parameter = () if self.law_parameter is None else (self.law_parameter,)
            law = LAWS[self.law](*parameter) if isinstance(self.law, str) else self.law
            training = PowerSeries(Roulette(law, self.n_exact, self.draws), self.probe, self.n_probes)
        if evaluation is None:
            evaluation = base_model(self.dataset).eval_estimator
        if self.eval_exact is not None:
            evaluation = replace(evaluation, terms=replace(evaluation.terms, n_exact=self.eval_exact))
        return named(training), evaluation

    def model(self, shape: tuple[int, int, int]) -> ImageModel:
        """The image model of this experiment for images (C, H, W)."""
        if isinstance(self.activation, Unknown):
            self.activation()  # says how to give it
        names = ("blocks", "width", "n_dense", "dense_width", "norms", "memory", *OF_IMAGE_MODEL)
        chosen = dict(zip(("train_estimator", "eval_estimator"), self.estimators()))
        chosen |= {name: getattr(self, name) for name in names}
        return replace(base_model(self.dataset), shape=shape, **chosen)

    def _flow(self, shape: tuple[int, int, int]) -> Flow:
        if self.system is not None:
            return image_system(self.system, shape, self.parameters, self.blocks, self.alpha)
        return image_flow(self.model(shape))


class Density(ImageTask):
    """Bits per dimension of dequantised images."""

    name, settings, unit, words, scores = "density", Experiment, "bits_per_dim", "bits/dim", ("bits_per_dim",)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.data.images.shape[1:])

    def facts(self) -> dict[str, Any]:
        return super().facts() | dict(n_levels=self.data.n_levels)

    def batch(self, step: int, noise: Noise) -> Tensor:
        e = self.experiment
        if e.sampling == "epochs":
            chosen = epochs(len(self.data), e.batch_size, step, e.seed)
        else:
            chosen = self.data.choose(e.batch_size, noise)
        return self.data.batch(chosen, noise, flip=e.flip)

    def loss(self, flow: Flow, batch: Tensor, draws: Noise) -> Tensor:
        return bits_per_dim(flow.log_prob(batch, draws), flow.event_shape, self.data.n_levels).mean()

    def truth(self, flow: Flow, events: Tensor) -> Estimator | None:
        asked = (self.experiment.eval_estimator, self.experiment.eval_exact)
        return affordable_truth(flow, events) if asked == (None, None) else None

    def validate(self, flow: Flow) -> float:
        return self._true(flow, self.held_out(self.experiment.validation))

    def _true(self, flow: Flow, data: Images) -> float:
        """Mean bits/dim by the best estimator."""
        best = self.truth(flow, first_images(data, 64, VALIDATION_SEED).to(self.world.device))
        with estimating_with(flow, best):
            return float(image_bits(flow, data.images, data.n_levels, VALIDATION_SEED, self.world).mean())

    def compare(self, flow: Flow) -> dict[str, float]:
        data, seeds = self.held_out(self.experiment.truth_images), range(VALIDATION_SEED, VALIDATION_SEED + CLAIMS)
        claimed = claim(flow, data.images, data.n_levels, seeds, self.world)
        return dict(claim=claimed, truth=self._true(flow, data))

    def score(self, flow: Flow, question: Question) -> dict[str, Any]:
        data, source = self.asked(question), torch.Generator().manual_seed(question.seed)
        seeds = torch.randint(2**62, (question.passes or self.experiment.evaluations,), generator=source).tolist()
        found = bits_of(flow, data.first(question.n), seeds, question.estimator, self.world)
        return found | dict(split=question.split, data_sha256=data.sha256())
