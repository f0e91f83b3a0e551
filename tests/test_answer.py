"""What a network's output is taken for: the same network answers alike however it ends."""

import json
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from torch import Tensor, nn

import convscope as cs
from convscope.errors import TraceError, UnitError
from products import each_once

CLASSES = ("ant", "bee", "cat")


class Ended(nn.Module):
    """A small network whose numbers pass through a last function."""

    def __init__(self, end=lambda z: z, outputs: int = 3) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.convs = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU())
        self.fc = nn.Linear(8, outputs)
        self.fc.weight.data.mul_(8)
        self.end = end

    def numbers(self, x: Tensor) -> Tensor:
        return self.fc(self.convs(x).mean((2, 3)))

    def forward(self, x: Tensor):
        return self.end(self.numbers(x))


@dataclass
class Scores:
    logits: Tensor
    extra: Tensor | None = None


IMAGE = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
OPTIONS = {"patch": 4, "stride": 4, "fill": "black"}


@cache
def network(end=lambda z: z, outputs: int = 3, **options) -> cs.Network:
    options = {"preprocess": "none", **options}
    return cs.Network(Ended(end, outputs).double().eval(), IMAGE, **options)


def brute(end, outputs: int) -> Tensor:
    """Return end(numbers) with the patch at each position, [positions, outputs], one by one."""
    module = Ended(outputs=outputs).double().eval()
    rows = []
    with torch.no_grad():
        for top in range(0, 12, 4):
            for left in range(0, 12, 4):
                hidden = IMAGE.clone()
                hidden[:, :, top : top + 4, left : left + 4] = 0
                rows.append(end(module.numbers(hidden))[0])
    return torch.stack(rows)


def softmax(z: Tensor) -> Tensor:
    return z.softmax(1)


ONE_OF_K = {
    "logits": lambda z: z,
    "softmax": softmax,
    "softmax of maps": lambda z: z[:, :, None, None].softmax(1).flatten(1),
    "softmax, moved": lambda z: z[:, :, None].transpose(1, 2).softmax(2).squeeze(1),
    "log-softmax": lambda z: z.log_softmax(1),
    "log of softmax": lambda z: z.softmax(-1).log(),
    "softmax, copied": lambda z: z.softmax(1).clone().contiguous(),
}


@each_once("name, method", [*ONE_OF_K], ["exact", "full"])
def test_classes_have_the_same_probabilities_however_the_network_ends(name, method):
    o = cs.occlude(network(ONE_OF_K[name]), IMAGE, target=1, method=method, **OPTIONS)
    expected = brute(softmax, 3)
    assert o.answer == json.loads(o.to_json())["answer"] == "classes"
    assert (o.probability.flatten() - expected[:, 1]).abs().max() < 1e-12
    assert (o.logit.flatten() - brute(lambda z: z, 3)[:, 1]).abs().max() < 1e-9
    assert torch.equal(o.predicted.flatten(), expected.argmax(1))
    assert o.probability.std() > 0.005


@pytest.mark.parametrize(
    "end",
    [
        lambda z: (z.softmax(1) + (z / 2).softmax(1)) / 2,
        lambda z: torch.stack([z.softmax(1), (z * 2).softmax(1)]).mean(0),
        lambda z: z.exp() / z.exp().sum(1, keepdim=True),
    ],
)
def test_probabilities_without_a_last_softmax_are_known_by_their_sum(end):
    o = cs.occlude(network(end), IMAGE, target=2, **OPTIONS)
    assert (o.probability.flatten() - brute(end, 3)[:, 2]).abs().max() < 1e-12
    assert (o.logit.flatten() - brute(end, 3)[:, 2].log()).abs().max() < 1e-12
    assert "add up to 1" in o.output


def test_a_sigmoid_written_out_is_one():
    # Its probabilities went through a softmax once more.
    o = cs.occlude(network(lambda z: 1 / (1 + torch.exp(-z))), IMAGE, **OPTIONS)
    assert o.answer == "labels"
    expected = brute(torch.sigmoid, 3)[:, o.targets]
    assert (o.probability.flatten() - expected).abs().max() < 1e-12


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("declared", [False, True])
def test_labels_hold_each_by_itself(outputs, declared):
    net = network(answer="labels", outputs=outputs) if declared else network(torch.sigmoid, outputs)
    o = cs.occlude(net, IMAGE, target=0, **OPTIONS)
    assert o.answer == "labels"
    assert (o.probability.flatten() - brute(torch.sigmoid, outputs)[:, 0]).abs().max() < 1e-12
    assert (o.logit.flatten() - brute(lambda z: z, outputs)[:, 0]).abs().max() < 1e-9


@pytest.mark.parametrize("end", [lambda z: z, lambda z: z.squeeze(1)])
def test_one_output_is_a_number(end):
    o = cs.occlude(network(end, 1), IMAGE, **OPTIONS)
    expected = brute(lambda z: z, 1)[:, 0]
    assert (o.answer, o.probability, o.logit, o.predicted) == ("number", None, None, None)
    assert (o.number.flatten() - expected).abs().max() < 1e-12
    clean = float(network(end, 1)(IMAGE))
    assert o.clean == {"number": pytest.approx(clean)}
    assert (o.drop().flatten() - (clean - expected)).abs().max() < 1e-12
    assert o.heatmap().std() > 0
    # Its name makes it a label.
    assert network(end, 1, classes=("cat",)).answer.kind == "labels"


