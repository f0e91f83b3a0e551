"""How the study that ships with convscope is made of one in a folder.

    convscope data cifar10 -o data
    convscope study --data data -o study --seeds 1
    python benchmarks/bundle_study.py data study src/convscope/models/bundled

writes study.json, every number of the study, and study.safetensors, the four networks and the
projections of their filters in half precision; `convscope.study.record` reads both.
"""

import argparse
import json
from pathlib import Path

from torch import Tensor

import convscope as cs
from convscope.outputs import write_text
from convscope.packing import save_tensors
from convscope.study.record import NAME
from convscope.study.run import Run
from convscope.study.run_study import RUNS
from convscope.study.study_result import Study, VariantResult
from convscope.study.variants import VARIANTS


def _tensors(result: VariantResult, study: Study) -> dict[str, Tensor]:
    """Return a variant's tensors as `StudyRecord` names them; pictures are of its first seed."""
    folder = result.variant.folder
    pixels = study.preprocess.difference_to_pixels
    tensors = {
        # Batch norm's variances may be too small or large for half precision; they are few.
        f"{folder}/weights/{name}": value.half() if value.ndim > 1 else value
        for name, value in result.runs[0].weights().items()
    }
    for found in (result.first, result.last):
        projection = found.projection
        tensors[f"{folder}/strongest/{projection.layer}"] = pixels(projection.pixels[:, 0]).half()
    for followed in result.evolution.filters:
        tensors[f"{folder}/evolution/{followed.layer}"] = pixels(followed.pixels).half()
    return tensors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("study", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    # The first variant's training is by what all four share.
    config = Run.load(arguments.study / RUNS / f"{VARIANTS[0].folder}-seed-0").config
    found = cs.run_study(arguments.data, arguments.study, seeds=1, config=config)
    tensors: dict[str, Tensor] = {}
    for result in found.results:
        tensors |= _tensors(result, found)
    write_text(arguments.folder / f"{NAME}.json", json.dumps(found.to_dict(), indent=1) + "\n")
    save_tensors(arguments.folder / f"{NAME}.safetensors", tensors, {"name": NAME})


if __name__ == "__main__":
    main()
