"""What pictures under every rule depend on, on the bundled networks: what `convscope rules` tells.

    python benchmarks/sanity_rules.py [--others 2] [--networks NAME ...]

writes src/convscope/network/sanity.json, and its table into docs/rules.md: of each network and rule
the share of the picture that is kept with the upper half of its layers random, with all random, for
other classes, and with other switches: 0 as noise, 1 the same picture. They are means over
photographs that ship, of one draw of weights.
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
from timing import put

KEPT = Path(cs.__file__).parent / "network" / "sanity.json"
SHOWN = {"base": ("cat", "horse"), "squeezenet1_1": ("cat",)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--others", type=int, default=2)
    parser.add_argument("--networks", nargs="*", default=list(SHOWN))
    options = parser.parse_args()
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    for name in options.networks:
        net = cs.load(name)
        found = [
            tested(net, sample.content(), options.others)
            for sample in SAMPLES
            if any(word in sample.title for word in SHOWN[name])
        ]
        kept[name] = {rule: means([shares(own, rule) for own in found]) for rule in RULES}
        KEPT.write_text(as_json(kept))
        print(name, *(f"{rule:26} {own}" for rule, own in kept[name].items()), sep="\n", flush=True)
    put("rules.md", "kept", as_table(kept))


def tested(net: cs.Network, picture: bytes, others: int) -> cs.Sanity:
    """Return the checks of one picture, no more layers random than are asked for."""

    def enough(done: int, total: int) -> None:
        # The original, other units, signals, switches; then all layers random, one, half, and more.
        # What is stopped in is lost.
        if done == len(RULES) * (1 + 2 * others + 1 + 4):
            raise KeyboardInterrupt

    try:
        image = Image.open(io.BytesIO(picture)).convert("RGB")
        return cs.sanity(net, image, rules=list(RULES), seeds=1, others=others, progress=enough)
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
