"""What `cs.diagnose` finds of planted faults, and what it cries wolf at.

    python benchmarks/diagnose.py DATA [--networks FOLDER] [--seeds 20] [--images 500]
        [--only NAME...]

DATA is CIFAR-10's folder. The networks are trained at first and kept in FOLDER: two presets of the
study for a few epochs, with and without batch norm, and small networks for images of 64 pixels that
differ in their first layer, one a seed. `base` is the bundled one. The seed picks the network, the
layer, the channels and, for killed units, how. A finding is right if it is of the planted kind in
the planted layer and names exactly the planted channels; everything else found is an alarm too
many.
"""

import argparse
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch

import convscope as cs
from convscope.study.data import ImageSet, load_cifar10
from diagnose_networks import CONFIGS, FIRST_LAYERS, SIDE, large_inputs, trained, trained_at_64

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from planting import FAULTS, Planted, plant


@dataclass
class Score:
    """How often a fault was planted, found with its channels, and what else was said."""

    planted: int = 0
    found: int = 0
    exact: int = 0
    others: int = 0
    consequences: int = 0


class Inputs:
    """Images as a data set of tensors, with their labels."""

    def __init__(self, net: cs.Network, data: ImageSet) -> None:
        small = net.preprocess.to_inputs(data.images / 255) if net.input_shape[1] != SIDE else None
        self.images = large_inputs(data.images.float()) if small is None else small
        self.labels, self.classes = data.labels, data.classes

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, int]:
        return self.images[number], int(self.labels[number])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--networks", type=Path, default=Path("diagnosed"))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--only", nargs="+", help="only these networks, in this order")
    options = parser.parse_args()
    options.networks.mkdir(parents=True, exist_ok=True)
    data = load_cifar10(options.data, "test").part(torch.arange(options.images))
    names = options.only or ["base", *CONFIGS, *FIRST_LAYERS]
    nets = {name: loaded(name, options) for name in names if name not in FIRST_LAYERS}
    print(f"healthy networks, {len(data):,} images of CIFAR-10's test part")
    for name, net in nets.items():
        found = cs.diagnose(net, Inputs(net, data))
        said = "; ".join(f"{f.kind} in {f.layer}" for f in found.findings) or "nothing"
        print(f"  {name}: accuracy {found.accuracy:.3f}; found: {said}", flush=True)
    for fault in FAULTS if nets else ():
        report(fault, nets, data, options.seeds)
    for name in names:
        if name in FIRST_LAYERS:
            report_design(name, data, options)


def loaded(name: str, options: argparse.Namespace) -> cs.Network:
    """Return one of the networks that faults are planted in."""
    return cs.load(name) if name == "base" else trained(name, options.data, options.networks)


def report_design(name: str, data: ImageSet, options: argparse.Namespace) -> None:
    """Print what is found on one first layer, trained with every seed."""
    first, said = FIRST_LAYERS[name], Counter[str]()
    for seed in range(options.seeds):
        net = trained_at_64(name, options.data, options.networks, seed)
        found = cs.diagnose(net, Inputs(net, data), budget=0).findings
        said["; ".join(sorted(f"{f.kind} in {f.layer}" for f in found)) or "nothing"] += 1
    meant = "; ".join(f"{kind} in 0" for kind in first.faults) or "nothing"
    found_text = ", ".join(f"{count} times {what}" for what, count in said.items())
    print(f"first layer {name}, meant: {meant}; found: {found_text}", flush=True)


def report(fault: str, nets: dict[str, cs.Network], data: ImageSet, seeds: int) -> None:
    """Plant one kind of fault with every seed and print what was found."""
    score, how = Score(), Counter[str]()
    for seed in range(seeds):
        name = list(nets)[seed % len(nets)]
        planted = plant(nets[name].module, fault, seed)
        net = cs.Network(
            planted.module, torch.zeros(1, *nets[name].input_shape), name=name,
            preprocess=nets[name].preprocess,
        )  # fmt: skip
        found = cs.diagnose(net, Inputs(net, data))
        how[planted.how] += 1
        line = judged(planted, found, score)
        print(
            f"  {fault}, seed {seed:2}: {name}, {planted.layer}, {planted.how}: {line}", flush=True
        )
    print(f"{fault}: planted {score.planted}, found {score.found}, with exactly the planted "
          f"channels {score.exact}; other findings {score.others}; consequences named "
          f"{score.consequences}", flush=True)  # fmt: skip


def judged(planted: Planted, found: cs.Diagnosis, score: Score) -> str:
    """Count what was found and return it in words."""
    right = [f for f in found.findings if (f.kind, f.layer) == (planted.kind, planted.layer)]
    others = [f for f in found.findings if f not in right]
    score.planted += 1
    score.found += bool(right)
    score.exact += any(f.channels == planted.channels for f in right)
    score.others += len(others)
    score.consequences += sum(len(f.consequences) for f in found.findings)
    extra = "".join(f"; ALSO {f.sentence}" for f in others)
    after = "".join(f"; follows: {' '.join(f.consequences)}" for f in right if f.consequences)
    exact = "exact" if any(f.channels == planted.channels for f in right) else "OTHER CHANNELS"
    return ("found, " + exact if right else "MISSED") + after + extra


if __name__ == "__main__":
    main()
