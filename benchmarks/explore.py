"""How fast the live page answers, over HTTP on this machine, beside a plain pass of the network.

    python benchmarks/explore.py [--turns 40]

Each line is a kind of question: the median and the 95th percentile of the time from question to
answer, in milliseconds, and the median as a share of a plain forward pass of the same network,
which is timed in the same run, in turns with the questions.
"""

import argparse
import random
import re
import statistics
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import httpx
import torch
from torch import nn

import convscope as cs
from convscope.samples import SAMPLES
from timing import clock

NETWORKS = {
    "vgg16_features": ("features.29", "features.22", "features.15"),
    "squeezenet1_1": ("features.12", "features.7"),
    "base": ("features.relu5", "features.relu3"),
}
PATCH = {"vgg16_features": 32, "squeezenet1_1": 32, "base": 5}


def measured(name: str, turns: int) -> None:
    """Print the lines of one network."""
    net = cs.load(name)
    assert isinstance(net.module, nn.Module)
    module, image = net.module.eval(), torch.zeros(1, *net.input_shape)

    def plain() -> None:
        with torch.inference_mode():
            module(image)

    command = [sys.executable, "-m", "convscope", "explore", name, "--port", "0", "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = re.match(r"\S+", process.stdout.readline())
        assert address
        with httpx.Client(base_url=address[0].partition("?")[0], timeout=300) as client:
            client.get(address[0])
            for words, ask in questions(client, net, name):
                ask()
                times, passes = [], []
                for _ in range(turns):
                    passes.append(clock(plain))
                    times.append(clock(ask))
                report(name, words, times, passes)
        process.terminate()


def questions(
    client: httpx.Client, net: cs.Network, name: str
) -> list[tuple[str, Callable[[], object]]]:
    """Return what is asked, in words, and the asking."""
    draw, (height, width), size = random.Random(0), net.input_shape[1:], PATCH[name]
    layers = NETWORKS[name]

    def get(path: str, **given: Any) -> httpx.Response:
        answer = client.get(path, params={"image": 0, **given})
        answer.raise_for_status()
        return answer

    def patch(**watched: Any) -> None:
        place = f"{draw.randrange(height - size)},{draw.randrange(width - size)}"
        get("reading", places=place, patch=size, **watched)

    def unit(layer: str) -> None:
        shape = net.layers[layer].shape
        row, column = draw.randrange(shape[1]), draw.randrange(shape[2])
        get("unit", layer=layer, channel=draw.randrange(shape[0]), row=row, column=column)

    def new_image() -> None:
        sent = client.post("picture", content=SAMPLES[0].content())
        number = sent.json()["image"]
        client.get("maps", params={"image": number, "layer": layers[-1]}).raise_for_status()

    watched = {"layer": layers[0], "channel": 1} if net.answer is None else {}
    asked: list[tuple[str, Callable[[], object]]] = [
        (f"patch of {size}", lambda: patch(**watched)),
        *((f"unit of {layer}", lambda layer=layer: unit(layer)) for layer in layers),
        (f"new image, maps of {layers[-1]}", new_image),
    ]
    return asked


def report(name: str, words: str, times: list[float], passes: list[float]) -> None:
    """Print one line."""
    p95 = sorted(times)[int(0.95 * len(times))]
    shares = [own / whole for own, whole in zip(times, passes, strict=True)]
    low, *_, high = statistics.quantiles(shares, n=4)
    print(
        f"| {name} | {words} | {1000 * statistics.median(times):.0f} | {1000 * p95:.0f} | "
        f"{statistics.median(shares):.2f} ({low:.2f} to {high:.2f}) |",
        flush=True,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--network", choices=NETWORKS, action="append")
    options = parser.parse_args()
    print("| network | question | median ms | 95th ms | of a pass, median (quartiles) |")
    print("| --- | --- | --- | --- | --- |")
    for name in options.network or NETWORKS:
        measured(name, options.turns)


if __name__ == "__main__":
    main()
