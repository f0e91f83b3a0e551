"""What a named model is made of, before it is traced."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.export.passes import move_to_device_pass

from convscope.errors import ModelError, first_line
from convscope.images import Preprocess
from convscope.models.weights import fill
from convscope.network import Network
from convscope.network.typical import TypicalPeaks
from convscope.preprocessing import preprocessing_of

OFFICIAL_WEIGHTS = "default"
RANDOM_NOTE = "random weights (seed 0)"
PREPROCESSING = ("preprocess", "mean", "std", "resize", "interpolation")
IMAGENET = preprocessing_of("imagenet", (3, 224, 224))


@dataclass(frozen=True)
class Parts:
    """A module with what has to be known to use it; its input is [N, C, *preprocess.size].

    module: the network, on the CPU
    preprocess: how pictures become its input
    told: whether this is known; if not, the size of its input is all that counts
    classes: names of its outputs, if known
    notes: what must be written on pictures of it
    typical: what its channels typically reach at their peaks, if known
    """

    module: nn.Module | ExportedProgram
    preprocess: Preprocess
    classes: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    told: bool = True
    typical: TypicalPeaks | None = None

    def resized(self, size: tuple[int, int, int]) -> "Parts":
        """Return the model for an input of [C, H, W], the resize before the crop in proportion.

        Raises:
            ModelError: if it takes another number of channels.
        """
        channels, height, width = size
        old = self.preprocess
        if channels != old.channels:
            raise ModelError(f"the network takes {old.channels} channels, not {channels}")
        return replace(self, preprocess=old.resized((height, width)))

    def network(self, name: str, device: str | torch.device = "cpu", **options: Any) -> Network:
        """Return the model as a network, with *options* of :class:`.Network`.

        Raises:
            ModelError: if there is no such device.
            TraceError: if the module cannot be traced.
        """
        if self.told and all(options.get(name) is None for name in PREPROCESSING):
            options["preprocess"] = self.preprocess
        net = Network(
            self._readied(device),
            torch.zeros(1, self.preprocess.channels, *self.preprocess.size),
            name=name, classes=self.classes, notes=self.notes, **options,
        )  # fmt: skip
        net.typical = self.typical
        return net

    def _readied(self, device: str | torch.device) -> nn.Module | ExportedProgram:
        """Return the module on a device, in evaluation mode, in which nothing is dropped out."""
        if str(device) == "meta":
            raise ModelError("the device 'meta' cannot be used: it computes shapes and no values")
        try:
            if isinstance(self.module, ExportedProgram):
                return move_to_device_pass(self.module, device)
            return self.module.to(device).eval()
        except (AssertionError, RuntimeError) as error:  # torch's words for "no such device here"
            raise ModelError(
                f"the device {str(device)!r} cannot be used: {first_line(error)}"
            ) from error


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Draw from torch's CPU generator as if freshly seeded, and leave it as it was."""
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would reach the accelerators' generators too, which are not put back.
        torch.default_generator.manual_seed(seed)
        yield


def filled(module: nn.Module, weights: str | Path | None) -> tuple[str, ...]:
    """Put a file's weights into a module, if one is named; return the notes for its pictures.

    None stands for the module's own, which are random, and :data:`OFFICIAL_WEIGHTS` for them too,
    which are not.

    Raises:
        ModelError: if the file cannot be read, or does not fit.
    """
    if weights is None:
        return (RANDOM_NOTE,)
    if weights != OFFICIAL_WEIGHTS:
        fill(module, weights)
    return ()


@cache
def imagenet_classes() -> tuple[str, ...]:
    """Return the names of ImageNet's 1,000 classes in index order, as torchvision spells them.

    >>> imagenet_classes()[281]
    'tabby'
    """
    text = files("convscope.models").joinpath("imagenet_classes.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())
