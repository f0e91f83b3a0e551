"""What a named model is made of, before it is traced."""

from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

from torch import nn
from torch.export import ExportedProgram

from convscope.errors import ModelError
from convscope.images import Preprocess
from convscope.network.typical import TypicalPeaks

OFFICIAL_WEIGHTS = "default"
RANDOM_NOTE = "random weights (seed 0)"
IMAGENET = Preprocess((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), (224, 224), resize=256)


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


@cache
def imagenet_classes() -> tuple[str, ...]:
    """Return the names of ImageNet's 1,000 classes in index order, as torchvision spells them.

    >>> imagenet_classes()[281]
    'tabby'
    """
    text = files("convscope.models").joinpath("imagenet_classes.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())
