"""How the study that ships with convscope is made of one in a folder.

    convscope data cifar10 -o data
    convscope study --data data -o study --seeds 1
    python benchmarks/bundle_study.py data study src/convscope/models/bundled

writes study.json, every number of the study, and study.safetensors, the four networks and the
projections of their filters in half precision; `convscope.study.record` reads both.
"""

import argparse
from pathlib import Path

import convscope as cs
from convscope.study.record import StudyRecord
from convscope.study.run import Run
from convscope.study.run_study import RUNS
from convscope.study.variants import VARIANTS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("study", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    # The first variant's training is by what all four share.
    config = Run.load(arguments.study / RUNS / f"{VARIANTS[0].folder}-seed-0").config
    found = cs.run_study(arguments.data, arguments.study, seeds=1, config=config)
    StudyRecord.of(found).save(arguments.folder)


if __name__ == "__main__":
    main()
