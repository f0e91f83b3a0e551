"""Train a network on a set of images: on any device, in any number of processes, resumably."""

from collections.abc import Callable
from pathlib import Path

from lightning_fabric import Fabric

from convscope.errors import TrainError
from convscope.models.plain import multiply_adds, smallest_side
from convscope.network.shield import shielded
from convscope.outputs import made_folder
from convscope.study.config import TrainConfig
from convscope.study.data import ImageSet, load_cifar10, require_cifar10, split
from convscope.study.devices import keep_freed_memory, made_with, make_fabric
from convscope.study.run import FILE, Run
from convscope.study.trainer import Trainer, TrainProgress


@shielded
def train(
    config: TrainConfig,
    data: ImageSet | str | Path,
    folder: str | Path,
    *,
    test: ImageSet | None = None,
    resume: bool = False,
    progress: Callable[[TrainProgress], None] | None = None,
    device: str = "auto",
    precision: str = "auto",
) -> Run:
    """Train a network and keep its checkpoints.

    Interrupted by Ctrl-C, SIGTERM or a crash, the same call with ``resume=True`` goes on and ends
    with the same weights, bit for bit, as without the interruption, on the same machine with the
    same number of threads. Under ``torchrun`` the processes share each batch; *folder* must then be
    one folder that all of them see.

    Args:
        config: what to train and how.
        data: the training images, of which ``config.held_out`` are kept apart; or CIFAR-10's
            folder, whose test images are then read too, once, at the end.
        folder: the RUN folder, made if missing.
        test: images to test the final weights on, once, where *data* is an :class:`ImageSet`.
        resume: go on with the training in *folder*; where there is none, start one.
        progress: called after every step, in the first process only.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
        precision: ``"float32"``, ``"bfloat16"`` (mixed), or ``"auto"``: bfloat16 on GPUs and
            processors with instructions for it, and whatever a training that is gone on with was
            begun in.

    Returns:
        The finished run.

    Raises:
        TrainError: *folder* holds a training and *resume* is off, or one of another configuration,
            of other images or another precision; the loss or the weights stop being finite (the
            step and the last good checkpoint are named); there is no such device.
        DataError: the images are missing, damaged, or too few to hold some out.
        OutputError: *folder* cannot be written; what was in it is still whole.
        Interrupted: on Ctrl-C or SIGTERM, after saving the state; a ``KeyboardInterrupt``.
    """
    keep_freed_memory()
    images = data if isinstance(data, ImageSet) else load_cifar10(data)
    if not isinstance(data, ImageSet):
        require_cifar10(data, "test")
    fabric = make_fabric(device, begun_precision(Path(folder), precision) if resume else precision)
    run = _opened(config, images, Path(folder), resume, fabric)
    if run.finished:
        return run
    training, held_out = split(images, config.held_out, config.split_seed)
    del images
    trainer = Trainer(run, training, held_out, fabric, progress)
    trainer.train()
    if not isinstance(data, ImageSet):
        test = load_cifar10(data, "test")
    trainer.finish(test)
    return run


def require_size(config: TrainConfig, side: int) -> None:
    """Make sure that images of *side* pixels are large enough for a training at all its sides.

    Raises:
        TrainError: they are too small for the network.
    """
    smallest = min([side, *(side for _, side in config.sides)])
    needed = smallest_side(config.net)
    if smallest < needed:
        raise TrainError(
            f"images of {smallest} pixels are too small for this network with padding "
            f"{config.net.padding!r}: it needs {needed} at least"
        )


def begun_precision(folder: Path, wanted: str) -> str:
    """Return the precision of the training to go on with, or the wanted one where there is none.

    Raises:
        TrainError: another one is wanted.
    """
    if not (folder / FILE).exists():
        return wanted
    begun: str = Run.load(folder).made_with["precision"]
    if wanted not in ("auto", begun):
        raise TrainError(f"{folder} was trained in {begun}, not {wanted}")
    return begun


def _opened(
    config: TrainConfig, images: ImageSet, folder: Path, resume: bool, fabric: Fabric
) -> Run:
    """Return the run in *folder*, checked against what is asked for, or a new one."""
    require_size(config, images.side)
    fingerprint = {"images": len(images), "sha256": images.fingerprint()}
    if (folder / FILE).exists():
        if not resume:
            raise TrainError(
                f"{folder} holds a training already; resume it, or choose another folder"
            )
        run = Run.load(folder)
        run.check_same(config, fingerprint)
    else:
        size = {"multiply_adds": multiply_adds(config.net, images.side)}
        run = Run(folder, config, fingerprint, size, made_with(fabric))
        made_folder(folder)
    fabric.barrier()  # no process looks for run.json after another has written it
    if fabric.is_global_zero and not run.finished:
        run.save()
    return run
