"""Evolution: how one filter of each layer forms in training (Zeiler & Fergus sec. 4.1, fig. 4)."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from convscope.errors import DataError, Interrupted, TrainError, UnitError
from convscope.images import Preprocess
from convscope.methods.project import project
from convscope.methods.rules import chosen_rule
from convscope.models.weights import load_into
from convscope.network import Network
from convscope.network.layers import LayerName, listed
from convscope.network.shield import shielded
from convscope.results import Result
from convscope.study.checkpoints import checkpoint_paths, checkpoint_step, load_checkpoint
from convscope.study.data import ImageSet, load_cifar10
from convscope.study.filters import channel_peaks
from convscope.study.run import Run


@dataclass(frozen=True, eq=False)
class FilterEvolution:
    """One filter through a training: M moments.

    Attributes:
        layer: the layer's name.
        channel: the filter's channel.
        receptive_field: height and width of what one of its values reads.
        activation: [M], the strongest activation over the images at each moment.
        number: [M], int64: the image that it came from, among those that were looked at.
        images: [M, C, H, W], that image, in the network's input space.
        window: [M, 4], int64: top, left, bottom, right of the receptive field in it.
        pixels: [M, C, H, W], the projection of that activation, in the network's input space.
    """

    layer: str
    channel: int
    receptive_field: tuple[int, int]
    activation: Tensor
    number: Tensor
    images: Tensor
    window: Tensor
    pixels: Tensor

    @property
    def changed(self) -> Tensor:
        """[M], bool: whether the strongest image is another than the moment before."""
        return torch.cat([torch.zeros(1, dtype=torch.bool), self.number[1:] != self.number[:-1]])


@dataclass(frozen=True, eq=False, repr=False)
class Evolution(Result):
    """One filter a layer through a training, and every layer's way to its final filters.

    Attributes:
        steps: the optimizer steps done at each moment.
        epochs: the same in passes over the training images; None where the training does not tell.
        filters: one a layer, in the order of the layers.
        distance: weight name -> [M]: how far the filters still are from the final ones, the norm of
            the difference over the norm of the final filters.
        images: how many images were looked at.
        preprocess: takes inputs back to pixels.
        rule: how the activations were brought down.
        network: what the training is called.
    """

    steps: tuple[int, ...]
    epochs: tuple[float, ...] | None
    filters: tuple[FilterEvolution, ...]
    distance: dict[str, Tensor]
    images: int
    preprocess: Preprocess
    rule: str
    network: str

    figure: ClassVar[str] = "evolve"
    film: ClassVar[str] = "evolve_film"

    def to_dict(self, **options: Any) -> dict[str, Any]:
        """Return all but the pictures, fit for JSON."""
        found = super().to_dict()
        for own in found["filters"]:
            del own["images"], own["pixels"]
        return found

    def table(self) -> list[dict[str, Any]]:
        """Return a row a filter and moment: how strong it is, and in which image."""
        return [
            {
                "layer": own.layer,
                "channel": own.channel,
                "step": step,
                "epoch": None if self.epochs is None else self.epochs[moment],
                "activation": float(own.activation[moment]),
                "image": int(own.number[moment]),
            }
            for own in self.filters
            for moment, step in enumerate(self.steps)
        ]

    def summary(self) -> str:
        """Return how strong each filter is at first and at the end."""
        lines = [f"{self.network}: {len(self.steps)} moments of a training, {self.images:,} images"]
        lines += [f"partial: {self.partial}"] * bool(self.partial)
        lines += [
            f"  {own.layer}  channel {own.channel}  activation {own.activation[0].item():.3g} at "
            f"first, {own.activation[-1].item():.3g} at the end; the strongest image changed "
            f"{int(own.changed.sum())} times"
            for own in self.filters
        ]
        return "\n".join(lines)


@shielded
def evolve(
    run: Run | str | Path,
    data: ImageSet | Tensor | str | Path,
    *,
    module: nn.Module | None = None,
    layer: LayerName | Sequence[LayerName] | None = None,
    channels: Sequence[int] | None = None,
    sample: int = 1_000,
    rule: str = "deconvnet",
    device: str | torch.device | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evolution:
    """Follow one filter a layer through the checkpoints of a training.

    At every checkpoint, each filter's strongest activation over a fixed set of training images is
    found and brought down to pixels. Only the checkpoints are needed, so any training will do.

    Args:
        run: a training of :func:`convscope.train`, or a folder that a
            :class:`~convscope.study.checkpoints.Tracker` filled.
        data: the training images: a set, CIFAR-10's folder, or a tensor [N, C, H, W] in the
            network's input space.
        module: the network of a training that is not convscope's own; it is left as it was.
        layer: a name, or a module of *module*; several in a list; None for every rectifier, or
            every convolution where there is none.
        channels: the one to follow of each layer, in their order; None for those that are most
            activated at the end.
        sample: how many of the images to look at, from the first.
        rule: as in :func:`convscope.project`.
        device: where to run; by default where *module* is, or on the CPU.
        progress: called with the checkpoints done and the checkpoints in all.

    Raises:
        TrainError: there is no checkpoint, or it does not fit the network.
        UnitError: there is no such layer or channel, or not a channel a layer.
        DataError: there is no image.
        Interrupted: on Ctrl-C, with the moments until then as its ``result``.
    """
    if sample < 1:
        raise DataError(f"the sample must be at least 1 image, not {sample}")
    layers = None if layer is None else listed(layer)
    if channels is not None and len(channels) != len(layers or ()):
        raise UnitError(f"{len(layers or ())} layers need as many channels, not {len(channels)}")
    training = _Training.of(run, module, device)
    final, inputs = _looked_at(training, data, sample)
    chosen_rule(final, rule)
    chosen = _chosen(final, inputs, training.named(layers), channels)
    moments: list[dict[str, tuple[Tensor, ...]]] = []
    partial = ""
    try:
        for path in training.paths:
            net = training.network(path, inputs.shape[1:])
            moments.append(_moment(net, inputs, chosen, rule))
            if progress:
                progress(len(moments), len(training.paths))
    except KeyboardInterrupt:
        partial = "interrupted"
    if not moments:
        raise Interrupted("the evolution was stopped")
    paths = training.paths[: len(moments)]
    result = Evolution(
        steps=tuple(map(checkpoint_step, paths)),
        epochs=training.epochs(paths),
        filters=tuple(
            FilterEvolution(
                name,
                channel,
                final.receptive_fields.size(final.step(name)),
                *map(torch.stack, zip(*(moment[name] for moment in moments), strict=True)),
            )
            for name, channel in chosen.items()
        ),
        distance=_distances(paths, training.paths[-1]),
        images=len(inputs),
        preprocess=final.preprocess,
        rule=rule,
        network=training.folder.resolve().name,
        notes=final.notes,
        partial=partial,
    )
    if partial:
        raise Interrupted("the evolution was stopped", result)
    return result


def _looked_at(
    training: "_Training", data: ImageSet | Tensor | str | Path, sample: int
) -> tuple[Network, Tensor]:
    """Return the final network, and the images to look at, in its input space."""
    images = data if isinstance(data, ImageSet | Tensor) else load_cifar10(data)
    pixels = images.images if isinstance(images, ImageSet) else images
    net = training.network(training.paths[-1], pixels.shape[1:])
    if not len(pixels):
        raise DataError("there is no image to follow the filters on")
    inputs = pixels[:sample].float().cpu()
    if isinstance(images, ImageSet):
        inputs = net.preprocess.to_inputs(inputs / 255)
    return net, inputs


@dataclass
class _Training:
    """Where the checkpoints lie, and the network that they fit."""

    folder: Path
    module: nn.Module
    run: Run | None
    original: nn.Module | None = None

    @classmethod
    def of(
        cls,
        run: Run | str | Path,
        module: nn.Module | None,
        device: str | torch.device | None,
    ) -> "_Training":
        """Return the training in a folder, with a copy of the network of its own."""
        if module is not None:
            folder = run.folder if isinstance(run, Run) else Path(run)
            training = cls(folder, copy.deepcopy(module), None, module)
        else:
            run = run if isinstance(run, Run) else Run.load(run)
            training = cls(run.folder, run.module(), run)
        if not training.paths:
            raise TrainError(f"{training.folder} holds no checkpoint")
        if device is not None:
            training.module.to(device)
        return training

    @property
    def paths(self) -> list[Path]:
        return checkpoint_paths(self.folder)

    def epochs(self, paths: Sequence[Path]) -> tuple[float, ...] | None:
        """Return the epochs done at some checkpoints, if the training notes its epochs."""
        if self.run is None or not self.run.epochs:
            return None
        last = self.run.epochs[-1]
        return tuple(checkpoint_step(path) * last.epoch / last.step for path in paths)

    def network(self, path: Path, shape: Sequence[int]) -> Network:
        """Return the network with a checkpoint's weights, for images [C, H, W] of a shape."""
        load_into(self.module, load_checkpoint(path)[0], path)
        preprocess = None
        if self.run is not None:
            preprocess = self.run.config.preprocess(shape[1], shape[2])
        # Traced anew: a network may compute some of its weights from others once, when traced.
        example = torch.zeros(1, *shape)
        return Network(self.module, example, name=self.folder.name, preprocess=preprocess)

    def named(self, layers: list[LayerName] | None) -> list[str] | None:
        """Return layers by their names, as the modules are those of the copy's original."""
        if layers is None:
            return None
        names = {} if self.original is None else {m: n for n, m in self.original.named_modules()}
        if unknown := [one for one in layers if not isinstance(one, str) and one not in names]:
            raise UnitError(
                f"a {type(unknown[0]).__name__} that was given is no part of the module"
            )
        return [one if isinstance(one, str) else names[one] for one in layers]


