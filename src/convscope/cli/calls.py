"""How functions become commands: with the options of a network and of a result, and by calling."""

import re
from collections.abc import Callable, Iterable
from functools import wraps
from importlib import import_module
from inspect import Parameter, get_annotations, getdoc, signature, unwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_origin

import typer

from convscope.cli.networks import NO_OPTIONS, NamedNetwork
from convscope.cli.options import SHARED, Showing, open_images
from convscope.cli.printing import kept

if TYPE_CHECKING:
    from convscope.results import Result

Command = Callable[..., Any]


def taking(
    *left_out: str, output: str = "", says_notes: bool = True
) -> Callable[[Command], Command]:
    """Give a command options in the place of its parameters ``network`` and ``shown``.

    These are the fields of :class:`NamedNetwork`, and those of :class:`Showing`.

    Args:
        left_out: fields of the first that the command has no option for.
        output: the file or folder that is written by default.
        says_notes: whether to say on standard error what pictures of the network must say.
    """

    def decorated(command: Command) -> Command:
        own = _named(command)
        of_network = _named(NamedNetwork, (*left_out, *NO_OPTIONS)) if "network" in own else {}
        of_result = _named(Showing) if "shown" in own else {}
        if of_result:
            of_result["output"] = of_result["output"].replace(default=Path(output))

        def run(**given: Any) -> None:
            notes: Iterable[str] = ()
            if of_result:
                given["shown"] = Showing(**{name: given.pop(name) for name in of_result})
            if of_network:
                chosen = {"model": "", **{name: given.pop(name) for name in of_network}}
                given["network"] = NamedNetwork(**chosen, memory=_checked(given.get("memory")))
                notes = given["network"].notes if says_notes else ()
            command(**given)
            # Only now: a mistake that is found later gets its own sentence alone.
            for note in notes:
                typer.echo(f"convscope: note: {note}", err=True)

        # The model comes first, then what is the command's own, then how the network is loaded.
        first = {name: of_network[name] for name in ("model",) if name in of_network}
        rest = {name: own[name] for name in own if name not in ("network", "shown")}
        return _as_if_taking(run, command, {**first, **rest, **of_result, **of_network})

    return decorated


def _checked(memory: str | None) -> str | None:
    """Return what a command is given for its work; what is no amount is refused at once."""
    if memory is not None:
        from convscope.methods.budget import parse_bytes

        parse_bytes(memory)
    return memory


def _named(of: Callable[..., Any], left_out: Iterable[str] = ()) -> dict[str, Parameter]:
    """Return the parameters of a function, or a dataclass, as ones that are given by name."""
    return {
        name: parameter.replace(kind=Parameter.KEYWORD_ONLY)
        for name, parameter in signature(of).parameters.items()
        if name not in left_out
    }


TOLD = re.compile(r"^    (\w+)(?: \((.+?)\))?: (.+(?:\n {8}.+)*)", re.MULTILINE)
"""A parameter in a docstring: its name, what stands for its value in the help, and its help."""

VALUES = {"int": "N", "float": "NUMBER", "Path": "PATH", "str": "TEXT"}
"""What stands for an option's value in the help where its docstring does not say it."""


def documented(command: Command) -> Command:
    """Return a command whose help tells of its parameters what docstrings do.

    Its own comes before those that commands share. A parameter with a name for its value and no
    default is an argument, the others are options, ``output`` also ``-o``, ``as_json`` ``--json``.
    """
    told: dict[str, tuple[str, str]] = {}
    for text in (SHARED, *map(getdoc, (NamedNetwork, Showing, command))):
        told |= {name: (value, said) for name, value, said in TOLD.findall(text or "")}
    parameters = _named(command)
    for name in told.keys() & parameters.keys():
        own, (value, said) = parameters[name], told[name]
        option = f"--{name.removeprefix('as_').replace('_', '-')}"
        words: dict[str, Any] = {"metavar": value or _kind(own), "help": " ".join(said.split())}
        if get_origin(own.annotation) is Annotated:
            continue  # it tells itself
        if value and own.default is Parameter.empty:
            kind = typer.Argument(**words)
        elif own.default is False:  # it needs no option that leaves it out
            kind = typer.Option(option, **words)
        else:
            kind = typer.Option(*(("-o", option) if name == "output" else ()), **words)
        parameters[name] = own.replace(annotation=Annotated[own.annotation, kind])

    def run(**given: Any) -> None:
        command(**given)

    return _as_if_taking(run, command, parameters)


