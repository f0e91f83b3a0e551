"""The linear probe: what a classifier reads off each layer, against scikit-learn by hand."""

import math
import sys

import pytest
import torch
from torch import nn

import convscope as cs

LABELS = [0, 1, 2] * 20


def network(seed: int = 0) -> cs.Network:
    torch.manual_seed(seed)
    layers = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 3, padding=1), nn.ReLU()
    return cs.Network(nn.Sequential(*layers).double(), (1, 3, 6, 6), preprocess="none")


def heads() -> cs.Network:
    return cs.Network(nn.Sequential(nn.ReLU(), nn.Conv2d(3, 2, 6), nn.Flatten()), (1, 3, 6, 6))


def pictures() -> torch.Tensor:
    """Return noise in which a channel is brighter by the label, so that it can be told."""
    images = torch.rand(60, 3, 6, 6, generator=torch.Generator().manual_seed(1)).double()
    for image, label in zip(images, LABELS, strict=True):
        image[label] += 0.08
    return images


def test_an_image_is_answered_by_a_classifier_that_was_trained_without_it():
    pipeline = pytest.importorskip("sklearn.pipeline")
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.preprocessing import StandardScaler

    net, images = network(), pictures()
    found = cs.probe(net, images, ["1", "3"], labels=LABELS, grid=2, folds=4, seed=3)
    assert found.layers == ("1", "3")
    assert found.features == (16, 24)
    with torch.no_grad():
        maps = net.module[:2](images)
    pooled = maps.view(60, 4, 2, 3, 2, 3).mean((3, 5)).flatten(1).float().numpy()
    parts = StratifiedKFold(4, shuffle=True, random_state=3)
    classifier = pipeline.make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
    answers = cross_val_predict(classifier, pooled, LABELS, cv=parts)
    assert found.right[0].tolist() == (answers == LABELS).tolist()
    share, z = float(found.accuracy[0]), 1.96
    # Wilson's interval: where the share lies z of its own deviations away.
    for end in found.interval[0].tolist():
        assert abs(end - share) == pytest.approx(z * math.sqrt(end * (1 - end) / 60))


def test_two_networks_are_probed_side_by_side():
    pytest.importorskip("sklearn")
    net, other = network(), network(1)
    both = cs.probe(net, [*pictures()], labels=LABELS, against=other, folds=2)
    alone = cs.probe(other, pictures(), labels=LABELS, folds=2)
    assert both.layers == ("images", "1", "3") * 2
    assert torch.equal(both.right[3:], alone.right)
    assert both.commonest == pytest.approx(1 / 3)
    assert both.accuracy[0] > 0.7  # the pixels' means tell
    flat = cs.Network(nn.Sequential(nn.Flatten(), nn.Linear(108, 3)), (1, 3, 6, 6))
    assert cs.probe(flat, pictures(), labels=LABELS, folds=2).layers == ("images",)


def test_values_that_are_not_finite_are_refused_by_their_layer():
    pytest.importorskip("sklearn")

    class Root(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x - 0.5).sqrt()

    net = cs.Network(nn.Sequential(nn.Conv2d(3, 4, 3), Root(), nn.ReLU()), (1, 3, 6, 6))
    with pytest.raises(
        cs.errors.DataError, match=r"^Sequential: values are not finite from layer '1' on$"
    ):
        cs.probe(net, pictures(), labels=LABELS)


def test_what_cannot_be_probed_is_refused(monkeypatch):
    net, images = network(), pictures()
    with pytest.raises(cs.DataError, match="has no label"):
        cs.probe(net, images)
    with pytest.raises(cs.DataError, match="image 0 has a label that is no class's number"):
        cs.probe(net, [(image, torch.tensor([0, 1])) for image in images])
    with pytest.raises(cs.DataError, match="there are 0, the smallest of 0"):
        cs.probe(net, torch.full((2, 3, 6, 6), torch.nan), labels=[0, 1])
    with pytest.raises(cs.UnitError, match="no layer was named"):
        cs.probe(net, images, layer=[], labels=LABELS)
    with pytest.raises(cs.DataError, match="no image that"):
        cs.ablate(heads(), torch.full((2, 3, 6, 6), torch.nan), "1")
    with pytest.raises(cs.DataError, match="the smallest of 1"):
        cs.probe(net, images, labels=[1] + [0] * 59)
    with pytest.raises(cs.ImageError, match="3 labels for 60 images"):
        cs.probe(net, images, labels=[0, 1, 2])
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(cs.ConvscopeError, match=r"convscope\[probe\]"):
        cs.probe(net, images, labels=LABELS)


def test_names_are_names_notes_are_notes_and_images_left_out_are_named():
    pytest.importorskip("sklearn")
    net, other = network(), network(1)
    raw = cs.Network(net.module, (1, 3, 6, 6))
    images = [*pictures(), torch.full((3, 6, 6), torch.nan).double()]
    found = cs.probe(raw, images, labels=[*LABELS, 0], against=other, folds=2)
    assert {row["network"] for row in found.table()} == {"Sequential (A)", "Sequential (B)"}
    (note,) = raw.notes
    assert found.notes == (f"Sequential (A): {note}",)
    assert found.summary().splitlines()[-2:] == [
        "1 image left out:", "  image 60: holds values that are not finite",
    ]  # fmt: skip
    assert list(found.to_dict()["bad"]) == ["image 60"]
    alone = cs.probe(raw, images, labels=[*LABELS, 0], folds=2)
    assert (set(alone.networks), alone.notes) == ({"Sequential"}, raw.notes)


def test_random_weights_are_part_of_a_networks_name():
    images, labels = torch.rand(12, 3, 8, 8), [0, 1] * 6
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    nets = [
        cs.Network(module, (1, 3, 8, 8), name="own", preprocess="none", notes=notes)
        for notes in ((), ("random weights (seed 0)",))
    ]
    found = cs.probe(nets[0], images, "1", labels=labels, against=nets[1], folds=2)
    assert list(dict.fromkeys(found.networks)) == ["own", "own, random weights (seed 0)"]
