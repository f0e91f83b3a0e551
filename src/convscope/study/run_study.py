"""The study of 2018 as one call: four variants, several seeds each, resumably."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convscope.errors import DataError, TrainError
from convscope.models.plain import multiply_adds
from convscope.network.shield import shielded
from convscope.outputs import check_folder, claim_folder, written_beside
from convscope.study.config import PRESETS, TrainConfig
from convscope.study.data import ImageSet, load_cifar10, split
from convscope.study.devices import make_fabric, precision_of
from convscope.study.run import Run
from convscope.study.study_result import FOLDER, Study, VariantResult, measured, preprocess_of
from convscope.study.train import require_size, train
from convscope.study.trainer import TrainProgress
from convscope.study.variants import VARIANTS, Variant

FILE = "study.json"
RUNS = "runs"


@dataclass(frozen=True)
class StudyProgress:
    """How far the trainings of a study are.

    Attributes:
        number: which training this is, from 1.
        trainings: how many there are.
        variant: what is being trained.
        seed: its seed.
        training: how far it is.
        seconds_left: training time still to come, over all trainings.
    """

    number: int
    trainings: int
    variant: Variant
    seed: int
    training: TrainProgress
    seconds_left: float


@shielded
def run_study(
    data: ImageSet | str | Path,
    folder: str | Path,
    *,
    seeds: int = 3,
    config: TrainConfig | None = None,
    test: ImageSet | None = None,
    filters: int = 8,
    progress: Callable[[StudyProgress], None] | None = None,
    measuring: Callable[[int, int], None] | None = None,
    device: str = "auto",
    precision: str = "auto",
) -> Study:
    """Train the four variants {batch norm or none} x {same or valid padding} and compare them.

    The trainings are done one after another, seed by seed, each in a folder of its own in
    ``runs/``. Interrupted, the same call goes on: what is finished is kept, what was begun is
    resumed. Called again with more seeds, it trains those that are missing.

    Args:
        data: the training images, or CIFAR-10's folder.
        folder: where the trainings lie, made if missing; the result may be saved there too.
        seeds: how often to train each variant, with the seeds 0, 1, ...
        config: what the four share, by default the preset ``"study"``; its seed, batch norm and
            padding are replaced. Under Muon the variants without batch norm would be trained by
            SGD, and the comparison mix two causes.
        test: the test images, where *data* is an :class:`ImageSet`.
        filters: how many of a layer's strongest filters to look at.
        progress: called after every step of a training.
        measuring: called with the variants looked at and the variants in all, once all are trained.
        device: as in :func:`convscope.train`.
        precision: as there.

    Returns:
        the four variants with their numbers and filters, to show or to save.

    Raises:
        TrainError: *folder* holds a study of something else; fewer than one seed; or what
            :func:`convscope.train` raises.
        DataError: the images are missing, damaged or too few.
        OutputError: *folder* cannot be written, or holds other files.
        Interrupted: on Ctrl-C or SIGTERM, after saving; a ``KeyboardInterrupt``.
    """
    if seeds < 1:
        raise TrainError(f"the study needs at least one seed, not {seeds}")
    if filters < 1:
        raise TrainError(f"the study needs at least one filter to show, not {filters}")
    base = config or PRESETS["study"]
    images, test = _loaded(data, test)
    for variant in VARIANTS:
        require_size(variant.config(base, 0), images.side)
    trainings = _Trainings.opened(Path(folder), base, images, device, precision)
    runs = trainings.trained(images, test, seeds, progress)
    training, held_out = split(images, base.held_out, base.split_seed)
    preprocess = preprocess_of(base, images.side)
    inputs = preprocess.to_inputs(held_out.images.float() / 255)
    results: list[VariantResult] = []
    for variant in VARIANTS:
        results.append(measured(variant, runs[variant], training, inputs, filters))
        if measuring:
            measuring(len(results), len(VARIANTS))
    return Study(base, tuple(results), len(inputs), preprocess)


def _loaded(data: ImageSet | str | Path, test: ImageSet | None) -> tuple[ImageSet, ImageSet]:
    """Return the training images and the test images."""
    if not isinstance(data, ImageSet):
        return load_cifar10(data), load_cifar10(data, "test")
    if test is None:
        raise DataError("the study compares accuracies on test images, and none were given")
    return data, test


@dataclass
class _Trainings:
    """A study's trainings, in a folder."""

    folder: Path
    base: TrainConfig
    device: str
    precision: str

    @classmethod
    def opened(
        cls, folder: Path, base: TrainConfig, images: ImageSet, device: str, precision: str
    ) -> "_Trainings":
        """Return the study in *folder*, checked against what is asked for, or a new one."""
        data = {"images": len(images), "sha256": images.fingerprint()}
        begun = _begun(folder)
        if begun is None:
            precision = precision_of(make_fabric(device, precision))
            facts = {"config": base.to_json(), "data": data, "precision": precision}
            _write(folder, facts)
        else:
            _check_same(folder, begun, base.to_json(), data, precision)
            precision = begun["precision"]
        return cls(folder, base, device, precision)

    def trained(
        self,
        images: ImageSet,
        test: ImageSet,
        seeds: int,
        progress: Callable[[StudyProgress], None] | None,
    ) -> dict[Variant, list[Run]]:
        """Return the runs of every variant, all finished."""
        # Seed by seed: the time of each variant is known early, and so are all four.
        wanted = [(variant, seed) for seed in range(seeds) for variant in VARIANTS]
        runs: dict[Variant, list[Run]] = {variant: [] for variant in VARIANTS}
        for number, (variant, seed) in enumerate(wanted, start=1):

            def show(
                training: TrainProgress, number: int = number, variant: Variant = variant,
                seed: int = seed,
            ) -> None:  # fmt: skip
                assert progress is not None
                later = [coming for coming, _ in wanted[number:]]
                left = training.seconds_left + self._seconds(training, variant, later, runs)
                progress(StudyProgress(number, len(wanted), variant, seed, training, left))

            run = train(
                variant.config(self.base, seed),
                images,
                self.folder / RUNS / f"{variant.folder}-seed-{seed}",
                test=test,
                resume=True,
                progress=show if progress else None,
                device=self.device,
                precision=self.precision,
            )
            runs[variant].append(run)
        return runs

    def _seconds(
        self,
        now: TrainProgress,
        variant: Variant,
        later: list[Variant],
        runs: dict[Variant, list[Run]],
    ) -> float:
        """Return how long the trainings to come will take.

        As long as the variant's last one took, or else as this one, by their multiply-adds.
        """
        whole = now.steps * self.base.batch_size / now.images_per_second
        return sum(
            runs[coming][-1].seconds["training"]
            if runs[coming]
            else whole * self._cost(coming) / self._cost(variant)
            for coming in later
        )

    def _cost(self, variant: Variant) -> int:
        return multiply_adds(variant.config(self.base, 0).net)