def _kind(parameter: Parameter) -> str | None:
    """Return what stands for an option's value in the help; None if it has none."""
    named = re.search("bool|int|float|Path|str", str(parameter.annotation))
    return VALUES.get(named[0]) if named else None


def _as_if_taking(run: Command, command: Command, parameters: dict[str, Parameter]) -> Command:
    """Return *run* under a command's name, with the parameters that the parser is to see."""
    shown = wraps(command)(run)
    listed = [*parameters.values()]
    shown.__signature__ = signature(command).replace(parameters=listed)  # type: ignore[attr-defined]
    shown.__annotations__ = {name: own.annotation for name, own in parameters.items()}
    return shown


CHECKS = {
    "rule": "convscope.network.rules:rule_named",
    "rank": "convscope.methods.ranking:check_rank",
    "budget": "convscope.methods.budget:parse_seconds",
}
"""What refuses a wrong value of an option before a network is loaded."""


def method(
    call: str, label: str, output: str, *left_out: str, of_network: bool = True
) -> Callable[[Command], Command]:
    """Make a command that calls a method of a network, whose options a function's parameters are.

    The call takes the options by their names, or by their plurals, and its figure takes the others.
    What is None is as by default. The function returns nothing, or those options which the call
    takes in another form than the command line; it is called before the network is loaded, so that
    it can refuse what is wrong. It may ask for ``shown`` and ``network``, and return another
    ``network``, or ``networks`` if the call begins with several.

    Args:
        call: the method, as ``"module:name"``, which is imported only when it is called.
        label: of the progress bar.
        output: the file that is written by default.
        left_out: see :func:`taking`.
        of_network: whether the call begins with a network, or several.
    """

    def decorated(command: Command) -> Command:
        own = _named(command)
        asks = {name for name in ("network", "shown") if own.pop(name, None)}

        def run(shown: Showing, network: NamedNetwork | None = None, **given: Any) -> None:
            function, images = _imported(call), given.get("images")
            shown.check(_result_of(function), images if isinstance(images, Path) else None)
            for name, check in CHECKS.items():
                value = given.get(name)
                for one in value if isinstance(value, list) else [value]:
                    if one is not None:
                        _imported(check)(one)
            about = {"network": network, "shown": shown}
            given |= command(**given, **{name: about[name] for name in asks}) or {}
            chosen = given.pop("networks", [given.pop("network", network)])
            nets = [one.loaded for one in chosen if one]
            images = given.get("images")
            if isinstance(images, Path):
                opened = [open_images(images, net) for net in nets]
                given["images"] = opened[0] if len(nets) == 1 else tuple(opened)
            takes = signature(function).parameters
            options = {
                name if name in takes or f"{name}s" not in takes else f"{name}s": value
                for name, value in given.items()
                if value is not None and value != []
            }
            passed = {name: options.pop(name) for name in takes.keys() & options}
            shown.finish(kept(label, function, *nets, **passed), **options)

        names = ("network", "shown") if of_network else ("shown",)
        both = {name: Parameter(name, Parameter.KEYWORD_ONLY) for name in names}
        shaped = _as_if_taking(run, command, {**both, **own})
        return taking(*left_out, output=output)(shaped)

    return decorated


def _result_of(function: Callable[..., Any]) -> "type[Result]":
    """Return the class of what a method returns, which some modules annotate by its name alone."""
    function = unwrap(function)
    kind: type[Result] | str = get_annotations(function)["return"]
    return function.__globals__[kind] if isinstance(kind, str) else kind


def _imported(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)
