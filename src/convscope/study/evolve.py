"""Evolution: how one filter of each layer forms in training (Zeiler & Fergus sec. 4.1, fig. 4)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from convscope.errors import DataError, TrainError, UnitError
from convscope.images import Preprocess
from convscope.methods.project import chosen_rule, project
from convscope.models.weights import load_into
from convscope.network import Network
from convscope.network.shield import shielded
from convscope.study.checkpoints import checkpoint_paths, checkpoint_step, load_tensors
from convscope.study.data import ImageSet, load_cifar10
from convscope.study.filters import channel_peaks
from convscope.study.run import Run


@dataclass(frozen=True, eq=False)
class FilterEvolution:
    """One filter through a training: M moments.

    Attributes:
        layer: the layer's name.
        channel: the filter's channel.
        activation: [M], the strongest activation over the images at each moment.
        image: [M], int64: the image that it came from.
        window: [M, 4], int64: top, left, bottom, right of the receptive field in that image.
        pixels: [M, C, H, W], the projection of that activation, in the network's input space.
        changed: [M], bool: whether the strongest image is another than the moment before.

    """

    layer: str
    channel: int
    activation: Tensor
    image: Tensor
    window: Tensor
    pixels: Tensor
    changed: Tensor


@dataclass(frozen=True, eq=False)
class Evolution:
    """One filter a layer through a training, and every layer's way to its final filters.

    Attributes:
        steps: the optimizer steps done at each moment.
        epochs: the same in passes over the training images; None where the training does not tell.
        filters: one a layer, in the order of the layers.
        distance: weight name -> [M]: how far the filters still are from the final ones, the norm of
            the difference over the norm of the final filters.
        images: [I, C, H, W], the images that were looked at, in the network's input space.
        preprocess: takes them back to pixels.
        rule: how the activations were brought down.

    """

    steps: tuple[int, ...]
    epochs: tuple[float, ...] | None
    filters: tuple[FilterEvolution, ...]
    distance: dict[str, Tensor]
    images: Tensor
    preprocess: Preprocess
    rule: str

    def to_dict(self) -> dict[str, object]:
        """Return all but the pictures, fit for JSON."""
        filters = [
            {
                "layer": followed.layer,
                "channel": followed.channel,
                "activation": followed.activation.tolist(),
                "image": followed.image.tolist(),
                "window": followed.window.tolist(),
                "changed": followed.changed.tolist(),
            }
            for followed in self.filters
        ]
        return {
            "rule": self.rule,
            "images": len(self.images),
            "steps": list(self.steps),
            "epochs": None if self.epochs is None else list(self.epochs),
            "filters": filters,
            "distance": {name: values.tolist() for name, values in self.distance.items()},
        }


@shielded
def evolve(
    run: Run | str | Path,
    data: ImageSet | Tensor | str | Path,
    *,
    module: nn.Module | None = None,
    channels: Mapping[str, int | None] | None = None,
    count: int = 1_000,
    rule: str = "deconvnet",
    device: str | torch.device | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evolution:
    """Follow one filter a layer through the checkpoints of a training.

    At every checkpoint, each filter's strongest activation over a fixed set of training images is
    found and brought down to pixels. Only the checkpoints are needed, so any training will do.

    Args:
        run: a training of :func:`convscope.train`, or a folder that a
            :class:`~convscope.study.tracker.Tracker` filled.
        data: the training images: a set, CIFAR-10's folder, or a tensor [N, C, H, W] in the
            network's input space.
        module: the network of a training that is not convscope's own; it is left as it was.
        channels: layer -> channel, or None for the one that is most activated at the end; by
            default every rectifier, or every convolution where there is none.
        count: how many of the images to look at, from the first.
        rule: as in :func:`convscope.project`.
        device: where to run; by default where *module* is, or on the CPU.
        progress: called with the checkpoints done and the checkpoints in all.

    Raises:
        TrainError: there is no checkpoint, or it does not fit the network.
        UnitError: there is no such layer or channel.
        DataError: there is no image.

    """
    training = _Training.of(run, module, device)
    images, preprocess = training.inputs(data, count)
    final = training.network(training.paths[-1], images[:1])
    chosen_rule(final, rule)
    strongest = channel_peaks(final, images, _layers(final, channels))
    chosen = {layer: _channel(peaks, layer, channels) for layer, peaks in strongest.items()}
    found: list[dict[str, _Moment]] = []
    for place, path in enumerate(training.paths):
        net = training.network(path, images[:1])
        found.append(_moment(net, images, chosen, rule))
        if progress:
            progress(place + 1, len(training.paths))
    return Evolution(
        steps=tuple(checkpoint_step(path) for path in training.paths),
        epochs=training.epochs,
        filters=tuple(
            _followed(layer, channel, [moment[layer] for moment in found])
            for layer, channel in chosen.items()
        ),
        distance=_distances(training.paths),
        images=images,
        preprocess=preprocess,
        rule=rule,
    )


@dataclass
class _Training:
    """Where the checkpoints lie, and the network that they fit."""

    folder: Path
    module: nn.Module
    run: Run | None

    @classmethod
    def of(
        cls,
        run: Run | str | Path,
        module: nn.Module | None,
        device: str | torch.device | None,
    ) -> _Training:
        """Return the training in a folder, with a copy of the network of its own."""
        if module is not None:
            folder = run.folder if isinstance(run, Run) else Path(run)
            training = cls(folder, copy.deepcopy(module), None)
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

    @property
    def epochs(self) -> tuple[float, ...] | None:
        """Return the epochs done at each checkpoint, if the training notes its epochs."""
        if self.run is None or not self.run.epochs:
            return None
        last = self.run.epochs[-1]
        return tuple(checkpoint_step(path) * last.epoch / last.step for path in self.paths)

    def inputs(self, data: ImageSet | Tensor | str | Path, count: int) -> tuple[Tensor, Preprocess]:
        """Return the first *count* images in the network's input space, and what undoes it."""
        if isinstance(data, Tensor):
            images = data[:count].float().cpu()
            _, channels, height, width = images.shape
            preprocess = Preprocess.identity(channels, (height, width))
        else:
            data = data if isinstance(data, ImageSet) else load_cifar10(data)
            size = (data.side, data.side)
            config = self.run.config if self.run else None
            preprocess = (
                Preprocess(config.mean, config.std, size)
                if config
                else Preprocess.identity(3, size)
            )
            images = preprocess.to_inputs(data.images[:count].float() / 255)
        if not len(images):
            raise DataError("there is no image to follow the filters on")
        return images, preprocess

    def network(self, path: Path, example: Tensor) -> Network:
        """Return the network with a checkpoint's weights."""
        load_into(self.module, load_tensors(path)[0], path)
        # Traced anew: a network may compute some of its weights from others once, when traced.
        return Network(self.module, example, name=self.folder.name)


