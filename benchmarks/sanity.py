"""What projections of the real SqueezeNet depend on: the sanity checks over several pictures.

    python benchmarks/sanity.py DATA [--images 8] [--seeds 2] [--init centred] [--layer NAME]

DATA holds imagenet-sample/ and squeezenet1_1/. Each picture's most probable class is projected; the
other image, whose switches are taken, is the next picture. Numbers are means over the pictures with
the sample standard deviation over them, of each picture's mean over its seeds.
"""

import argparse
from collections import Counter
from pathlib import Path

import torch

import convscope as cs
from convscope.methods.sanity_result import MEASURES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--init", default="centred")
    parser.add_argument("--layer", help="the strongest unit of this layer instead of a class")
    options = parser.parse_args()
    weights = options.data / "squeezenet1_1" / "squeezenet1_1-imagenet.safetensors"
    net = cs.load("squeezenet1_1", weights=weights)
    files = sorted((options.data / "imagenet-sample" / "images").iterdir())
    chosen = files[:: len(files) // options.images][: options.images]
    images = [net.preprocess(path) for path in chosen]
    found = []
    for place, (path, image) in enumerate(zip(chosen, images, strict=True)):
        other = images[(place + 1) % len(images)]
        record = cs.sanity(
            net, image, seeds=options.seeds, init=options.init, other=other, layer=options.layer
        )
        found.append(record)
        print(path.name, record.unit, *record.verdicts().values(), sep="\n  ", flush=True)
    print_verdicts(found)
    print_cascade(found)
    print_others(found)


def print_verdicts(found: list[cs.Sanity]) -> None:
    """Print what each rule's picture keeps in each test, what noise reaches, and what is said."""
    last = len(found[0].layers) - 1
    tests = {
        f"{last // 2 + 1} layers random": ("randomised", last // 2),
        f"all {last + 1} random": ("randomised", last),
        "another class": ("units", None),
        "a random signal": ("signals", None),
        "other switches": ("switches", None),
        "the image's edges": ("edges", None),
    }
    print("\n| changed | rule | alike | noise | signed | noise | kept | said |")
    for name, test in tests.items():
        for rule in found[0].rules:
            kept = [record.kept(rule, *test) for record in found]
            numbers = [
                spread(torch.tensor([getattr(own, what)[side] for own in kept]))
                for side in (0, 1)
                for what in ("similarity", "noise")
            ]
            said = Counter(own.word or "may or may not depend" for own in kept)
            share = spread(torch.tensor([own.share for own in kept]))
            words = ", ".join(f"{word} {count}" for word, count in said.most_common())
            print(f"| {name} | {rule} | {' | '.join(numbers)} | {share} | {words} |")


def print_cascade(found: list[cs.Sanity]) -> None:
    layers, count = found[0].layers, len(found[0].layers)
    stages = sorted({0, count // 4, count // 2, 3 * count // 4, count - 1})
    print("\n| measure | rule | mean of all stages |", " | ".join(layers[t] for t in stages), "|")
    curves = torch.stack([record.randomised.nanmean(2) for record in found])  # [images, R, M, T]
    for m, measure in enumerate(MEASURES):
        for r, rule in enumerate(found[0].rules):
            values = curves[:, r, m]
            cells = [spread(values.nanmean(1)), *(spread(values[:, t]) for t in stages)]
            print(f"| {measure} | {rule} | {' | '.join(cells)} |")
    print("\nimages in which the gradient is the least like itself, by stage:")
    gradient = found[0].rules.index("gradient")
    for m, measure in enumerate(MEASURES):
        rest = [r for r in range(len(found[0].rules)) if r != gradient]
        least = curves[:, gradient, m] < curves[:, rest, m].nan_to_num(9).amin(1)
        print(f"  {measure}: {[int(n) for n in least.sum(0)]} of {len(found)}")
    silent = torch.stack([record.silent for record in found]).double().mean((0, 2, 3))
    names = zip(found[0].rules, silent.tolist(), strict=True)
    print("nothing arrives:", ", ".join(f"{rule} {share:.0%}" for rule, share in names))


def print_others(found: list[cs.Sanity]) -> None:
    print("\n| rule | measure | other classes | random signals | other switches |")
    for r, rule in enumerate(found[0].rules):
        for m, measure in enumerate(MEASURES):
            cells = [
                spread(torch.stack([getattr(record, name)[r, m].nanmean() for record in found]))
                for name in ("units", "signals", "switches")
            ]
            print(f"| {rule} | {measure} | {' | '.join(cells)} |")
    print("\n| rule | edges, rank | edges, SSIM | with random weights, rank | SSIM |")
    for r, rule in enumerate(found[0].rules):
        own = torch.stack([record.edges[r, [0, 2]] for record in found])
        random = torch.stack([record.edges_randomised[r, [0, 2]].nanmean(1) for record in found])
        cells = [spread(column) for part in (own, random) for column in part.T]
        print(f"| {rule} | {' | '.join(cells)} |")


def spread(values: torch.Tensor) -> str:
    """Return the mean and the sample standard deviation of what is not NaN."""
    known = values[~values.isnan()]
    if not len(known):
        return "none"
    return f"{known.mean():.2f} ± {known.std():.2f}" if len(known) > 1 else f"{known[0]:.2f}"


if __name__ == "__main__":
    main()
