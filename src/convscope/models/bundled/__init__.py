"""Networks that ship with their weights: NAME.safetensors, and a text that tells of them.

Of ``base``, that is the ``run.json`` of the training that made the weights, with the classes' names
and the side of the images; ``benchmarks/bundle.py`` writes both files. Of those that others
trained, NAME.md gives the makers, the licence and what was done to the weights. Of each,
NAME.peaks.safetensors tells what its channels typically reach.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from convscope.errors import ModelError
from convscope.images import Preprocess
from convscope.models.parts import OFFICIAL_WEIGHTS, Parts, filled
from convscope.models.plain import NetConfig, build
from convscope.network.typical import TypicalPeaks
from convscope.packing import load_tensors, put_together

BUNDLED = ("base", "vgg16_features", "squeezenet1_1")


def base(weights: str | Path | None) -> Parts:
    """Build the CIFAR-10 network that convscope trained, by default with its weights.

    Raises:
        ModelError: if a file of the bundle or of weights is missing, damaged or does not fit.
    """
    facts = bundle_facts("base")
    config, side = facts["config"], facts["side"]
    module = build(put_together(NetConfig, config["net"]), seed=0).eval()
    # The whole picture is fitted in and its middle cut out, so that nothing in it is squeezed.
    mean, std = tuple(config["mean"]), tuple(config["std"])
    preprocess = Preprocess(mean, std, (side, side), resize=side)
    official = weights == OFFICIAL_WEIGHTS
    notes = filled(module, bundled_file("base.safetensors") if official else weights)
    typical = bundled_peaks("base") if official else None
    return Parts(module, preprocess, tuple(facts["classes"]), notes, typical=typical)


def bundled_file(name: str) -> Path:
    """Return the path of a file that ships, such as ``base.safetensors``.

    Raises:
        ModelError: if it is missing from this copy of convscope.
    """
    path = Path(str(files(__name__) / name))
    if not path.is_file():
        raise ModelError(
            f"this copy of convscope lacks the bundled file {name!r}: install it again"
        )
    return path


@cache
def bundled_peaks(name: str) -> TypicalPeaks:
    """Return what the channels of a bundled network typically reach at their peaks.

    ``benchmarks/typical_peaks.py`` wrote it.

    Raises:
        ModelError: if it is missing from this copy of convscope.
    """
    peaks, facts = load_tensors(bundled_file(f"{name}.peaks.safetensors"))
    return TypicalPeaks(facts["over"], peaks)


@cache
def bundle_facts(name: str) -> Mapping[str, Any]:
    """Return what is known of a bundled network's training: configuration, data, accuracy.

    Raises:
        ModelError: if the file that tells of it is missing from this copy of convscope.

    >>> bundle_facts("base")["classes"][3]
    'cat'
    """
    facts: dict[str, Any] = json.loads(bundled_file(f"{name}.json").read_text("utf-8"))
    return facts
