"""What pictures under every rule depend on, on the bundled networks: what `convscope rules` tells.

    python benchmarks/sanity_rules.py [DATA] [--images 8] [--seeds 3] [--others 2]
        [--networks NAME ...] [--rules NAME ...]

writes src/convscope/network/sanity.json, and its table into docs/rules.md: of each network and rule
the share of the picture that is kept with the upper half of its layers random, with all random, for
other classes, and with other switches: 0 as noise, 1 the same picture. They are means over images
and draws of weights. DATA is a folder with cifar10/cifar-10-batches-bin, for base, and
imagenet-sample/images; without it, photographs that ship are taken.
"""

import argparse
import io
import json
from pathlib import Path

from PIL import Image

import convscope as cs
from convscope.errors import Interrupted
from convscope.network.rules import RULES, TESTS
from convscope.samples import SAMPLES
from convscope.study.data import load_cifar10
from timing import put

KEPT = Path(cs.__file__).parent / "network" / "sanity.json"
SHOWN = {"base": ("cat", "horse"), "squeezenet1_1": ("cat",)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--others", type=int, default=2)
    parser.add_argument("--networks", nargs="*", default=list(SHOWN))
    parser.add_argument("--rules", nargs="*", default=list(RULES))
    options = parser.parse_args()
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    for name in options.networks:
        net, rows = cs.load(name), []
        for image in images_for(name, options.data)[: options.images]:
            found = [tested(net, image, options, seed) for seed in range(options.seeds)]
            rows += [{rule: shares(one, rule) for rule in options.rules} for one in found]
            own = {rule: means([row[rule] for row in rows]) for rule in options.rules}
            kept[name] = {rule: {**kept.get(name, {}), **own}[rule] for rule in RULES}
            KEPT.write_text(as_json(kept))
            print(f"{name}: {len(rows) // options.seeds} images", flush=True)
        print(name, *(f"{rule:26} {own}" for rule, own in kept[name].items()), sep="\n", flush=True)
    put("rules.md", "kept", as_table(kept))


def images_for(name: str, data: Path | None) -> list[Image.Image]:
    """Return images for a network, spread over the classes where there is a data set."""
    if data is None:
        shown = [one for one in SAMPLES if any(word in one.title for word in SHOWN[name])]
        return [Image.open(io.BytesIO(one.content())).convert("RGB") for one in shown]
    if name == "base":
        given = load_cifar10(data / "cifar10", "test")
        firsts = [given.labels.tolist().index(label) for label in range(10)]
        return [Image.fromarray(own) for own in given.images[firsts].permute(0, 2, 3, 1).numpy()]
    files = sorted((data / "imagenet-sample" / "images").iterdir())
    return [Image.open(file).convert("RGB") for file in files[:: len(files) // 10]]


def tested(
    net: cs.Network, image: Image.Image, options: argparse.Namespace, seed: int
) -> cs.Sanity:
    """Return the checks of one picture, no more layers random than are asked for."""
    rules, others = options.rules, options.others

    def enough(done: int, total: int) -> None:
        # The original, other units, signals, switches; then all layers random, one, half, and more.
        # What is stopped in is lost.
        if done == len(rules) * (1 + 2 * others + 1 + 4):
            raise KeyboardInterrupt

    try:
        return cs.sanity(
            net, image, rules=rules, seeds=1, seed=seed, others=others, progress=enough
        )
    except Interrupted as stopped:
        return stopped.result


def shares(found: cs.Sanity, rule: str) -> list[float]:
    last = len(found.layers) - 1
    tests = (("randomised", last // 2), ("randomised", last), ("units", None), ("switches", None))
    return [found.kept(rule, *test).share for test in tests]


def means(rows: list[list[float]]) -> list[float]:
    return [round(sum(column) / len(column), 2) for column in zip(*rows, strict=True)]


def as_table(kept: dict[str, dict[str, list[float]]]) -> str:
    """Return a line a rule: what it keeps in each test, of each network."""
    lines = [
        f"| of {', '.join(kept)} | {' | '.join(TESTS)} |",
        f"| ---{' | ---' * len(TESTS)} |",
    ]
    for rule in RULES:
        shares = zip(*(kept[name][rule] for name in kept), strict=True)
        cells = (", ".join(f"{share:.0%}" for share in own) for own in shares)
        lines.append(f"| `{rule}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def as_json(kept: dict[str, dict[str, list[float]]]) -> str:
    """Return the shares, a rule a line."""
    networks = []
    for name, rules in kept.items():
        lines = ",\n".join(f"    {json.dumps(rule)}: {own}" for rule, own in rules.items())
        networks.append(f"  {json.dumps(name)}: {{\n{lines}\n  }}")
    return "{\n" + ",\n".join(networks) + "\n}\n"


if __name__ == "__main__":
    main()