def _begun(folder: Path) -> dict[str, Any] | None:
    """Return the facts of the study in *folder*; None where nothing is."""
    path = check_folder(folder, FOLDER) / FILE
    try:
        facts: dict[str, Any] = json.loads(path.read_text())
        return {name: facts[name] for name in ("config", "data", "precision")}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainError(f"{path} is not a study's: {error}") from error


def _write(folder: Path, facts: dict[str, Any]) -> None:
    with written_beside(claim_folder(folder, FOLDER) / FILE) as beside:
        beside.write_text(json.dumps(facts, indent=2) + "\n")


def _check_same(
    folder: Path,
    begun: dict[str, Any],
    config: dict[str, Any],
    data: dict[str, Any],
    precision: str,
) -> None:
    """Refuse to go on with another study than the one in *folder*."""
    there = begun["config"]
    different = [
        f"{name} {there.get(name)}, not {config[name]}"
        for name in config
        if name != "seed" and there.get(name) != config[name]
    ]
    if different:
        raise TrainError(f"{folder} holds a study with {'; '.join(different)}")
    if begun["data"] != data:
        raise TrainError(f"{folder} holds a study of other images")
    if precision not in ("auto", begun["precision"]):
        raise TrainError(f"{folder} holds a study in {begun['precision']}, not {precision}")
