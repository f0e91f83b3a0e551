"""Any name of a network, the folder of a training among them: :func:`load`."""

from pathlib import Path
from typing import Any

from convscope.errors import ModelError
from convscope.models import loading as models
from convscope.models.parts import OFFICIAL_WEIGHTS
from convscope.network import Network
from convscope.study.network import is_run, network_of_run


def load(
    name: str | Path, weights: str | Path | None = OFFICIAL_WEIGHTS, **options: Any
) -> Network:
    """Load a network by name, or from the folder of a training.

    Args:
        name: the folder that :func:`convscope.train` wrote, or a name, as
            :func:`convscope.models.loading.load` explains.
        weights: ``"default"``, ``"random"`` or a file; see there.
        options: *size*, *device*, *answer*, *head*, *random*, *preprocess*, *mean*, *std*,
            *resize* and *interpolation*; see there.

    Raises:
        ModelError: if there is no such model, or its file, weights or options cannot be used.
        TraceError: if the module cannot be traced.

    >>> load("vgg16", weights="random", size="3,32,32").notes
    ('random weights (seed 0)',)

    """
    if not is_run(name):
        return models.load(str(name), weights, **options)
    if weights not in (OFFICIAL_WEIGHTS, models.RANDOM_WEIGHTS):
        raise ModelError(f"{name} brings its own weights, which no others can replace")
    own = ("preprocess", "mean", "std", "resize", "interpolation")
    if given := [option for option in own if options.pop(option, None) is not None]:
        raise ModelError(f"{name} brings its own preprocessing: leave out {' and '.join(given)}")
    options.pop("random", None)  # the networks that are trained here hold no noise
    answer, head = options.pop("answer", None), options.pop("head", None)
    net = network_of_run(name, trained=weights == OFFICIAL_WEIGHTS, **options)
    return net.reading(answer, head)
