"""One vocabulary: what a command's options are called, its Python call's parameters are too."""

import inspect
import re
from collections.abc import Callable
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

import click
import pytest
import typer

import convscope as cs
from convscope.cli import app
from convscope.cli.networks import NO_OPTIONS, NamedNetwork
from convscope.methods.budget import parse_bytes

ROOT = Path(__file__).parents[1]
COMMANDS: dict[str, click.Command] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
CALLS: dict[str, Callable[..., Any]] = {
    **{name: getattr(cs, name) for name in COMMANDS if name in cs.__all__},
    "occlude": cs.occlude_all,
    "study": cs.run_study,
    "trace-unit": cs.trace_unit,
}
WITHOUT_A_CALL = {
    "data": "fetches CIFAR-10 for `train`, `evolve` and `study`",
    "layers": "prints what `net.layers` holds",
    "plate": "draws channels of an atlas that `scan` wrote",
    "rules": "lists `convscope.methods.attribute.METHODS`",
    "unit": "draws one channel of an atlas that `scan` wrote",
}
NETWORK = {*NamedNetwork.__dataclass_fields__} - {*NO_OPTIONS}
"""What names and loads a network on the command line; in Python, :func:`convscope.load` does."""

RESULT = {"output", "json", "width", "caption"}
"""What becomes of a result; in Python, its methods ``save``, ``to_json`` and ``plot``."""

PYTHON_ONLY = {
    "net": "what the options of a network name",
    "progress": "the command line has a bar",
}
EXCEPTIONS: dict[str, dict[str, str]] = {
    "ablate": {
        "labels": "the class folders of the images, or CIFAR-10's own",
    },
    "attribute": {
        "titles": "the file's name stands on pictures",
    },
    "checkerboard": {
        "titles": "the file's name stands on pictures",
    },
    "compare": {
        "default of budget": "a command should end before its reader leaves",
    },
    "correspondence": {
        "images": "the table of parts names them",
        "titles": "the file's name stands on pictures",
    },
    "demo": {
        "--open": "`webbrowser.open(demo.page.as_uri())`",
    },
    "diagnose": {
        "scanned": "spares a second pass where a `Scan` of the same images is at hand",
    },
    "evolve": {
        "module": "of a training that is not convscope's",
        "default of device": "Python takes the one that the module is on",
    },
    "explore": {
        "atlas": "a folder among the images is one",
        "titles": "the file's name stands on the page",
        "ready": "prints the address",
    },
    "invariance": {
        "amounts": "a table of numbers is no option; --steps spaces them evenly",
        "titles": "the file's name stands on pictures",
    },
    "occlude": {
        "patches": "the plural of --patch",
        "--patch": "the singular of patches",
        "titles": "the file's name stands on pictures",
        "preview": "a function",
    },
    "probe": {
        "labels": "the class folders of the images, or CIFAR-10's own",
    },
    "project": {
        "titles": "the file's name stands on pictures",
    },
    "report": {
        "folder": "--output, where that is one",
        "titles": "the file's name stands on pictures",
        "default of budget": "a command should end before its reader leaves",
    },
    "sanity": {
        "title": "the file's name stands on pictures",
    },
    "scan": {
        "--merge": "`cs.merge`",
        "channels": "of the figure; in an atlas are all, and `plate` draws some",
        "--part": "as K/N; Python names the images, in `only`",
        "only": "--part K/N chooses them",
        "state": "in the atlas's folder",
        "save_every": "of the state",
    },
    "study": {
        "--epochs": "in `config`, as `cs.preset('study', epochs=...)`",
        "config": "--epochs",
        "folder": "--output",
        "measuring": "the command line has a bar",
        "shown": "the page shows all of them",
        "test": "in the folder --data",
    },
    "trace-unit": {
        "title": "the file's name stands on pictures",
    },
    "train": {
        "config": "made of --preset and the four options after it",
        "--preset": "in `config`",
        "--epochs": "in `config`",
        "--seed": "in `config`",
        "--batch_norm": "in `config`",
        "--padding": "in `config`",
        "--explore": "`cs.explore(run)`, in a process of its own",
        "folder": "--output",
        "test": "in the folder --data",
    },
}
"""What a command and its call do not share, and why."""


