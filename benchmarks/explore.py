"""How fast the live page answers, over HTTP on this machine, beside a plain pass of the network.

    python benchmarks/explore.py [--turns 40]

Each line is a kind of question: the median and the 95th percentile of the time from question to
answer, in milliseconds, and the median as a share of a plain forward pass of the same network,
which is timed in the same run, in turns with the questions. The last column is what the question's
windows need of the pass's multiply-adds, on average over the places that are asked for: the share
that arithmetic alone would take, at the rate of the pass.
"""

import argparse
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import torch
from torch import nn

import convscope as cs
from convscope.network.windows.cones import Cones
from convscope.network.windows.windowed import WindowedWalk
from convscope.samples import SAMPLES
from timing import clock

NETWORKS = {
    "vgg16_features": ("features.29", "features.22", "features.15"),
    "squeezenet1_1": ("features.12", "features.7"),
    "base": ("features.relu5", "features.relu3"),
}
PATCH = {"vgg16_features": 32, "squeezenet1_1": 32, "base": 5}
BEFORE = 40
"""Questions of a kind before those that are timed: after so many patches, seconds of dragging, the
filters of large layers are ready for Winograd's convolution."""

REST = 0.05
"""Seconds until a pass's threads sleep: they spin before, and keep the server off its cores."""

COUNTED = 100
"""Places that multiply-adds are averaged over."""


@dataclass(frozen=True)
class Question:
    """A kind of question: in words, how it is asked, and its share of a pass's multiply-adds."""

    words: str
    ask: Callable[[], object]
    counted: float


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
            for question in questions(client, net, name):
                for _ in range(BEFORE):
                    question.ask()
                times, passes = [], []
                for _ in range(turns):
                    passes.append(clock(plain))
                    time.sleep(REST)
                    times.append(clock(question.ask))
                    time.sleep(REST)
                report(name, question, times, passes)
        process.terminate()


def questions(client: httpx.Client, net: cs.Network, name: str) -> list[Question]:
    """Return what is asked."""
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

    def frame(image: list[int] = []) -> None:  # noqa: B006 (the number of the frame before)
        given = {"image": image[0]} if image else {}
        image[:] = [client.post("frame", params=given, content=pixels).json()["image"]]
        client.get("maps", params={"image": image[0], "layer": layers[-1]})
        client.get("reading", params={"image": image[0]})
        client.get("unit", params={"image": image[0], "layer": layers[-1], "channel": 1})

    pixels = draw.randbytes(4 * height * width)
    watched = {"layer": layers[0], "channel": 1} if net.answer is None else {}
    target = net.step(layers[0]) if net.answer is None else net.graph.output
    lowest = of_units(net, layers[-1])
    return [
        Question(f"patch of {size}", lambda: patch(**watched), of_patches(net, size, target)),
        *(
            Question(f"unit of {own}", lambda own=own: unit(own), of_units(net, own))
            for own in layers
        ),
        Question(f"new image, maps of {layers[-1]}", new_image, 1.0),
        Question(f"camera, maps, answer and unit of {layers[-1]}", frame, 1 + lowest),
    ]


def of_patches(net: cs.Network, size: int, target: int) -> float:
    """Return the share of a pass's multiply-adds that a patch's windows need on average."""
    walk = WindowedWalk(net.graph, {}, [target])
    corners = np.random.default_rng(0).integers(
        0, np.array(net.input_shape[1:]) - size, (COUNTED, 2)
    )
    rows, columns = walk.spans(np.concatenate([corners, corners + size], 1))
    shares = []
    for place in range(COUNTED):
        plan = walk.plan(rows[:, [place]], columns[:, [place]])
        areas = {
            index: 1.0 if own.whole else np.prod(own.size) / walk.sizes[index].prod()
            for index, own in enumerate(plan)
        }
        shares.append(share(net, {index: areas[index] for index in walk.needed}))
    return statistics.mean(shares)


def of_units(net: cs.Network, layer: str) -> float:
    """Return the share of a pass's multiply-adds that bringing a unit down needs on average."""
    start = net.step(layer)
    rows, columns = (
        np.random.default_rng(0).integers(0, net.layers[layer].shape[1:], (COUNTED, 2)).T
    )
    shares = []
    for row, column in zip(rows, columns, strict=True):
        cones = Cones(net.graph, net.receptive_fields, start, row[None], column[None])
        areas = {
            index: np.prod(own.size) / cones.size[cones.place[index]].prod()
            for index, own in cones.placements(0, 1).items()
        }
        shares.append(share(net, areas))
    return statistics.mean(shares)


def share(net: cs.Network, areas: Mapping[int, float]) -> float:
    """Return the share of a pass's multiply-adds, given that of each step's map."""
    counts = {
        index: step.operation.multiply_adds(step.call)
        for index, step in enumerate(net.graph.steps)
        if index
    }
    return sum(area * counts.get(index, 0) for index, area in areas.items()) / sum(counts.values())


def report(name: str, question: Question, times: list[float], passes: list[float]) -> None:
    """Print one line."""
    p95 = sorted(times)[int(0.95 * len(times))]
    shares = [own / whole for own, whole in zip(times, passes, strict=True)]
    low, *_, high = statistics.quantiles(shares, n=4)
    print(
        f"| {name} | {question.words} | {1000 * statistics.median(times):.0f} | {1000 * p95:.0f} | "
        f"{statistics.median(shares):.2f} ({low:.2f} to {high:.2f}) | {question.counted:.2f} |",
        flush=True,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--network", choices=NETWORKS, action="append")
    options = parser.parse_args()
    print("| network | question | median ms | 95th ms | of a pass, median (quartiles) | counted |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in options.network or NETWORKS:
        measured(name, options.turns)


if __name__ == "__main__":
    main()
