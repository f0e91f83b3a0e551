"""How the weights that ship with convscope are made of a training, with all that tells of it.

    python benchmarks/bundle.py RUN FOLDER NAME

writes NAME.safetensors, the final weights in half precision, and NAME.json, the run's own JSON with
what else is needed to use the network; `convscope.models.bundled` reads both. Rounding to float16
moves a weight by at most one part in 2,048. Batch norm's running variance may be too small or large
for it, so what has one axis stays in float32; it is few numbers.
"""

import argparse
import json
from pathlib import Path

import torch

from convscope.packing import save_tensors
from convscope.study.data import CLASSES, SIDE
from convscope.study.run import FILE, Run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("name")
    arguments = parser.parse_args()
    bundle(Run.load(arguments.run), arguments.folder, arguments.name)


def bundle(run: Run, folder: Path, name: str) -> None:
    """Write a finished run's weights, and what tells of them."""
    if not run.finished:
        raise SystemExit(f"{run.folder} is not finished: its last weights are not the final ones")
    facts = json.loads((run.folder / FILE).read_text())
    folder.mkdir(parents=True, exist_ok=True)
    told = json.dumps({**facts, "classes": CLASSES, "side": SIDE}, indent=2)
    (folder / f"{name}.json").write_text(told + "\n")
    small = {
        key: value.to(torch.float16) if value.ndim > 1 else value
        for key, value in run.weights().items()
    }
    save_tensors(folder / f"{name}.safetensors", small, {"name": name})


if __name__ == "__main__":
    main()