def options(command: str) -> dict[str, click.Parameter]:
    """Return the options and arguments of a command by name."""
    found = {}
    for parameter in COMMANDS[command].params:
        longest = max(parameter.opts, key=len)
        found[longest.removeprefix("--").replace("-", "_")] = parameter
    return {name: found[name] for name in found if name != "help"}


def drawing(call: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return what the figure of a call's result can do besides its width and caption."""
    kind = inspect.get_annotations(inspect.unwrap(call), eval_str=False).get("return")
    kind = getattr(cs, kind, None) if isinstance(kind, str) else kind
    if not isinstance(getattr(kind, "figure", None), str) or not kind.figure:
        return {}
    figure = import_module(f"convscope.figures.{kind.figure}").figure
    return dict(list(inspect.signature(figure).parameters.items())[2:])


def several(option: click.Parameter) -> bool:
    return bool(getattr(option, "multiple", False)) or option.nargs == -1


def same(option: Any, default: Any) -> bool:
    """Return whether a default of the command line is that of Python."""
    if isinstance(default, tuple | list):
        return list(option or default) == list(default)
    if isinstance(default, int) and isinstance(option, str):
        return parse_bytes(option) == default
    return option == default or (option in ((), "none") and default is None)


def differences(name: str) -> set[str]:
    """Return what a command and its call do not share: parameters, options and defaults."""
    call = CALLS[name]
    parameters = {
        **{n: p for n, p in inspect.signature(call).parameters.items() if n not in PYTHON_ONLY},
        **drawing(call),
    }
    own = {n: o for n, o in options(name).items() if n in parameters or n not in RESULT | NETWORK}
    apart = set()
    for parameter, declared in parameters.items():
        singular = parameter if parameter in own else parameter.removesuffix("s")
        option = own.pop(singular, None)
        if option is None or (singular != parameter and not several(option)):
            apart.add(parameter)
        elif (
            declared.default is not declared.empty
            and not option.required
            and not same(option.default, declared.default)
        ):
            apart.add(f"default of {parameter}")
    return apart | {f"--{option}" for option in own}


@pytest.mark.parametrize("name", sorted(CALLS))
def test_options_are_called_as_parameters_are(name):
    assert differences(name) == set(EXCEPTIONS.get(name, {}))


def test_the_options_of_a_network_are_what_load_takes():
    of_load = set(inspect.signature(cs.load).parameters)
    assert {"name" if option == "model" else option for option in NETWORK} == of_load
    for command, its in ((name, options(name)) for name in COMMANDS):
        if {"model", "preprocess"} <= set(its):
            left_out = NETWORK - set(its)
            assert left_out <= {"device", "random"}, command


def test_every_command_is_a_call_or_says_why_not():
    assert set(COMMANDS) == {*CALLS, *WITHOUT_A_CALL}
    assert all([*WITHOUT_A_CALL.values()])


def listed() -> dict[str, str]:
    """Return the public names in docs/names.md, and the command in each one's row."""
    lines = (ROOT / "docs/names.md").read_text("utf-8").splitlines()
    rows = [line.split("|")[1:3] for line in lines if line.startswith("| `cs.")]
    return {
        name: command.strip(" `").removeprefix("convscope ")
        for names, command in rows
        for name in re.findall(r"`cs\.(\w+)`", names)
    }


def test_the_table_of_names_has_every_public_name_and_command():
    names = listed()
    assert set(names) == set(cs.__all__)
    assert {name: names[call.__name__] for name, call in CALLS.items()} == {n: n for n in CALLS}
    assert set(names.values()) - {""} <= set(COMMANDS)


def test_commands_in_sentences_name_options_that_there_are():
    pages = (ROOT.glob(kind) for kind in ("README.md", "docs/**/*.md", "src/**/*.py"))
    said = [page.read_text("utf-8") for page in chain.from_iterable(pages)]
    lines = re.findall(r"`convscope ([a-z][^`]*)`", "\n".join(said))
    assert len(lines) > 100
    for line in lines:
        name, *words = line.split()
        known = {option for given in COMMANDS[name].params for option in given.opts}
        assert {word for word in words if re.match("--?[a-z]", word)} <= {*known, "--help"}, line
