"""Estimated occlusion maps against exact ones: budget against structural similarity.

    python benchmarks/adaptive.py DATA [--images 10] [--patch 16] [--stride 4]

DATA holds imagenet-sample/ and squeezenet1_1/. For each of some pictures the exact map is computed
once, and then adaptive ones with several budgets; the similarity (SSIM, scikit-image, its defaults)
is between the two heat maps at image size, over the exact map's range.
"""

import argparse
import statistics
import time
from pathlib import Path

from skimage.metrics import structural_similarity

import convscope as cs

SHARES = (0.08, 0.12, 0.16, 0.2, 0.25, 0.35)
KINDS = ("probability", "logit")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=10)
    parser.add_argument("--patch", type=int, default=16)
    parser.add_argument("--stride", type=int, default=4)
    options = parser.parse_args()
    weights = options.data / "squeezenet1_1" / "squeezenet1_1-imagenet.safetensors"
    net = cs.load("squeezenet1_1", weights=weights)
    files = sorted((options.data / "imagenet-sample" / "images").iterdir())
    chosen = files[:: len(files) // options.images][: options.images]
    found: dict[tuple[float, str], list[float]] = {}
    counts: dict[float, int] = {}
    speed: dict[float, list[float]] = {}
    for path in chosen:
        image = net.preprocess(path)
        began = time.perf_counter()
        exact = cs.occlude(net, image, options.patch, options.stride)
        whole = time.perf_counter() - began
        for share in SHARES:
            budget = round(share * exact.computed.numel())
            began = time.perf_counter()
            quick = cs.occlude(
                net, image, options.patch, options.stride, method="adaptive", budget=budget
            )
            speed.setdefault(share, []).append(whole / (time.perf_counter() - began))
            counts[share] = int(quick.computed.sum())
            for kind in KINDS:
                found.setdefault((share, kind), []).append(similarity(quick, exact, kind))
        print(path.name, *(f"{found[share, 'probability'][-1]:.3f}" for share in SHARES),
              flush=True)  # fmt: skip
    print(f"\n{len(chosen)} images, patch {options.patch}, stride {options.stride}, "
          f"{exact.computed.numel()} positions")  # fmt: skip
    print(
        "| computed | share | faster than exact | SSIM probability (least) | SSIM logit (least) |"
    )
    for share in SHARES:
        columns = [
            f"{statistics.mean(found[share, kind]):.3f} ({min(found[share, kind]):.3f})"
            for kind in KINDS
        ]
        faster = statistics.median(speed[share])
        print(f"| {counts[share]} | {share:.0%} | {faster:.1f} | {columns[0]} | {columns[1]} |")


def similarity(found: cs.Occlusion, exact: cs.Occlusion, kind: str) -> float:
    """Return the SSIM of two heat maps."""
    mine, other = (o.heatmap(kind).double().numpy() for o in (found, exact))
    return float(structural_similarity(other, mine, data_range=other.max() - other.min()))


if __name__ == "__main__":
    main()