@dataclass(frozen=True)
class _Moment:
    """One filter at one checkpoint."""

    activation: Tensor
    image: Tensor
    window: Tensor
    pixels: Tensor


def _layers(net: Network, channels: Mapping[str, int | None] | None) -> list[str]:
    """Return the layers to follow."""
    if channels is not None:
        return [net.graph.steps[net.step(layer)].name for layer in channels]
    for kind in ("rectifier", "convolution"):
        found = [name for name, layer in net.layers.items() if layer.op == kind]
        if found:
            return found
    raise UnitError(f"{net.name} has neither a rectifier nor a convolution to follow")


def _channel(peaks: Tensor, layer: str, channels: Mapping[str, int | None] | None) -> int:
    """Return the channel asked for, or the one with the strongest activation."""
    channel = (channels or {}).get(layer)
    if channel is None:
        return int(peaks.amax(0).argmax())
    if not 0 <= channel < peaks.shape[1]:
        raise UnitError(f"layer {layer!r} has channels 0 to {peaks.shape[1] - 1}, not {channel}")
    return channel


def _moment(net: Network, images: Tensor, chosen: dict[str, int], rule: str) -> dict[str, _Moment]:
    """Find each filter's strongest image at one checkpoint and bring the activation down."""
    moments = {}
    for layer, peaks in channel_peaks(net, images, list(chosen)).items():
        image = peaks[:, chosen[layer]].argmax()
        p = project(net, images[image][None], layer, [chosen[layer]], rule=rule, titles=[""])
        found = (p.activation[0, 0], image, p.window[0, 0], p.pixels[0, 0])
        moments[layer] = _Moment(*(tensor.cpu() for tensor in found))
    return moments


def _followed(layer: str, channel: int, moments: Sequence[_Moment]) -> FilterEvolution:
    image = torch.stack([moment.image for moment in moments])
    changed = torch.zeros(len(moments), dtype=torch.bool)
    changed[1:] = image[1:] != image[:-1]
    return FilterEvolution(
        layer=layer,
        channel=channel,
        activation=torch.stack([moment.activation for moment in moments]),
        image=image,
        window=torch.stack([moment.window for moment in moments]),
        pixels=torch.stack([moment.pixels for moment in moments]),
        changed=changed,
    )


def _distances(paths: Sequence[Path]) -> dict[str, Tensor]:
    """Return how far each layer's filters are from the final ones at every checkpoint."""
    final = load_tensors(paths[-1])[0]
    filters = {name: values.double() for name, values in final.items() if values.ndim > 1}
    distances: dict[str, list[Tensor]] = {name: [] for name in filters}
    for path in paths:
        weights = load_tensors(path)[0]
        for name, values in filters.items():
            distances[name].append((weights[name].double() - values).norm() / values.norm())
    return {name: torch.stack(values) for name, values in distances.items()}
