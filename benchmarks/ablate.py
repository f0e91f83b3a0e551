"""Ablation of all channels of a layer, beside the same loop with hooks in plain torch.

    python benchmarks/ablate.py --images 8 --turns 3

Both take the same images, and are timed in turns; the hooks' loop runs the whole network on all
images for each channel.
"""

import argparse
import statistics

import torch

import convscope as cs
from timing import clock

CASES = (
    ("base", "features.relu2"), ("base", "features.relu5"), ("squeezenet1_1", "features.7"),
    ("squeezenet1_1", "features.12"),
)  # fmt: skip


def by_hooks(net: cs.Network, layer: str, images: torch.Tensor) -> torch.Tensor:
    """Return by how much each image's best score falls with each channel off, on average."""
    module, falls = net.module, []
    with torch.no_grad():
        scores, own = module(images).max(1)
        for channel in range(net.layers[layer].shape[0]):

            def off(_: object, __: object, maps: torch.Tensor, channel: int = channel) -> None:
                maps[:, channel] = 0

            handle = module.get_submodule(layer).register_forward_hook(off)
            falls.append((scores - module(images).gather(1, own[:, None])[:, 0]).mean())
            handle.remove()
    return torch.stack(falls)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--turns", type=int, default=3)
    given = parser.parse_args()
    print(
        "| network | layer | hooks s | convscope s | times as fast, median | largest difference |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for name, layer in CASES:
        net = cs.load(name)
        images = torch.rand(given.images, *net.input_shape, generator=torch.manual_seed(0))
        found = cs.ablate(net, images, layer)
        apart = float((found.cost - by_hooks(net, layer, images)).abs().max())
        pairs = [
            (
                clock(lambda n=net, at=layer, i=images: by_hooks(n, at, i)),
                clock(lambda n=net, at=layer, i=images: cs.ablate(n, i, at)),
            )
            for _ in range(given.turns)
        ]
        hooks, ours = (statistics.median(times) for times in zip(*pairs, strict=True))
        ratio = statistics.median(one / other for one, other in pairs)
        print(f"| {name} | {layer} | {hooks:.2f} | {ours:.2f} | {ratio:.1f} | {apart:.1e} |")


if __name__ == "__main__":
    main()
