"""What a study found: the four variants' trainings and filters, and every number about them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any, ClassVar

from torch import Tensor

from convscope.images import Preprocess
from convscope.network import Network
from convscope.results import Result
from convscope.study import findings
from convscope.study.config import UNITS, TrainConfig
from convscope.study.data import ImageSet
from convscope.study.evolve import Evolution, evolve
from convscope.study.filters import StrongestFilters, by_strength, channel_peaks, strongest_filters
from convscope.study.run import Run
from convscope.study.variants import Variant

FOLDER = "study"
"""What a folder that holds one is marked as."""

MADE_WITH = ("device", "threads", "precision", "convscope", "torch")
FIRST_FILTERS = "features.conv1.weight"
DEFINITIONS = {
    "accuracy": "share of images answered rightly, 0..1; test_accuracy of the final weights on the "
    "test images, curve on the held-out images after each epoch",
    "std": "standard deviation of the sample, over n - 1; null for n = 1",
    "dead": "a filter is dead if its ReLU gives zero at every place of its map in every held-out "
    "image, by the final weights; share of the layer's filters, 0..1",
    "mean_peak": "mean over the held-out images of the highest activation in the filter's map",
    "highest_peak": "the highest of these, in the image of that number among the held-out ones",
    "window": "top, left, bottom, right of its receptive field in that image, in pixels; the last "
    "two excluded",
    "seconds": "training time of one run, without validation and saving",
}


@dataclass(frozen=True)
class Summary:
    """Mean and spread of a number that was measured *n* times.

    Attributes:
        n: how often.
        mean: the mean.
        std: the sample's standard deviation (over n - 1); None of a single measurement.
    """

    n: int
    mean: float
    std: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> "Summary":
        """Summarise at least one value.

        >>> Summary.of([1.0, 2.0, 3.0])
        Summary(n=3, mean=2.0, std=1.0)
        >>> Summary.of([4.0])
        Summary(n=1, mean=4.0, std=None)
        """
        return cls(len(values), fmean(values), stdev(values) if len(values) > 1 else None)

    def above(self, other: "Summary") -> tuple[float, float | None]:
        """Return how much larger the mean is than another, and the standard error of that.

        The error is sqrt(std1² / n1 + std2² / n2), and None where a spread is unknown.

        >>> Summary(4, 3.0, 3.0).above(Summary(4, 1.0, 4.0))
        (2.0, 2.5)
        """
        if self.std is None or other.std is None:
            return self.mean - other.mean, None
        error = (self.std**2 / self.n + other.std**2 / other.n) ** 0.5
        return self.mean - other.mean, error

    def percent(self, digits: int = 2) -> str:
        """Return a share as a percentage, with its spread and the number of measurements.

        >>> Summary(3, 0.81234, 0.004).percent(), Summary(1, 0.5, None).percent(0)
        ('81.23% ± 0.40 (3)', '50% (1)')
        """
        spread = "" if self.std is None else f" ± {100 * self.std:.{digits}f}"
        return f"{100 * self.mean:.{digits}f}%{spread} ({self.n})"

    def to_dict(self) -> dict[str, Any]:
        """Return it fit for JSON."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class FirstFilters:
    """The first layer's filters themselves.

    Attributes:
        weights: [K, C, h, w], strongest first (by the mean peak over the held-out images).
        channels: [K], int64: their channels.
        dead: bool [K].
    """

    weights: Tensor
    channels: Tensor
    dead: Tensor


@dataclass(frozen=True, eq=False)
class VariantResult:
    """One variant's trainings, one a seed; pictures show the first of them.

    Attributes:
        variant: which of the four.
        runs: its trainings, in the order of their seeds.
        dead: layer -> for each run, how many of the layer's filters are dead.
        filters: layer -> how many filters it has.
        first: the strongest filters of the first layer.
        last: the strongest filters of the last convolution.
        weights: all filters of the first layer.
        evolution: one filter a layer through its training.
    """

    variant: Variant
    runs: tuple[Run, ...]
    dead: dict[str, tuple[int, ...]]
    filters: dict[str, int]
    first: StrongestFilters
    last: StrongestFilters
    weights: FirstFilters
    evolution: Evolution

    @property
    def test_accuracies(self) -> list[float]:
        """Each run's test accuracy, 0..1."""
        found = [run.test_accuracy for run in self.runs]
        return [accuracy for accuracy in found if accuracy is not None]

    @property
    def test_accuracy(self) -> Summary:
        """The runs' test accuracy, 0..1."""
        return Summary.of(self.test_accuracies)

    @property
    def seconds(self) -> Summary:
        """The runs' training time."""
        return Summary.of([run.seconds["training"] for run in self.runs])

    @property
    def epochs(self) -> list[float]:
        """Passes over the training images after which the held-out accuracy is known."""
        return [epoch.epoch for epoch in self.runs[0].epochs]

    @property
    def curve(self) -> list[Summary]:
        """Accuracy on the held-out images at each of :attr:`epochs`, 0..1."""
        moments = zip(*(run.epochs for run in self.runs), strict=True)
        return [Summary.of([epoch.accuracy for epoch in moment]) for moment in moments]

    def dead_share(self, layer: str) -> Summary:
        """Return the share of a layer's filters that is dead, 0..1."""
        return Summary.of([count / self.filters[layer] for count in self.dead[layer]])

    def to_dict(self) -> dict[str, Any]:
        """Return all but the pictures, fit for JSON."""
        return {
            "variant": self.variant.name,
            "batch_norm": self.variant.batch_norm,
            "padding": self.variant.padding,
            **self.runs[0].network,
            "test_accuracy": self.test_accuracy.to_dict(),
            "seconds": self.seconds.to_dict(),
            "curve": [
                {"epoch": epoch, **summary.to_dict()}
                for epoch, summary in zip(self.epochs, self.curve, strict=True)
            ],
            "dead": {
                layer: {
                    "filters": self.filters[layer],
                    "counts": list(counts),
                    **self.dead_share(layer).to_dict(),
                }
                for layer, counts in self.dead.items()
            },
            "strongest": {
                found.projection.layer: found.to_dict() for found in (self.first, self.last)
            },
            "evolution": self.evolution.to_dict(),
            "runs": [
                {
                    "folder": run.folder.name,
                    "seed": run.config.seed,
                    "test_accuracy": run.test_accuracy,
                    "seconds": run.seconds,
                    "made_with": run.made_with,
                }
                for run in self.runs
            ],
        }

    def row(self) -> dict[str, Any]:
        """Return the numbers of a line of a table."""
        run, row = self.runs[0], {"variant": self.variant.name, "runs": self.test_accuracy.n}
        shares = enumerate(map(self.dead_share, self.filters), start=1)
        measured = {
            "test_accuracy": self.test_accuracy,
            "held_out_accuracy": self.curve[-1],
            **{f"dead_share_layer_{number}": share for number, share in shares},
            "training_seconds": self.seconds,
        }
        for name, summary in measured.items():
            row |= {f"{name}_mean": summary.mean, f"{name}_std": summary.std}
        return row | {
            "parameters": run.network["parameters"],
            "multiply_adds_an_image": run.network["multiply_adds"],
            **{name: run.made_with[name] for name in MADE_WITH},
        }


