"""Networks that ship with their weights: NAME.safetensors, and NAME.json that tells of them.

The JSON is the ``run.json`` of the training that made the weights, with the classes' names and the
side of the images; ``benchmarks/bundle.py`` writes both files.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from convscope.errors import ModelError
from convscope.images import Preprocess
from convscope.models.parts import OFFICIAL_WEIGHTS, RANDOM_NOTE, Parts
from convscope.models.plain import NetConfig, build
from convscope.models.weights import fill

BUNDLED = ("base",)


def from_bundle(name: str, weights: str | Path | None) -> Parts:
    """Build a bundled network, by default with the weights that ship with it.

    Raises:
        ModelError: if a file of the bundle or of weights is missing, damaged or does not fit.

    """
    facts = bundle_facts(name)
    config, side = facts["config"], facts["side"]
    module = build(NetConfig.from_json(config["net"]), seed=0).eval()
    # The whole picture is fitted in and its middle cut out, so that nothing in it is squeezed.
    mean, std = tuple(config["mean"]), tuple(config["std"])
    preprocess = Preprocess(mean, std, (side, side), resize=side)
    classes = tuple(facts["classes"])
    if weights is None:
        return Parts(module, preprocess, classes, (RANDOM_NOTE,))
    if weights == OFFICIAL_WEIGHTS:
        with as_file(files(__name__) / f"{name}.safetensors") as path:
            fill(module, path)
    else:
        fill(module, weights)
    return Parts(module, preprocess, classes)


@cache
def bundle_facts(name: str) -> Mapping[str, Any]:
    """Return what is known of a bundled network's training: configuration, data, accuracy.

    Raises:
        ModelError: if the file that tells of it is missing from this copy of convscope.

    >>> bundle_facts("base")["classes"][3]
    'cat'

    """
    try:
        facts: dict[str, Any] = json.loads((files(__name__) / f"{name}.json").read_text("utf-8"))
    except FileNotFoundError as error:
        raise ModelError(
            f"this copy of convscope lacks the bundled network {name!r}: install it again"
        ) from error
    return facts
