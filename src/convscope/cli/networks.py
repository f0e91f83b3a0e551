"""The options that name a network, the same for every command."""

import sys
from contextlib import redirect_stdout
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from math import inf
from typing import TYPE_CHECKING, Any

from convscope.cli.options import numbers_of
from convscope.errors import ConvscopeError

if TYPE_CHECKING:
    from convscope.network import Network

NO_OPTIONS = ("notes", "memory")
"""What a :class:`NamedNetwork` keeps beside the options that name it."""


@dataclass(frozen=True)
class NamedNetwork:
    """A network as the command line names it, to be loaded once all else has been checked.

    Attributes:
        model (MODEL): base, vgg16_features, squeezenet1_1 (these come with their weights), vgg16,
            vgg16_bn, alexnet, zfnet, torchvision:NAME, timm:NAME, file.py:factory, net.pt2, or the
            folder of a training
        weights: A .safetensors, .pth or .ckpt file (FILE#key: what is under one key of it), or
            'random'; by default the published ones.
        size (C,H,W): Input size of the network.
        preprocess: How pictures become inputs: imagenet, cifar10, none (pixels 0 to 1).
        mean (N,...): Subtracted from pixels of 0 to 1, one a channel.
        std (N,...): Then divided by, one a channel.
        resize: Short side before the centre crop, with --mean and --std; squeezed.
        interpolation: Of the resizing: bilinear, bicubic, nearest, lanczos.
        range (LOW,HIGH): The values in the files of pictures that are black and white, such as
            0,4095.
        answer: What the output is: classes, labels or number; by default its end tells.
        head: Which of several outputs: its number or name; the first.
        random: Where noise stays on in evaluation mode: refuse it, or freeze it.
        device: Where to run, such as cpu or cuda.
    """

    model: str
    weights: str = "default"
    size: str | None = None
    preprocess: str | None = None
    mean: str | None = None
    std: str | None = None
    resize: int | None = None
    interpolation: str | None = None
    range: str | None = None
    answer: str | None = None
    head: str | None = None
    random: str = "refuse"
    device: str = "cpu"

    notes: dict[str, None] = field(default_factory=dict, compare=False)
    """What pictures of the networks that were loaded must say, each once."""

    memory: str | None = field(default=None, compare=False)
    """What the command is given for its work, if it has such an option."""

    def given(self) -> dict[str, Any]:
        """Return what is not as by default, but for the model and the device, by its name."""
        return {
            own.name: value
            for own in fields(self)
            if own.name not in ("model", "device", *NO_OPTIONS)
            and (value := getattr(self, own.name)) != own.default
        }

    def shaped(self, weights: str | None) -> "Network":
        """Load it for what its weights do not change, with those given, if any."""
        # An exported program brings its weights; for all else random ones save a download.
        own = "default" if self.model.endswith(".pt2") else "random"
        return replace(self, weights=own if weights is None else weights).load()

    @cached_property
    def loaded(self) -> "Network":
        """The network, loaded once."""
        return self.load()

    def load(self) -> "Network":
        """Load it; ``random`` weights are drawn, and what pictures must say is said once."""
        from convscope.loading import load

        # A factory's file may print; standard output is for the answer alone.
        with redirect_stdout(sys.stderr):
            net = load(
                self.model, self.weights, size=self.size, device=self.device, answer=self.answer,
                head=self.head, random=self.random, preprocess=self.preprocess,
                mean=_numbers(self.mean, "--mean"), std=_numbers(self.std, "--std"),
                resize=self.resize, interpolation=self.interpolation, range=_range(self.range),
            )  # fmt: skip
        self.notes.update(dict.fromkeys(net.notes))
        if self.memory is not None:
            self._say_least(net, self.memory)
        return net

    def _say_least(self, net: "Network", memory: str) -> None:
        """Say what the work on one picture takes, where that is more than was given."""
        from convscope.methods.budget import parse_bytes
        from convscope.methods.scanning.image_pass import least_memory

        least = least_memory(net)
        if least > parse_bytes(memory):
            self.notes[
                f"--memory {memory} is below the least that {net.name} needs for one picture, "
                f"about {least / 2**20:,.0f} MB; it takes that much"
            ] = None


def _numbers(text: str | None, option: str) -> list[float] | None:
    """Return numbers given as ``0.5,0.5,0.5``."""
    return None if text is None else numbers_of(text, option, "a number a channel, as 0.5,0.5,0.5")


def _range(text: str | None) -> tuple[float, float] | None:
    """Return the values that are black and white."""
    if text is None:
        return None
    wanted = "LOW,HIGH with LOW below HIGH, as 0,4095"
    low, high = numbers_of(text, "--range", wanted, counts=(2,))
    if not -inf < low < high < inf:
        raise ConvscopeError(f"--range is {wanted}, not {text!r}")
    return low, high