@dataclass(frozen=True, eq=False, repr=False)
class Study(Result):
    """The four variants, trained alike but for what they are named after.

    Attributes:
        config: what they share.
        results: one a variant.
        held_out: how many images the filters and the curves were looked at on.
        preprocess: takes images and projections back to pixels.
    """

    config: TrainConfig
    results: tuple[VariantResult, ...]
    held_out: int
    preprocess: Preprocess

    figure: ClassVar[str] = "study"
    folder: ClassVar[str] = FOLDER
    writer: ClassVar[str] = "convscope.pages.study:write_study"

    @property
    def layers(self) -> list[str]:
        """The names of the rectifiers, one behind each convolution."""
        return list(self.results[0].filters)

    @property
    def seeds(self) -> int:
        """How often each variant was trained."""
        return len(self.results[0].runs)

    def result(self, batch_norm: bool, padding: str) -> VariantResult:
        """Return one variant's result."""
        return next(r for r in self.results if r.variant == Variant(batch_norm, padding))

    def to_dict(self, **options: Any) -> dict[str, Any]:
        """Return all but the pictures, fit for JSON."""
        return {
            "definitions": DEFINITIONS,
            "seeds": self.seeds,
            "held_out": self.held_out,
            "config": self.config.to_json(),
            "units": UNITS,
            "data": self.results[0].runs[0].data,
            "variants": [result.to_dict() for result in self.results],
            "notes": self.notes,
            "partial": self.partial,
            "made_with": self.made_with,
        }

    def table(self) -> list[dict[str, Any]]:
        """Return a row a variant; shares are 0..1, ``std`` is None for one run."""
        return [result.row() for result in self.results]

    def summary(self) -> str:
        """Return which variant was best, what made the difference, and each one's accuracy."""
        told = [
            f"  {r.variant.name}: test accuracy {r.test_accuracy.percent()}" for r in self.results
        ]
        return "\n".join([findings.lead(self), *told, *findings.effects(self)])


def measured(
    variant: Variant, runs: list[Run], training: ImageSet, held_out: Tensor, count: int
) -> VariantResult:
    """Look at a variant's finished runs: at the dead filters of all, at the pictures of the first.

    Args:
        variant: which of the four.
        runs: its finished trainings.
        training: the images that they learned from.
        held_out: [I, C, H, W], the images that they did not, in the networks' input space.
        count: how many of a layer's strongest filters to show.
    """
    preprocess = runs[0].config.preprocess(*held_out.shape[2:])
    nets = [
        Network(run.module(), held_out[:1], name=run.folder.name, preprocess=preprocess)
        for run in runs
    ]
    layers = [name for name, layer in nets[0].layers.items() if layer.op == "rectifier"]
    peaks = [channel_peaks(net, held_out, layers) for net in nets]
    # Zero behind their ReLU at every place of every image.
    dead = [{layer: (own[layer] <= 0).all(0) for layer in layers} for own in peaks]
    first, last = (
        strongest_filters(nets[0], held_out, layer, peaks[0][layer], count)
        for layer in (layers[0], layers[-1])
    )
    order = by_strength(peaks[0][layers[0]])
    weights = runs[0].weights()[FIRST_FILTERS][order]
    return VariantResult(
        variant=variant,
        runs=tuple(runs),
        dead={layer: tuple(int(own[layer].sum()) for own in dead) for layer in layers},
        filters={layer: values.shape[1] for layer, values in peaks[0].items()},
        first=first,
        last=last,
        weights=FirstFilters(weights, order, dead[0][layers[0]][order]),
        evolution=evolve(runs[0], training),
    )