def test_numbers_may_be_several():
    net = network(answer="number")
    o = cs.occlude(net, IMAGE, target=[2, 0], **OPTIONS)
    assert (o.number.flatten(1).T - brute(lambda z: z, 3)[:, [2, 0]]).abs().max() < 1e-12
    assert [one.targets for one in o.singles()] == [2, 0]
    assert cs.occlude(net, IMAGE, **OPTIONS).targets == 0
    with pytest.raises(UnitError, match="has outputs 0 to 2, not 3"):
        cs.occlude(net, IMAGE, target=3, **OPTIONS)
    with pytest.raises(UnitError, match="there is no probability in this occlusion: it is of 3 n"):
        o.heatmap("probability")


def test_a_number_of_a_softmax_is_the_output_itself():
    o = cs.occlude(network(softmax, answer="number"), IMAGE, target=1, **OPTIONS)
    assert (o.number.flatten() - brute(softmax, 3)[:, 1]).abs().max() < 1e-12


def test_a_saturated_softmax_still_has_finite_logits():
    module = Ended(softmax)
    module.fc.weight.data.mul_(1e4)
    o = cs.occlude(cs.Network(module.eval(), IMAGE.float()), IMAGE.float(), **OPTIONS)
    assert o.logit.isfinite().all()
    assert o.heatmap("logit").isfinite().all()


def test_everything_that_decides_goes_through_the_answer():
    images = torch.rand(4, 3, 12, 12, dtype=torch.float64)
    plain, ended = network(classes=CLASSES), network(softmax, classes=CLASSES)
    best = plain(images).softmax(1).max(1)
    titles = tuple(
        f"{name}: {CLASSES[place]} ({chance:.0%})"
        for name, chance, place in zip("abcd", *map(torch.Tensor.tolist, best), strict=True)
    )
    for net in (plain, ended):
        assert cs.project(net, images, titles=[*"abcd"]).titles == titles
    one, other = (
        cs.invariance(net, images, transform="translation", steps=3) for net in (plain, ended)
    )
    assert (one.probability - other.probability).abs().max() < 1e-12
    both = cs.compare(plain, ended, images)
    assert both.agreement == 1.0
    number = network(outputs=1)
    assert cs.project(number, images, titles=[*"abcd"]).titles == tuple("abcd")
    assert cs.invariance(number, images, transform="rotation", steps=2).probability is None
    assert cs.compare(number, number, images).agreement is None
    found = cs.diagnose(ended, images).accuracy, cs.diagnose(number, images).answered
    assert found == (None, 0)


HEADS = {
    "dict": (lambda z: {"out": z, "aux": {"z": [2 * z, None]}}, ["out", "aux.z.0"]),
    "tuple": (lambda z: (z, 2 * z), ["0", "1"]),
    "dataclass": (lambda z: Scores(z, 2 * z), ["logits", "extra"]),
}


@pytest.mark.parametrize("name", HEADS)
def test_a_head_is_chosen_by_number_and_by_name(name):
    end, paths = HEADS[name]
    plain = network()
    expected = plain(IMAGE)
    for place, path in enumerate(paths):
        for head in (place, path, path.rpartition(".")[2] if name != "dict" else path):
            net = network(end, head=head)
            torch.testing.assert_close(net(IMAGE), (1 + place) * expected)
            assert net.notes == ()
    first = network(end)
    torch.testing.assert_close(first(IMAGE), expected)
    assert first.notes == (f"of the outputs {', '.join(paths)}, the first was taken",)
    assert first.reading(head=1).notes == ()
    torch.testing.assert_close(first.reading(head=1)(IMAGE), 2 * expected)
    with pytest.raises(TraceError, match=f"no output 'loss'.*{paths[0]}, {paths[1]}"):
        network(end, head="loss")
    with pytest.raises(TraceError, match=r"no output 2 \(choose of"):
        network(end, head=2)


def test_wrong_answers_are_named():
    with pytest.raises(TraceError, match="unknown answer 'clases'; did you mean 'classes'"):
        network(answer="clases")
    maps = nn.Conv2d(3, 2, 3).double()
    with pytest.raises(TraceError, match=r"output of shape \[1, 2, 10, 10\] is no row of labels"):
        cs.Network(maps, IMAGE, answer="labels")
    assert cs.Network(maps, IMAGE).answer is None


class Fixed(nn.Module):
    """A network that takes one image at a time, in one way or another."""

    def __init__(self, way: str) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.way, self.conv = way, nn.Conv2d(3, 6, 3, padding=1)
        self.second, self.fc = nn.Conv2d(6, 6, 3), nn.Linear(6, 3)
        self.lstm = nn.LSTM(6, 6, batch_first=True)
        self.norm = nn.BatchNorm2d(6, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.second(self.conv(x).relu()).relu()
        if self.way == "view":
            return self.fc(maps.view(1, 6, -1).mean(2))
        if self.way == "batch norm":  # of the batch's own statistics
            return self.fc(self.norm(maps).relu().mean((2, 3))).softmax(1)
        if self.way == "lstm":
            return self.fc(self.lstm(maps.flatten(2).transpose(1, 2))[0][:, -1])
        return self.fc(maps.squeeze(0).mean((1, 2))[None])


@each_once("way, method", ["view", "batch norm", "lstm", "squeeze"], ["exact", "full"])
def test_a_network_of_one_image_at_a_time_is_occluded_all_the_same(by_windows, way, method):
    module = Fixed(way).double().eval()
    net = cs.Network(module, IMAGE)
    o = cs.occlude(net, IMAGE, layer="second", channel=1, target=1, method=method, **OPTIONS)
    for row in range(3):
        for column in range(3):
            hidden = IMAGE.clone()
            hidden[:, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 0
            with torch.no_grad():
                expected = module(hidden)[0]
                unit = module.second(module.conv(hidden).relu())[0, 1].sum()
            chance = expected[1] if way == "batch norm" else expected.softmax(0)[1]
            assert abs(o.probability[row, column] - chance) < 1e-12
            assert abs(o.activation[row, column] - unit) < 1e-10
