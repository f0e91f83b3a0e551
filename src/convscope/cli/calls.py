"""Commands that call the method of their name: check, load the network, call, show the result."""

from collections.abc import Callable
from importlib import import_module
from inspect import Parameter, get_annotations, signature, unwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convscope.cli.networks import NamedNetwork, network_options
from convscope.cli.options import (
    Command,
    Showing,
    as_if_taking,
    open_images,
    parameters_of,
    result_options,
)
from convscope.cli.printing import kept

if TYPE_CHECKING:
    from convscope.results import Result

CHECKS = {
    "rule": "convscope.network.rules:rule_named",
    "rank": "convscope.methods.ranking:check_rank",
    "budget": "convscope.methods.budget:Deadline",
}
"""What refuses a wrong value of an option before a network is loaded."""


def method(
    call: str, label: str, output: str, written: str | None = None
) -> Callable[[Command], Command]:
    """Make a command that calls a method of a network, whose options a function's parameters are.

    The call takes the options by their names, or by their plurals, and its figure takes the others.
    What is None is as by default. The function returns nothing, or those options which the call
    takes in another form than the command line; it is called before the network is loaded, so that
    it can refuse what is wrong. It may ask for ``shown``.

    Args:
        call: the method, as ``"module:name"``, which is imported only when it is called.
        label: of the progress bar.
        output: the file that is written by default.
        written: what that may be, where it is not what most results are written as.
    """

    def decorated(command: Command) -> Command:
        own = [p for p in parameters_of(command) if p.name != "shown"]
        asks = len(own) < len(signature(command).parameters)

        def run(network: NamedNetwork, shown: Showing, **given: Any) -> None:
            function = _imported(call)
            shown.check(_result_of(function))
            for name in CHECKS.keys() & given:
                several = given[name] if isinstance(given[name], list) else [given[name]]
                for value in several:
                    if value is not None:
                        _imported(CHECKS[name])(value)
            given |= command(**given, **({"shown": shown} if asks else {})) or {}
            net = network.load()
            if isinstance(given.get("images"), Path):
                given["images"] = open_images(given["images"], net)
            takes = signature(function).parameters
            options = {
                name if name in takes or f"{name}s" not in takes else f"{name}s": value
                for name, value in given.items()
                if value is not None and value != []
            }
            passed = {name: options.pop(name) for name in takes.keys() & options}
            shown.finish(kept(label, function, net, **passed), **options)

        kind = Parameter.KEYWORD_ONLY
        both = [Parameter("network", kind), Parameter("shown", kind)]
        shaped = as_if_taking(run, command, [*both, *own])
        return network_options()(result_options(output, written)(shaped))

    return decorated


def _result_of(function: Callable[..., Any]) -> "type[Result]":
    """Return the class of what a method returns, which some modules annotate by its name alone."""
    function = unwrap(function)
    kind: type[Result] | str = get_annotations(function)["return"]
    return function.__globals__[kind] if isinstance(kind, str) else kind


def _imported(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)
