"""Any name of a network, the folder of a training among them: :func:`load`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from convscope.errors import ModelError
from convscope.models.loading import parse_size, parts_of
from convscope.models.parts import OFFICIAL_WEIGHTS
from convscope.network import Network
from convscope.network.shield import shielded
from convscope.study.run import is_run, parts_of_run

RANDOM_WEIGHTS = "random"


@shielded
def load(
    name: str | Path,
    weights: str | Path = OFFICIAL_WEIGHTS,
    *,
    size: str | Sequence[int] | None = None,
    device: str | torch.device = "cpu",
    answer: str | None = None,
    head: int | str | None = None,
    random: str = "refuse",
    preprocess: Any = None,
    mean: Sequence[float] | float | None = None,
    std: Sequence[float] | float | None = None,
    resize: int | None = None,
    interpolation: str | None = None,
    range: tuple[float, float] | None = None,
) -> Network:
    """Load a network by name, or from the folder of a training.

    Args:
        name: "base" (CIFAR-10), "vgg16_features" (ImageNet, the 13 convolutions without classes)
            or "squeezenet1_1" (ImageNet), which ship with their weights; "vgg16", "vgg16_bn",
            "alexnet" or "zfnet"; "torchvision:NAME" or "timm:NAME" where those packages are
            installed; "path/file.py:factory", a function without arguments that
            returns an nn.Module; "net.pt2", a program of torch.export; or the folder that
            :func:`convscope.train` wrote. A factory runs any code of its file's author, a .pt2 only
            torch's own operations.
        weights: "default" for the published ones (of a factory, a .pt2 or a training: its own), the
            path of a .safetensors, .pth, .pt or .ckpt file, or "random" for random ones (seed 0),
            which are noted on pictures. In a training's checkpoint the network's weights are found
            by their names; of several sets that fit, "FILE#key" chooses one, as
            "run.ckpt#state_dict_ema".
        size: the input's size, "C,H,W" or three numbers; by default what the model was made for,
            and 3,224,224 for a factory that does not say, which is noted on pictures.
        device: where to run, such as "cpu" or "cuda".
        answer: what the output means: "classes", "labels" or "number"; see
            :class:`convscope.Network`.
        head: which of several outputs counts, by its number or name.
        random: what to do about noise that stays on in evaluation mode; see
            :class:`convscope.Network`.
        preprocess: how pictures become inputs, where it is not what the model was published with;
            see :class:`convscope.Network`, as for *mean*, *std*, *resize* and *interpolation*.
        mean: see *preprocess*.
        std: see *preprocess*.
        resize: see *preprocess*.
        interpolation: see *preprocess*.
        range: the values in the files of pictures that are black and white, such as (0, 4095); by
            default what the type of the file holds.

    Raises:
        ImageError: if the preprocessing is not understood, or does not fit.
        ModelError: if there is no such model, or its file, weights or options cannot be used.
        TraceError: if the module cannot be traced.

    >>> net = load("squeezenet1_1", size="3,64,64")
    >>> net.notes, net.input_shape, net.classes[281]
    ((), (3, 64, 64), 'tabby')
    """
    own = {
        "preprocess": preprocess, "mean": mean, "std": std, "resize": resize,
        "interpolation": interpolation,
    }  # fmt: skip
    shape = None if size is None else parse_size(size)
    if is_run(name):
        if weights not in (OFFICIAL_WEIGHTS, RANDOM_WEIGHTS):
            raise ModelError(f"{name} brings its own weights, which no others can replace")
        if given := [option for option, value in own.items() if value is not None]:
            raise ModelError(
                f"{name} brings its own preprocessing: leave out {' and '.join(given)}"
            )
        parts = parts_of_run(name, trained=weights == OFFICIAL_WEIGHTS)
    else:
        parts = parts_of(str(name), None if weights == RANDOM_WEIGHTS else weights, shape)
    if shape is not None:
        parts = parts.resized(shape)
    net = parts.network(
        Path(name).absolute().name, device, answer=answer, head=head, random=random, **own
    )
    if range is not None:
        net.preprocess = replace(net.preprocess, range=range)
    return net
