"""The study of 2018 as one call: four variants, several seeds each, resumably."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from convscope.errors import DataError, TrainError
from convscope.models.plain import multiply_adds
from convscope.network.shield import shielded
from convscope.outputs import claim_folder
from convscope.study.config import PRESETS, TrainConfig
from convscope.study.data import ImageSet, load_cifar10, split
from convscope.study.run import Run
from convscope.study.study_result import FOLDER, Study, VariantResult, measured
from convscope.study.train import begun_precision, require_size, train
from convscope.study.trainer import TrainProgress
from convscope.study.variants import VARIANTS, Variant

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
    if not isinstance(data, ImageSet):
        images, test = load_cifar10(data), load_cifar10(data, "test")
    elif test is None:
        raise DataError("the study compares accuracies on test images, and none were given")
    else:
        images = data
    for variant in VARIANTS:
        require_size(variant.config(base, 0), images.side)
    runs = claim_folder(folder, FOLDER) / RUNS
    # What the first training was begun in holds for all, on whatever machine the others go on.
    precision = begun_precision(runs / f"{VARIANTS[0].folder}-seed-0", precision)
    trained = _trained(
        base, images, runs, seeds, progress, test=test, device=device, precision=precision
    )
    training, held_out = split(images, base.held_out, base.split_seed)
    inputs = base.inputs(held_out.images)
    results: list[VariantResult] = []
    for variant in VARIANTS:
        results.append(measured(variant, trained[variant], training, inputs, filters))
        if measuring:
            measuring(len(results), len(VARIANTS))
    preprocess = base.preprocess(images.side, images.side)
    return Study(base, tuple(results), len(inputs), preprocess)


def _trained(
    base: TrainConfig,
    images: ImageSet,
    folder: Path,
    seeds: int,
    progress: Callable[[StudyProgress], None] | None,
    **options: Any,
) -> dict[Variant, list[Run]]:
    """Return the runs of every variant, all finished; *options* are of :func:`.train`."""
    # Seed by seed: the time of each variant is known early, and so are all four.
    wanted = [(variant, seed) for seed in range(seeds) for variant in VARIANTS]
    runs: dict[Variant, list[Run]] = {variant: [] for variant in VARIANTS}
    cost = {variant: multiply_adds(variant.config(base, 0).net) for variant in VARIANTS}

    def show(number: int, training: TrainProgress) -> None:
        assert progress is not None
        variant, seed = wanted[number - 1]
        # As long as the variant's last one took, or else as this one, by their multiply-adds.
        whole = training.steps * base.batch_size / training.images_per_second
        left = training.seconds_left + sum(
            runs[coming][-1].seconds["training"]
            if runs[coming]
            else whole * cost[coming] / cost[variant]
            for coming, _ in wanted[number:]
        )
        progress(StudyProgress(number, len(wanted), variant, seed, training, left))

    for number, (variant, seed) in enumerate(wanted, start=1):
        own, place = variant.config(base, seed), folder / f"{variant.folder}-seed-{seed}"
        told = partial(show, number) if progress else None
        runs[variant].append(train(own, images, place, resume=True, progress=told, **options))
    return runs
