"""A diagnosis: what was measured of every layer, and what is wrong."""

from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from convscope.methods import bad_images
from convscope.methods.diagnosis.finding import Finding, Thresholds
from convscope.results import Result
from convscope.wording import counted


@dataclass(frozen=True)
class LayerDiagnosis:
    """What was measured of one convolutional layer; None for what was not or cannot be.

    Attributes:
        name: the convolution's name.
        read_at: the layer whose output counts as its units' activation.
        shape: channels, height and width of that.
        active: mean over the channels of the share of positions at which they are above 0.
        dead: the channels that answer to nothing.
        almost_dead: those that nearly do.
        duplicates: groups of channels with the same kernel that answer alike.
        largest_weights: length of the longest kernel over the layer's median, batch norm folded in.
        largest_activation: the same of the activations' root mean square.
        saturated: mean over the channels of the share of values at a flat end of the function that
            they go through.
        aliased: of the layer that reads the images, the share of the response to them that its
            stride folds back.
        folded_octaves: how far its filters' energy lies beyond what the stride can carry.
        receptive_field: pixels that its middle unit reads, inside the image.
        effective_field: how many of them move it by more than 4.55 % of the most that one does.
        without: agreement with the network's own answers, 0..1, with the layer's mean map in its
            place.
        without_accuracy: the share of right answers then.
        skipped: agreement with what the layer reads in the place of what it gives.
        skipped_accuracy: the share of right answers then.
    """

    name: str
    read_at: str
    shape: tuple[int, int, int]
    active: float
    dead: tuple[int, ...]
    almost_dead: tuple[int, ...]
    duplicates: tuple[tuple[int, ...], ...]
    largest_weights: float
    largest_activation: float
    saturated: float | None = None
    aliased: float | None = None
    folded_octaves: float | None = None
    receptive_field: int | None = None
    effective_field: int | None = None
    without: float | None = None
    without_accuracy: float | None = None
    skipped: float | None = None
    skipped_accuracy: float | None = None

    @property
    def dead_share(self) -> float:
        """Share of the channels that are dead or almost so."""
        return (len(self.dead) + len(self.almost_dead)) / self.shape[0]

    @property
    def duplicate_share(self) -> float:
        """Share of the channels that could go because another does the same."""
        return sum(len(group) - 1 for group in self.duplicates) / self.shape[0]

    @property
    def field_ratio(self) -> float | None:
        """The effective receptive field's side over the theoretical one's."""
        if self.receptive_field is None or self.effective_field is None:
            return None
        return float((self.effective_field / self.receptive_field) ** 0.5)


@dataclass(frozen=True, eq=False, repr=False)
class Diagnosis(Result):
    """What is wrong with a network, and what was measured to say so.

    Attributes:
        filters: [K, C, h, w], the filters of the layer that reads the images; K is 0 where none
            was looked at.
        spectra: [K, F, F], float32: what each of them passes of the images, by frequency, the
            frequency zero in the middle; each sums to 1.
        stride: rows and columns of that layer.
        layers: the layers in the order they run.
        findings: what is wrong, the worst first; none where the network is healthy.
        network: its name.
        data: what the images are called.
        images: how many were scanned.
        sampled: on how many the slower measurements were made.
        answered: how many were answered with each layer taken out.
        accuracy: the share of these that the network answers rightly; None without labels.
        commonest: the share of these that it gives its commonest answer to.
        thresholds: from where on something is a fault.
        bad: image -> why it was left out.
        left_out: what was not measured, and why.
    """

    filters: Tensor
    spectra: Tensor
    stride: tuple[int, int]
    layers: tuple[LayerDiagnosis, ...]
    findings: tuple[Finding, ...]
    network: str
    data: str
    images: int
    sampled: int
    answered: int
    accuracy: float | None
    commonest: float | None
    thresholds: Thresholds
    bad: dict[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()

    figure: ClassVar[str] = "diagnose"

    @property
    def healthy(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def to_dict(self, **options: Any) -> dict[str, Any]:
        """Return the findings, each with its sentence, and all numbers, fit for JSON."""
        findings = [{**asdict(f), "sentence": f.sentence} for f in self.findings]
        return {**self.facts(), "findings": findings}

    def table(self) -> list[dict[str, Any]]:
        """Return a row a layer: what was measured of it, and the kinds of its findings."""
        return [
            {
                "layer": row.name,
                "units": row.shape[0],
                "active": row.active,
                "dead": len(row.dead),
                "almost_dead": len(row.almost_dead),
                "copies": sum(len(group) - 1 for group in row.duplicates),
                "largest_weights": row.largest_weights,
                "largest_activation": row.largest_activation,
                "saturated": row.saturated,
                "aliased": row.aliased,
                "field_ratio": row.field_ratio,
                "without": row.without,
                "skipped": row.skipped,
                "findings": ", ".join(f.kind for f in self.findings if f.layer == row.name),
            }
            for row in self.layers
        ]

    def summary(self) -> str:
        """Return what is wrong, the worst first, and what was left out."""
        right = "" if self.accuracy is None else f", {self.accuracy:.1%} of a sample right"
        lines = [f"{self.network} over {counted(self.images, 'image')} of {self.data}{right}"]
        if self.partial:
            lines.append(f"partial: {self.partial}")
        if self.healthy:
            lines.append("nothing is wrong by these thresholds")
        lines += [f"{place}. {f.sentence}" for place, f in enumerate(self.findings, start=1)]
        lines += [f"left out: {text}" for text in self.left_out]
        return "\n".join([*lines, *bad_images.told(self.bad.items())])
