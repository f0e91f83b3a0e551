"""Estimated occlusion maps against exact ones: budget against time and structural similarity.

    python benchmarks/adaptive.py DATA [--images 10] [--patch 16] [--stride 4] [--rounds 3]

DATA holds imagenet-sample/ and squeezenet1_1/. For each of some pictures the exact map is computed
once, and then adaptive ones with several budgets; the similarity (SSIM, scikit-image, its defaults)
is between the two heat maps at image size, over the exact map's range. With --rounds, the speed on
VGG16 with random weights follows: captum's positions are timed on a sample, see occlude.py.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from skimage.metrics import structural_similarity
from torch import Tensor

import convscope as cs
from occlude import peer_seconds

SHARES = (1 / 6, 1 / 4, 0.3, 1 / 3, 0.4, 1 / 2)
KINDS = ("probability", "logit")
AT_ONCE = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=10)
    parser.add_argument("--patch", type=int, default=16)
    parser.add_argument("--stride", type=int, default=4)
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--rounds", type=int, default=0, help="of the speed on VGG16")
    parser.add_argument("--sample", type=int, default=16, help="positions timed of captum")
    options = parser.parse_args()
    if options.images:
        print_similarity(
            options.data, options.images, options.patch, options.stride, options.precision
        )
    if options.rounds:
        print_speed(options.stride, options.rounds, options.sample, options.precision)


def print_similarity(data: Path, images: int, patch: int, stride: int, precision: str) -> None:
    """Print a table of budgets for the real SqueezeNet."""
    net = cs.load(
        "squeezenet1_1", weights=data / "squeezenet1_1" / "squeezenet1_1-imagenet.safetensors"
    )
    files = sorted((data / "imagenet-sample" / "images").iterdir())
    found: dict[tuple[float, str], list[float]] = {}
    costs: dict[float, list[float]] = {}
    for path in files[:: len(files) // images][:images]:
        image = net.preprocess(path)
        exact, whole = timed(net, image, patch, stride)
        for share in SHARES:
            positions = round(share * exact.computed.numel())
            quick, seconds = timed(
                net,
                image,
                patch,
                stride,
                method="adaptive",
                positions=positions,
                precision=precision,
            )
            costs.setdefault(share, []).append(seconds / whole)
            for kind in KINDS:
                found.setdefault((share, kind), []).append(similarity(quick, exact, kind))
        print(path.name, f"{exact.clean['probability']:.2f}",
              *(f"{found[share, 'probability'][-1]:.3f}" for share in SHARES),
              flush=True)  # fmt: skip
    print(f"\npatch {patch}, stride {stride}, {exact.computed.numel()} positions")
    print("| computed | of the exact map's time | SSIM probability (least) | SSIM logit (least) |")
    for share in SHARES:
        columns = [
            f"{statistics.mean(found[share, kind]):.3f} ({min(found[share, kind]):.3f})"
            for kind in KINDS
        ]
        print(
            f"| {share:.0%} | {statistics.median(costs[share]):.0%} | {columns[0]} | {columns[1]} |"
        )


def timed(net: cs.Network, image: Tensor, *args: Any, **options: Any) -> tuple[cs.Occlusion, float]:
    """Return an occlusion and the seconds it took."""
    began = time.perf_counter()
    found = cs.occlude(net, image, *args, **options)
    return found, time.perf_counter() - began


def print_speed(stride: int, rounds: int, sample: int, precision: str) -> None:
    """Print how many times faster than captum a whole adaptive map of VGG16 is."""
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    net = cs.load("vgg16", weights="random")
    ratios = []
    for _ in range(rounds):
        peer = peer_seconds(net.module, image, stride, sample, AT_ONCE)
        found, own = timed(
            net, image, 16, stride, 0.0, target=0, method="adaptive", precision=precision
        )
        count = found.computed.numel()
        ratios.append(peer * count / own)
        print(f"VGG16: captum {peer:.4f} s a position (timed on {sample}, {AT_ONCE} a pass), ours "
              f"{own:.1f} s for {count} positions, {own / count:.5f} each: "
              f"{ratios[-1]:.1f} times faster", flush=True)  # fmt: skip
    print(f"median {statistics.median(ratios):.1f} ({min(ratios):.1f}-{max(ratios):.1f})")


def similarity(found: cs.Occlusion, exact: cs.Occlusion, kind: str) -> float:
    """Return the SSIM of two heat maps."""
    mine, other = (o.heatmap(kind).double().numpy() for o in (found, exact))
    return float(structural_similarity(other, mine, data_range=other.max() - other.min()))


if __name__ == "__main__":
    main()
