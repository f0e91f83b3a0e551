"""The public edge in Python: arguments of a wrong type are refused by name, before any work."""

import functools
import inspect
import os
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

from convscope.errors import ConvscopeError

P = ParamSpec("P")
R = TypeVar("R")

LARGEST_SEED = 2**32


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Return *function* with its arguments' types looked at first, as they are annotated.

    Raises:
        ConvscopeError: what it raises where one is of another type, naming the argument.

    >>> def double(number: int) -> int: return 2 * number
    >>> checked(double)(21)
    42
    >>> checked(double)("21")
    Traceback (most recent call last):
        ...
    convscope.errors.ConvscopeError: double's number must be a whole number, not a text
    """
    signature = inspect.signature(function)
    called = function.__qualname__.removesuffix(".__init__").rpartition(".")[2]

    @functools.wraps(function)
    def call(*arguments: P.args, **named: P.kwargs) -> R:
        try:
            given = signature.bind(*arguments, **named).arguments
        except TypeError:  # which Python words better, naming the function
            return function(*arguments, **named)
        for name, value in given.items():
            kind = _kinds(function).get(name)
            if kind is not None and not _is(value, kind):
                raise ConvscopeError(
                    f"{called}'s {name} must be {_words(kind)}, not {described(value)}"
                    f"{_advice(called, name, value, kind)}"
                )
        return function(*arguments, **named)

    return call


@functools.cache
def _kinds(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotated types of the arguments that are taken one by one."""
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(function).parameters
    return {
        name: kind
        for name, kind in typing.get_type_hints(function).items()
        if name in parameters and parameters[name].kind not in several
    }


def _is(value: Any, kind: Any) -> bool:
    """Return whether a value is of an annotated type, looked at one level deep."""
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return any(_is(value, one) for one in inside)
    if origin is typing.Literal:
        return isinstance(value, tuple({type(one) for one in inside}))  # the function knows which
    if origin in (Sequence, Iterable):
        # A text is a sequence of letters, and never meant as one. Arrays, which are numbers in
        # order as well, do not call themselves sequences.
        return (
            (isinstance(value, origin) or getattr(value, "ndim", 0) == 1)
            and not isinstance(value, str | bytes)
            and _all_are(value, inside[0])
        )
    if origin is tuple and inside:
        return isinstance(value, list | tuple) and _are(value, inside)
    base = origin or kind
    if not isinstance(base, type) or kind is Any or getattr(kind, "_is_protocol", False):
        return True
    return _is_number(value, base) if base in (int, float) else isinstance(value, base)


def _is_number(value: Any, kind: type) -> bool:
    known = hasattr(value, "__index__" if kind is int else "__float__")
    return known and not isinstance(value, bool | str) and getattr(value, "ndim", 0) == 0


def _are(values: Sequence[Any], kinds: Sequence[Any]) -> bool:
    """Return whether values are of the kinds of a tuple, one each or all of one."""
    each = [kinds[0]] * len(values) if kinds[-1] is ... else kinds
    return len(values) == len(each) and all(map(_is, values, each))


def _all_are(values: Any, kind: Any) -> bool:
    """Return whether all of a sequence at hand are of a kind; others are not begun."""
    return not isinstance(values, list | tuple) or all(_is(value, kind) for value in values)


def misshapen(value: Any, shape: Any, name: str = "it") -> str:
    """Return what is wrong with a value from a JSON file, in words, or ``""``.

    *shape* is a type, or several; a dictionary of the keys that there must be; or a list of what
    each item must be.

    >>> misshapen({"layers": 3}, {"layers": [{"name": str}]})
    "'layers' is a whole number"
    >>> misshapen({"layers": [{}]}, {"layers": [{"name": str}]})
    "an item of 'layers' has no 'name'"
    >>> misshapen({"layers": [{"name": "a"}], "more": 1}, {"layers": [{"name": str}]})
    ''
    """
    if isinstance(shape, dict) and isinstance(value, dict):
        missing = next((key for key in shape if key not in value), None)
        if missing is not None:
            return f"{name} has no {missing!r}"
        faults = (misshapen(value[key], inner, repr(key)) for key, inner in shape.items())
    elif isinstance(shape, list) and isinstance(value, list):
        faults = (misshapen(item, shape[0], f"an item of {name}") for item in value)
    elif isinstance(shape, type | tuple) and isinstance(value, shape):
        return ""
    else:
        return f"{name} is {described(value)}"
    return next(filter(None, faults), "")


def check_seed(seed: int) -> None:
    """Refuse a seed that torch's and numpy's generators do not all take.

    Raises:
        ConvscopeError: if it is negative or too large.
    """
    if not 0 <= seed < LARGEST_SEED:
        raise ConvscopeError(f"the seed must be from 0 to {LARGEST_SEED - 1:,}, not {seed}")


_NAMES: Mapping[Any, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    type(None): "None",
    os.PathLike: "a path",
}


def _words(kind: Any) -> str:
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(_words, inside)))
    if origin is typing.Literal:
        return " or ".join(map(repr, inside))
    if origin is tuple and inside and inside[-1] is not ...:
        return f"{len(inside)} numbers" if set(inside) <= {int, float} else "a tuple"
    if origin in (Sequence, Iterable, list, tuple):
        return f"a sequence ({_words(inside[0])} each)" if inside else "a sequence"
    base = origin or kind
    if getattr(base, "__module__", "").startswith("torch.nn."):
        return f"an nn.{base.__name__}"
    return _NAMES.get(base, f"a {getattr(base, '__name__', str(base))}")


def _advice(called: str, name: str, value: Any, kind: Any) -> str:
    """Return how to come by a network, where something else was given in its place."""
    if (called, name) != ("load", "name") and getattr(kind, "__name__", "") != "Network":
        return ""
    if isinstance(value, str | os.PathLike):
        return f": cs.load({os.fspath(value)!r}) loads one"
    # A module has to be traced on an image of a size that nobody but the caller knows.
    module = hasattr(value, "named_modules") and not isinstance(value, type)
    return ": cs.Network(module, (1, 3, height, width)) makes one of it" if module else ""


def described(value: Any) -> str:
    """Say what was given in place of something else.

    >>> described(None), described([1.5]), described(int)
    ('None', 'a list of a number', 'the class int')
    """
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {described(value[0]) if value else 'nothing'}"
    kind = type(value).__name__
    article = "an" if kind[0].lower() in "aeiou" else "a"
    return _NAMES.get(type(value), "a function" if "function" in kind else f"{article} {kind}")