def _chosen(
    net: Network, images: Tensor, layers: list[str] | None, channels: Sequence[int] | None
) -> dict[str, int]:
    """Return the channel to follow of each layer."""
    names = _layers(net, layers)
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UnitError(f"layer {twice!r} is named twice: one of its channels is followed")
    found = {}
    for place, (layer, peaks) in enumerate(channel_peaks(net, images, names).items()):
        channel = int(peaks.amax(0).argmax()) if channels is None else channels[place]
        if not 0 <= channel < peaks.shape[1]:
            last = peaks.shape[1] - 1
            raise UnitError(f"layer {layer!r} has channels 0 to {last}, not {channel}")
        found[layer] = channel
    return found


def _layers(net: Network, layers: list[str] | None) -> list[str]:
    if layers is not None:
        return [net.graph.steps[net.step(layer)].name for layer in layers]
    for kind in ("rectifier", "convolution"):
        found = [name for name, layer in net.layers.items() if layer.op == kind]
        if found:
            return found
    raise UnitError(f"{net.name} has neither a rectifier nor a convolution to follow")


def _moment(
    net: Network, images: Tensor, chosen: dict[str, int], rule: str
) -> dict[str, tuple[Tensor, ...]]:
    """Find each filter's strongest image at one checkpoint and bring the activation down."""
    moments = {}
    for layer, peaks in channel_peaks(net, images, list(chosen)).items():
        number = peaks[:, chosen[layer]].argmax()
        p = project(net, images[number][None], layer, [chosen[layer]], rule=rule, titles=[""])
        shown = (images[number], p.window[0, 0], p.pixels[0, 0])
        moments[layer] = tuple(t.cpu() for t in (p.activation[0, 0], number, *shown))
    return moments


def _distances(paths: Sequence[Path], last: Path) -> dict[str, Tensor]:
    """Return how far each layer's filters are at some checkpoints from those of the last."""
    filters = {
        n: values.double() for n, values in load_checkpoint(last)[0].items() if values.ndim > 1
    }
    distances: dict[str, list[Tensor]] = {name: [] for name in filters}
    for path in paths:
        weights = load_checkpoint(path)[0]
        for name, values in filters.items():
            distances[name].append((weights[name].double() - values).norm() / values.norm())
    return {name: torch.stack(values) for name, values in distances.items()}
