"""Compare what convscope says of the usual zoos' networks with autograd, hooks and brute force.

    python benchmarks/zoo.py [--results build/zoo.jsonl] [--only TEXT...] [--again] [--jobs 1]
        [--seconds 600] [--memory 6] [--write docs/networks.md]

Each network runs in a process of its own, at most --seconds of processor time and --memory GB, with
random weights under which nothing is zero by accident, in float64 where it runs in it. Of each:
its output and every map that a module stands for; the projections of several units of two images
together, by three rules, with much memory and with little; occlusion; the scan's peaks; the
receptive fields. One line a network goes to the results, and networks in it are not run again
unless --again says so; --only takes networks whose name holds a TEXT, in the order of the texts.
--write makes the page.
Needs torchvision, timm, transformers, segmentation-models-pytorch and monai beside convscope.
"""

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import nn

import convscope as cs
from zoo_checks import Examination, place_of
from zoo_networks import NETWORKS, Entry
from zoo_page import VERDICTS, page


def main() -> None:
    options = arguments()
    options.results.parent.mkdir(parents=True, exist_ok=True)
    known = read(options.results)
    chosen = list(dict.fromkeys(n for t in options.only for n in NETWORKS if t in n))
    left = [name for name in chosen if options.again or name not in known]
    if left:
        cs.Network(nn.Conv2d(3, 2, 1), torch.zeros(1, 3, 4, 4))  # what a first trace sets up
    running: dict[str, tuple[multiprocessing.Process, float, Path]] = {}
    context = multiprocessing.get_context("fork")
    while left or running:
        while left and len(running) < options.jobs:
            name = left.pop(0)
            scratch = options.results.with_suffix(f".{len(left)}.part")
            process = context.Process(target=work, args=(name, scratch, options))
            process.start()
            running[name] = (process, time.monotonic(), scratch)
        for name, (process, began, scratch) in list(running.items()):
            process.join(0.1)
            if process.is_alive() and time.monotonic() - began < 6 * options.seconds:
                continue
            process.kill()
            process.join()
            del running[name]
            line = result(name, process.exitcode, scratch)
            known[name] = line
            with options.results.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(f"{line['verdict']:8} {line['seconds']:6.1f} s  {name}  {line.get('why', '')}",
                  flush=True)  # fmt: skip
    known = {name: known[name] for name in NETWORKS if name in known}
    print({verdict: sum(v["verdict"] == verdict for v in known.values()) for verdict in VERDICTS})
    if options.write:
        options.write.write_text(page(known, list(NETWORKS)))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path("build/zoo.jsonl"))
    parser.add_argument("--only", nargs="+", default=[""])
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--memory", type=float, default=6)
    parser.add_argument("--write", type=Path)
    return parser.parse_args()


def read(path: Path) -> dict[str, dict]:
    """Return the last line of every network."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {line["name"]: line for line in map(json.loads, lines)}


def work(name: str, scratch: Path, options: argparse.Namespace) -> None:
    """Examine one network within its limits and write what is found."""
    resource.setrlimit(resource.RLIMIT_CPU, (options.seconds, options.seconds + 5))
    room = int(options.memory * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (room, room))
    entry = NETWORKS[name]
    line = {"name": name, "library": entry.library, "input": list(entry.shape)}
    line |= {"commit": commit(), "torch": torch.__version__}
    line |= examined(entry)
    line["seconds"] = round(time.process_time(), 1)
    scratch.write_text(json.dumps(line))


def examined(entry: Entry) -> dict:
    """Return the verdict on a network, and what it rests on."""
    torch.manual_seed(0)
    examination = None
    try:
        examination = Examination(entry.make(), entry.shape)
        examination.run()
    except cs.ConvscopeError as refusal:
        return {**_found(examination), "verdict": "refused", "why": str(refusal)}
    except Exception as error:
        build = "" if examination else "could not be built: "
        return {**_found(examination), "verdict": "crash", "why": build + place_of(error)}
    checks = examination.checks.items()
    crashes = [f"{name}: {check['crash']}" for name, check in checks if "crash" in check]
    wrong = [
        f"{name} by {check['worst']:.2g} in {check['wrong']} of {check['compared']} "
        f"({check['where']})"
        for name, check in checks
        if check.get("wrong")
    ]
    verdict = "crash" if crashes else "wrong" if wrong else "right"
    return {**_found(examination), "verdict": verdict, "why": "; ".join(wrong + crashes)}


def _found(examination: Examination | None) -> dict:
    return {} if examination is None else examination.found


def result(name: str, code: int, scratch: Path) -> dict:
    """Return what a process wrote, or how it ended."""
    if code == 0 and scratch.exists():
        line = json.loads(scratch.read_text())
        scratch.unlink()
        return line
    entry = NETWORKS[name]
    line = {"name": name, "library": entry.library, "input": list(entry.shape), "verdict": "crash"}
    line |= {"commit": commit(), "torch": torch.__version__, "seconds": 0.0}
    return {**line, "why": f"the process ended with {code} (time or memory, or a fault of torch)"}


def commit() -> str:
    command = ["git", "-C", str(Path(cs.__file__).parent), "rev-parse", "--short=10", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
