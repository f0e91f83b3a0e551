"""The public names: all that a signature or a "Raises" names is one of them."""

import inspect
import re
import types
import typing
from collections.abc import Iterator

import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

import convscope as cs
from convscope import errors

NAMES = sorted(set(cs.__all__) - {"__version__"})
INSIDE = {
    *(
        "Band",
        "Chance",
        "Drawing",
        "FirstFilters",
        "Kept",
        "Partners",
        "Section",
        "Sheet",
        "StrongestFilters",
        "TurnedFilters",
        "Summary",
        "Tally",
    ),
    *("Variant", "Volume"),
}
"""Parts of results that only the figures and pages of these look into."""

ERRORS = {name for name, value in vars(errors).items() if inspect.isclass(value)} - {"Any"}


def members(public: object) -> Iterator[object]:
    """Yield a public function, or a class with its constructor, methods and properties."""
    yield public
    if not inspect.isclass(public) or issubclass(public, BaseException):
        return
    yield public.__init__
    for name, member in inspect.getmembers(public):
        if name.startswith("_"):
            continue
        if isinstance(member, property):
            yield member.fget
        elif callable(member):
            yield getattr(member, "__func__", member)


def classes(hint: object) -> Iterator[type]:
    """Yield the classes in an annotation."""
    for inner in hint if isinstance(hint, list) else typing.get_args(hint):
        yield from classes(inner)
    if isinstance(hint, type) and not isinstance(hint, types.GenericAlias):
        yield hint


@pytest.mark.parametrize("name", NAMES)
def test_what_a_public_name_names_is_public(name):
    named, raised = set(), set()
    for member in members(getattr(cs, name)):
        if not inspect.isclass(member) or member is getattr(cs, name):
            raised |= set(re.findall(r"\b\w+Error\b|\bInterrupted\b", inspect.getdoc(member) or ""))
        for hint in typing.get_type_hints(
            member, localns={"Figure": Figure, "Plate": cs.Plate}
        ).values():
            named |= {c.__name__ for c in classes(hint) if c.__module__.startswith("convscope")}
    named -= INSIDE
    assert named | (raised & ERRORS) <= {*cs.__all__}


@pytest.mark.parametrize("method", ["project", "occlude", "scan", "diagnose", "report", "draw"])
def test_a_module_or_a_name_is_told_how_to_become_a_network(method):
    more = {"draw": (), "report": (None, "out")}.get(method, (None,))
    for given, advice in (
        (nn.ReLU(), r"a Network, not a ReLU: cs.Network\(module, \(1, 3, height, width\)\) makes"),
        ("base", r"a Network, not a text: cs.load\('base'\) loads one"),
        (3, "a Network, not a whole number$"),
    ):
        with pytest.raises(cs.ConvscopeError, match=f"^{method}'s net must be {advice}"):
            getattr(cs, method)(given, *more)


def test_a_module_is_not_loaded_and_a_zoo_is_named():
    with pytest.raises(cs.ConvscopeError, match=r"not a ReLU: cs.Network\(module"):
        cs.load(nn.ReLU())
    with pytest.raises(cs.ModelError, match="no model 'resnet18'; did you mean 'torchvision:resn"):
        cs.load("resnet18")


def test_a_missing_argument_is_said_as_python_says_it():
    with pytest.raises(TypeError, match=r"^project\(\) missing 1 required positional argument"):
        cs.project(None)


def test_a_shape_does_for_an_example():
    module = nn.Conv2d(3, 4, 3)
    for shape in ((1, 3, 48, 40), (3, 48, 40), torch.Size((1, 3, 48, 40))):
        assert cs.Network(module, shape).input_shape == (3, 48, 40)
        assert cs.Network(module, example=shape).input_shape == (3, 48, 40)


def test_a_range_is_of_the_pictures_that_are_read():
    net = cs.load("squeezenet1_1", "random", size="3,64,64", range=(0, 4095))
    assert net.preprocess.range == (0, 4095)
    with pytest.raises(cs.ImageError, match="must be finite, black below white"):
        cs.load("squeezenet1_1", "random", size="3,64,64", range=(9, 3))


@pytest.mark.parametrize("name", NAMES)
def test_no_module_takes_the_place_of_a_public_name(name):
    assert not inspect.ismodule(getattr(cs, name))
