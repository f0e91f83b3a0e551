"""docs/networks.md from the results of `benchmarks/zoo.py`."""

import re
from collections import Counter
from statistics import median

INTRODUCTION = """\
# Networks that were tried

Remade by `python benchmarks/zoo.py --write docs/networks.md`, where torchvision, timm,
transformers, segmentation-models-pytorch and MONAI are installed. Every network is built as its
library builds it, with random weights under which nothing is zero by accident (seed 0), in eval
mode and float64 where it runs in it, and runs in a process of its own, unedited. Compared with
what shares no code with convscope:

- *output* and *maps*: with the module's own, and with what hooks hear of every module that runs
  once and gives maps
- *units*: projections of three units of each of two images together: by the gradient in up to three
  layers, at the default memory and at 300 KB, by deconvnet and guided backprop in up to two. Each
  with autograd for this unit alone, whose rectifiers follow the rule by hooks on its nodes, and
  whose batch norms are derived by their definition (torch 2.9 to 2.15 derive those wrongly in eval
  mode where the signal does not lie in memory as the maps do); a unit at a kink or a tie, where
  what is expected itself jumps when the image is moved by 1e-11, is left out and counted
- *fields*: no pixel outside a unit's window has a derivative
- *occlusion*: nine patches, of the answer and of a map, with each pasted in turn
- *peaks*: the two strongest of every channel in a scan of three images, with those of a hook, to
  the float32 that a scan keeps

*Worst* is the largest difference of all, relative to the largest value of the map, projection or
answer; more than 1e-8 is wrong (2e-3 for networks that compute in
float32 themselves, or in parts).
"""
PLACE = re.compile(r"/\S*/(?:site-packages|benchmarks)/")
VERDICTS = ("right", "refused", "wrong", "crash")
RULES = ("gradient", "deconvnet", "guided")


def page(known: dict[str, dict], listed: list[str]) -> str:
    """Return the page for the results of *known*, of the networks that are *listed*."""
    lines = list(known.values())
    versions = ", ".join(sorted({line["torch"] for line in lines}))
    commits = Counter(line["commit"] for line in lines).most_common()
    made = ", ".join(f"{commit} ({count})" for commit, count in commits)
    missing = ", ".join(name for name in listed if name not in known)
    parts = [
        INTRODUCTION,
        f"{len(lines)} of the {len(listed)} networks in `benchmarks/zoo_networks.py`, with torch "
        f"{versions}, at the commits {made}."
        + (f" Not run to the end, for want of time or memory: {missing}." if missing else "")
        + "\n",
        _libraries(lines),
    ]
    for verdict, title in (
        ("wrong", "Wrong"), ("crash", "Crashes"), ("refused", "Refused, and the sentence"),
    ):  # fmt: skip
        # Where the libraries lie on this machine is nobody's business.
        said = {line["name"]: PLACE.sub("", line["why"]) for line in lines}
        rows = [[line["name"], said[line["name"]]] for line in lines if line["verdict"] == verdict]
        parts.append(f"## {title}: {len(rows)}\n\n{_table(['network', 'what'], rows) or 'None.'}\n")
    parts += [_partly(lines), _names(lines)]
    return "\n".join(parts)


def _libraries(lines: list[dict]) -> str:
    head = [
        "library", "networks", *VERDICTS, "trace, CPU s (median, most)", "maps", "units", "kinks",
        "worst",
    ]  # fmt: skip
    rows = []
    for library in [*dict.fromkeys(line["library"] for line in lines), "all"]:
        own = [line for line in lines if library in (line["library"], "all")]
        verdicts = Counter(line["verdict"] for line in own)
        traced = [line["trace"] for line in own if "trace" in line]
        times = f"{median(traced):.1f}, {max(traced):.1f}" if traced else ""
        checks = [line.get("checks", {}) for line in own]
        units = [c[rule] for c in checks for rule in RULES if rule in c]
        right = [line for line in own if line["verdict"] == "right" and line["dtype"] == "float64"]
        found = [c.get("worst", 0) for r in right for n, c in r["checks"].items() if n != "scan"]
        rows.append([
            library, len(own), *(verdicts[v] for v in VERDICTS), times,
            sum(c["maps"]["compared"] for c in checks if "maps" in c),
            sum(u.get("compared", 0) for u in units), sum(u.get("kinks", 0) for u in units),
            f"{max(found, default=0):.0e}",
        ])  # fmt: skip
    return _table(head, rows) + "\n"


def _partly(lines: list[dict]) -> str:
    """Say what was not compared of networks that were traced, and why."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        for check, found in line.get("checks", {}).items():
            if "refused" in found:
                reason = found["refused"].replace(line["name"].split("/")[-1], "...")
                reasons.setdefault((check, reason), []).append(line["name"])
            if "uncompared" in found:
                why = "not as many rectifiers in the graph as autograd sees"
                if "rectifiers" not in found["uncompared"]:
                    why = "what it is compared with takes too much memory, or autograd refuses it"
                reasons.setdefault((check, why), []).append(line["name"])
        if line["verdict"] == "right":
            if line["dtype"] == "float32":
                why = "to 2e-3 only: its own code computes in float32, or in parts"
                reasons.setdefault(("all", why), []).append(line["name"])
            if "gradient" not in line["checks"]:
                why = "no module gives a map with units of its own"
                reasons.setdefault(("units", why), []).append(line["name"])
    rows = [[check, why, len(names), _some(names)] for (check, why), names in reasons.items()]
    head = ["comparison", "why not", "networks", "which"]
    return f"## Compared in part\n\n{_table(head, rows) or 'None.'}\n"


def _some(names: list[str], most: int = 6) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def _names(lines: list[dict]) -> str:
    parts = ["## All of them\n"]
    for library in dict.fromkeys(line["library"] for line in lines):
        own = [
            f"{line['name'].split('/', 1)[1]} ({line['input'][1]})"
            for line in lines
            if line["library"] == library
        ]
        parts.append(f"**{library}** (height of the input): {', '.join(own)}.\n")
    return "\n".join(parts)


def _table(head: list[str], rows: list[list]) -> str:
    if not rows:
        return ""
    texts = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    lines = [head, ["---"] * len(head), *texts]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
