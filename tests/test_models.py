import csv
import io
import json
import sys
import types
import zipfile
from contextlib import suppress
from dataclasses import replace
from enum import Enum
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from convscope.errors import ConvscopeError, ModelError, TraceError
from convscope.images import Preprocess
from convscope.loading import load
from convscope.models.architectures import ARCHITECTURES
from convscope.models.exported import load_exported
from convscope.models.parts import IMAGENET, Parts, imagenet_classes
from convscope.preprocessing import NOT_GIVEN
from convscope.reading import read_image

RANDOM = ("random weights (seed 0)",)


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# --- architectures -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("vgg16", 138_357_544),
        ("vgg16_bn", 138_365_992),
        ("alexnet", 61_100_840),
        ("squeezenet1_1", 1_235_496),
        # 3*96*49 + 96*256*25 + 256*384*9 + 384*384*9 + 384*256*9 weights, 9216*4096 + 4096*4096
        # + 4096*1000, and 96 + 256 + 384 + 384 + 256 + 4096 + 4096 + 1000 biases.
        ("zfnet", 62_357_608),
    ],
)
def test_parameter_counts(name, count):
    with torch.device("meta"):
        assert parameters(ARCHITECTURES[name]()) == count


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("vgg16", {"features.0.weight": [64, 3, 3, 3], "features.28.bias": [512]}),
        ("vgg16_bn", {"features.41.running_var": [512], "classifier.6.weight": [1000, 4096]}),
        ("alexnet", {"features.0.weight": [64, 3, 11, 11], "classifier.1.weight": [4096, 9216]}),
        (
            "squeezenet1_1",
            {"features.12.expand3x3.weight": [256, 64, 3, 3], "classifier.1.bias": [1000]},
        ),
    ],
)
def test_parameter_names_are_torchvisions(name, shapes):
    with torch.device("meta"):
        state = ARCHITECTURES[name]().state_dict()
    assert {key: list(state[key].shape) for key in shapes} == shapes


def test_zfnet_has_the_maps_of_figure_3():
    with torch.device("meta"):
        net, maps = ARCHITECTURES["zfnet"](), torch.empty(1, 3, 224, 224)
    widths = []
    for layer in net.features:
        maps = layer(maps)
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            widths.append((maps.shape[1], maps.shape[-1]))
    assert widths == [
        *((96, 110), (96, 55), (256, 26), (256, 13)),
        *((384, 13), (384, 13), (256, 13), (256, 6)),
    ]


def test_zfnet_normalises_contrast_as_krizhevsky_wrote_it():
    norm = ARCHITECTURES["zfnet"]().features[3]
    maps = torch.rand(1, 96, 1, 1, dtype=torch.float64, generator=torch.manual_seed(3)) * 100
    values = maps.flatten()
    for i in (0, 1, 50, 95):
        total = sum(values[j] ** 2 for j in range(max(0, i - 2), min(95, i + 2) + 1))
        expected = values[i] / (2 + 1e-4 * total) ** 0.75
        assert torch.allclose(norm(maps).flatten()[i], expected)


# --- named networks ----------------------------------------------------------------------------


def test_random_weights_are_seeded_noted_and_leave_the_generator_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    net = load("squeezenet1_1", weights=None, size=(3, 64, 64))
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(1)
    again = load("squeezenet1_1", weights=None, size="3,64,64")
    assert net.notes == again.notes == RANDOM
    left, right = net.module.state_dict(), again.module.state_dict()
    assert all(torch.equal(left[name], right[name]) for name in left)
    assert net.classes == imagenet_classes()
    # He's initialisation: a variance of 2 / fan-in.
    weight = left["features.12.expand3x3.weight"]
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)


def test_classes_are_torchvisions():
    classes = imagenet_classes()
    assert len(classes) == 1000
    assert [classes[i] for i in (0, 134, 281, 639, 999)] == [
        *("tench", "crane bird", "tabby", "maillot tank suit", "toilet tissue")
    ]


def test_size_scales_the_resize_and_checks_the_channels():
    assert Preprocess((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), (224, 224), 256) == IMAGENET
    net = load("squeezenet1_1", None, size="3,112,112")
    assert net.input_shape == (3, 112, 112)
    assert (net.preprocess.size, net.preprocess.resize) == ((112, 112), 128)
    parts = Parts(nn.Identity(), IMAGENET).resized((3, 224, 448))
    assert (parts.preprocess.size, parts.preprocess.resize) == ((224, 448), 512)
    with pytest.raises(ModelError, match="takes 3 channels, not 1"):
        load("squeezenet1_1", None, size="1,112,112")
    for size in ("224", "3,224", "3,x,3", (3, 0, 4)):
        with pytest.raises(ModelError, match="size"):
            load("squeezenet1_1", None, size=size)


def test_a_file_of_weights(tmp_path):
    state = ARCHITECTURES["squeezenet1_1"]().state_dict()
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "w.pth")
    net = load("squeezenet1_1", tmp_path / "w.pth", size="3,64,64")
    assert net.notes == ()
    assert all(torch.equal(v, state[k]) for k, v in net.module.state_dict().items())
    with pytest.raises(ModelError, match=r"w\.pth does not fit the network: missing \d+"):
        load("alexnet", str(tmp_path / "w.pth"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "vgg61",
            r"no model 'vgg61'; did you mean 'vgg16'.*\? \(a model is base, vgg16, .*zfnet, torch",
        ),
        ("nonsense", r"no model 'nonsense' \(a model is"),
        ("", r"no model ''"),
        ("zfnet", r"no published weights of zfnet; pass a file of weights, or 'random'"),
        ("net.py", r"name the function of net\.py.*net\.py:FUNCTION"),
        ("missing.pt2", r"missing\.pt2 does not exist"),
        ("missing.py:make", r"missing\.py does not exist"),
    ],
)
def test_names_that_are_wrong(name, words):
    with pytest.raises(ModelError, match=words) as caught:
        load(name)
    assert "\n" not in str(caught.value)


def test_a_device_that_is_not_there():
    for device in ("nonsense", "cuda:99"):
        with pytest.raises(ModelError, match=f"device '{device}' cannot be used"):
            load("squeezenet1_1", None, device=device)


# --- the real network on real pictures -----------------------------------------------------------


@pytest.fixture(scope="session")
def squeezenet(data):
    return load("squeezenet1_1", data / "squeezenet1_1" / "squeezenet1_1-imagenet.safetensors")


def test_the_real_network_sees_a_cat(squeezenet, photograph):
    best = squeezenet(squeezenet.preprocess(photograph)).argmax(1).item()
    assert squeezenet.notes == ()
    assert squeezenet.classes[best] in {"tabby", "tiger cat", "Egyptian cat"}


def labelled_pictures(data: Path) -> tuple[list[Path], torch.Tensor]:
    folder = data / "imagenet-sample"
    with (folder / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    files = [next(folder.rglob(Path(row["file"]).name)) for row in rows]
    return files, torch.tensor([int(row["class_index"]) for row in rows])


def middle(path: Path) -> Image.Image:
    """The middle 224 pixels, offsets rounded down, as the sample's own figures were measured."""
    picture = read_image(path)
    left, top = (picture.width - 224) // 2, (picture.height - 224) // 2
    return picture.crop((left, top, left + 224, top + 224))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rounded_down", "top_1", "top_5"),
    [
        (True, 313, 416),
        # torchvision rounds a crop's offset to the nearest, half to even: one pixel's difference
        # on pictures of odd length.
        (False, 314, 414),
    ],
)
def test_accuracy_on_the_imagenet_sample(squeezenet, data, rounded_down, top_1, top_5):
    files, labels = labelled_pictures(data)
    assert len(files) == 500
    preprocess = squeezenet.preprocess
    if rounded_down:
        preprocess = replace(preprocess, resize=None)
    hits = torch.zeros(500, 5, dtype=torch.bool)
    with torch.no_grad():
        for start in range(0, 500, 25):
            part = slice(start, start + 25)
            pictures = [middle(file) if rounded_down else file for file in files[part]]
            logits = squeezenet.module.eval()(preprocess.batch(pictures))
            hits[part] = logits.topk(5).indices == labels[part, None]
    assert (int(hits[:, 0].sum()), int(hits.any(1).sum())) == (top_1, top_5)


# --- a user's own file ---------------------------------------------------------------------------

FACTORY = """
import torch
from torch import nn
from neighbour import channels
from convscope.images import Preprocess

def plain():
    return nn.Sequential(nn.Conv2d(3, channels, 3), nn.ReLU())

def grey():
    module = nn.Sequential(nn.Conv2d(1, channels, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
    module(torch.zeros(1, 1, 9, 8))
    module.classes = ["cat", "dog"]
    return module, torch.zeros(1, 1, 9, 8)

def prepared():
    module = plain()
    module.preprocess = Preprocess((0.5,) * 3, (0.25,) * 3, (20, 20), resize=24)
    return module

def constant():
    module = plain()
    nn.init.ones_(module[0].weight)
    return module

def number():
    return 7

def broken():
    raise KeyError("layers")

def too_flat():
    return plain(), torch.zeros(3, 9, 8)

def untraceable():
    class Branching(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x
    return Branching()
"""


@pytest.fixture
def factory_file(tmp_path):
    (tmp_path / "neighbour.py").write_text("channels = 4")
    path = tmp_path / "nets.py"
    path.write_text(FACTORY)
    yield path
    for name in ("neighbour", "convscope_user_nets"):
        sys.modules.pop(name, None)


def test_a_factory(factory_file):
    before = list(sys.path)
    net = load(f"{factory_file}:plain", size="3,12,11")
    assert net.input_shape == (3, 12, 11)
    assert net.name == "nets.py:plain"
    assert net.notes == (NOT_GIVEN,)
    assert net.preprocess == Preprocess.identity(3, (12, 11))
    assert net.classes is None
    assert sys.path == before
    unsaid = load(f"{factory_file}:plain")
    assert unsaid.input_shape == (3, 224, 224)
    assert unsaid.notes[0] == "input of 3×224×224: neither an example nor a size was given"


def test_a_factory_with_an_example_and_classes(factory_file):
    net = load(f"{factory_file}:grey")
    assert net.input_shape == (1, 9, 8)
    assert net.classes == ("cat", "dog")


def test_a_factory_with_its_own_preprocess(factory_file):
    net = load(f"{factory_file}:prepared")
    assert net.preprocess == Preprocess((0.5,) * 3, (0.25,) * 3, (20, 20), resize=24)
    smaller = load(f"{factory_file}:prepared", size="3,10,10")
    assert smaller.preprocess == Preprocess((0.5,) * 3, (0.25,) * 3, (10, 10), resize=12)


def test_a_factorys_weights(factory_file, tmp_path):
    name = f"{factory_file}:plain"
    made, redrawn = (
        load(f"{factory_file}:constant", weights, size="3,8,8") for weights in ("default", None)
    )
    assert made.module[0].weight.unique().tolist() == [1.0]
    assert redrawn.notes == (*RANDOM, NOT_GIVEN)
    assert len(redrawn.module[0].weight.unique()) == 4 * 3 * 3 * 3
    torch.save({"0.weight": torch.ones(4, 3, 3, 3), "0.bias": torch.zeros(4)}, tmp_path / "w.pth")
    filled = load(name, tmp_path / "w.pth", size="3,8,8")
    assert filled.notes == (NOT_GIVEN,)
    assert filled(torch.ones(1, 3, 8, 8)).unique().item() == 27


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("plane", r"nets\.py has no function 'plane'; did you mean 'plain'"),
        ("number", r"must return an nn\.Module, .* not a whole number"),
        ("broken", r"nets\.py:broken failed: KeyError: 'layers'"),
        ("too_flat", r"example must be \[1, C, H, W\], not \[3, 9, 8\]"),
    ],
)
def test_factories_that_are_wrong(factory_file, function, words):
    with pytest.raises(ModelError, match=words):
        load(f"{factory_file}:{function}")


def test_a_factory_that_cannot_be_traced(factory_file):
    with pytest.raises(TraceError):
        load(f"{factory_file}:untraceable", size="3,8,8")


def test_a_file_that_does_not_run(tmp_path):
    (tmp_path / "wrong.py").write_text("def make(:\n")
    with pytest.raises(ModelError, match=r"wrong\.py cannot be run: SyntaxError"):
        load(f"{tmp_path}/wrong.py:make")
    assert "convscope_user_wrong" not in sys.modules


# --- exported programs ---------------------------------------------------------------------------


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.register_buffer("shift", torch.arange(4.0)[:, None, None])
        self.dense = nn.Linear(4, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = torch.relu(self.convolution(images)) + self.shift * torch.tensor([2.0])
        return self.dense(maps.mean((2, 3)).reshape(images.shape[0], -1))


@pytest.fixture
def exported(tmp_path) -> Path:
    batch = torch.export.Dim("batch")
    program = torch.export.export(
        Small().eval(), (torch.rand(2, 3, 9, 8),), dynamic_shapes=({0: batch},), strict=False
    )
    torch.export.save(program, tmp_path / "small.pt2")
    return tmp_path / "small.pt2"


@pytest.mark.filterwarnings("ignore:The given buffer is not writable")  # by torch 2.9's reader
def test_an_exported_program(exported):
    images = torch.rand(3, 3, 9, 8)
    expected = torch.export.load(exported).module()(images)
    program, shape = load_exported(exported)
    assert shape == (3, 9, 8)
    assert torch.equal(program.module()(images), expected)
    net = load(str(exported))
    assert torch.allclose(net(images), expected, atol=1e-6)
    assert net.preprocess == Preprocess.identity(3, (9, 8))
    assert net.name == "small.pt2"
    with pytest.raises(ModelError, match="brings its own weights"):
        load(str(exported), weights=None)


def rewritten(path: Path, change) -> Path:
    """Return a copy of an archive where change(name, content) gave every record's content."""
    copy = path.with_name("changed.pt2")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(copy, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            content = change(name.partition("/")[2], old.read(name))
            if content is not None:
                new.writestr(name, content)
    return copy


def edited_graph(path: Path, edit) -> Path:
    def change(name: str, content: bytes) -> bytes:
        if name != "models/model.json":
            return content
        model = json.loads(content)
        edit(model)
        return json.dumps(model).encode()

    return rewritten(path, change)


class Intruder:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return Path.mkdir, (self.marker,)


def pickled(marker: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save((Intruder(marker),), buffer)
    return buffer.getvalue()


def refused(path: Path, words: str) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        load(str(path))
    assert "\n" not in str(caught.value)


def test_pickles_inside_an_exported_program_are_not_run(exported, tmp_path):
    marker = tmp_path / "marker"

    def sample(name: str, content: bytes) -> bytes:
        return pickled(marker) if name == "data/sample_inputs/model.pt" else content

    def weight(name: str, content: bytes) -> bytes:
        if name == "data/weights/model_weights_config.json":
            config = json.loads(content)
            config["config"]["convolution.weight"]["use_pickle"] = True
            return json.dumps(config).encode()
        return pickled(marker) if name == "data/weights/weight_0" else content

    def constant(name: str, content: bytes) -> bytes:
        if name == "data/constants/model_constants_config.json":
            return content.replace(b'"tensor_0"', b'"opaque_obj_0"')
        return content

    for change in (sample, weight, constant):
        refused(rewritten(exported, change), "is refused: it holds a pickle")
        assert not marker.exists()
    # The first file does what it is feared to do, so the test can fail.
    with suppress(Exception):  # versions of torch differ in whether they complain of the input
        torch.export.load(rewritten(exported, sample))
    assert marker.exists()


def code(marker: Path) -> str:
    return f"__import__('os').mkdir('{marker}')"


def test_code_in_the_texts_of_an_exported_program_is_not_run(exported, tmp_path):
    marker = tmp_path / "marker"

    def expression(model) -> None:
        values = model["graph_module"]["graph"]["tensor_values"]
        values["images"]["sizes"][0]["as_expr"]["expr_str"] = code(marker)

    def guard(model) -> None:
        model["guards_code"].append(code(marker) + " is None")

    def operation(model) -> None:
        model["graph_module"]["graph"]["nodes"][0]["target"] = "torch.os.mkdir"

    def name(model) -> None:
        text = json.dumps(model).replace('"images"', json.dumps(f"images={code(marker)}"))
        model.update(json.loads(text))

    def container(model) -> None:
        signature = model["graph_module"]["module_call_graph"][0]["signature"]
        signature["in_spec"] = signature["in_spec"].replace(
            '"builtins.dict"', '"collections.defaultdict"'
        )

    for edit in (expression, guard, operation, name, container):
        refused(edited_graph(exported, edit), "is refused: it holds .*, which could run code")
        assert not marker.exists()
    with pytest.raises(Exception):  # noqa: B017, PT011 - None is no size
        torch.export.load(edited_graph(exported, expression))
    assert marker.exists()


def test_a_long_text_is_screened_quickly(exported):
    def edit(model) -> None:
        values = model["graph_module"]["graph"]["tensor_values"]
        values["images"]["sizes"][0]["as_expr"]["expr_str"] = "1" * 100_000 + "$"

    refused(edited_graph(exported, edit), "is refused")


def test_compiled_code_and_damaged_archives(exported):
    with zipfile.ZipFile(exported, "a") as archive:
        archive.writestr("small/data/aotinductor/model/net.so", b"\x7fELF")
    refused(exported, "holds compiled code")
    for content in (b"", b"no archive", exported.read_bytes()[:500]):
        exported.write_bytes(content)
        refused(exported, "cannot be read as a .pt2 file")


def test_a_program_of_any_image_size_or_two_inputs(tmp_path):
    class Two(nn.Module):
        def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
            return left + right

    images = torch.rand(2, 3, 9, 8)
    free = torch.export.export(
        nn.Conv2d(3, 4, 3),
        (images,),
        dynamic_shapes=({2: torch.export.Dim("height", min=4, max=64)},),
    )
    torch.export.save(free, tmp_path / "free.pt2")
    refused(tmp_path / "free.pt2", "images of any size")
    torch.export.save(torch.export.export(Two(), (images, images)), tmp_path / "two.pt2")
    refused(tmp_path / "two.pt2", "exactly one batch of images")


# --- zoos ----------------------------------------------------------------------------------------


def tiny() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Interpolation(Enum):
    BICUBIC = "bicubic"


class FakeWeights:
    meta = {"categories": ["a", "b", "c", "d", "e"]}  # noqa: RUF012

    @staticmethod
    def transforms() -> types.SimpleNamespace:
        return types.SimpleNamespace(
            crop_size=[16],
            resize_size=[20],
            mean=[0.1, 0.2, 0.3],
            std=[0.5, 0.6, 0.7],
            interpolation=Interpolation.BICUBIC,
        )


@pytest.fixture
def torchvision(monkeypatch):
    """As much of torchvision as is used, under torchvision's own names (models/_api.py)."""
    calls = []

    def get_model(name: str, **config: object) -> nn.Module:
        calls.append((name, config))
        if name == "offline" and config["weights"]:
            raise OSError("no route to host\nmore")
        return tiny()

    zoo = types.ModuleType("torchvision.models")
    known = ["inception_v3", "offline", "resnet50"]
    zoo.list_models = lambda module: known if module is zoo else []
    zoo.get_model_weights = lambda name: types.SimpleNamespace(DEFAULT=FakeWeights)
    zoo.get_model = get_model
    package = types.ModuleType("torchvision")
    package.models = zoo
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.models", zoo)
    return calls


def test_torchvision(torchvision, tmp_path):
    net = load("torchvision:resnet50")
    assert torchvision == [("resnet50", {"weights": FakeWeights})]
    assert net.preprocess == Preprocess(
        (0.1, 0.2, 0.3), (0.5, 0.6, 0.7), (16, 16), 20, Image.Resampling.BICUBIC
    )
    assert net.classes == ("a", "b", "c", "d", "e")
    assert net.notes == ()
    assert load("torchvision:resnet50", None).notes == RANDOM
    torch.save(tiny().state_dict(), tmp_path / "w.pth")
    assert load("torchvision:inception_v3", tmp_path / "w.pth").notes == ()
    assert torchvision[1:] == [
        ("resnet50", {"weights": None}),
        ("inception_v3", {"weights": None, "transform_input": True, "init_weights": True}),
    ]


def test_torchvision_refusals(torchvision):
    with pytest.raises(ModelError, match="no classifier 'resnet5'; did you mean 'resnet50'"):
        load("torchvision:resnet5")
    with pytest.raises(ModelError, match=r"'offline': no route to host; .*--weights"):
        load("torchvision:offline")


def test_a_zoo_that_is_missing_or_broken(monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.startswith("torchvision")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ModelError, match=r"not installed; .* `pip install torchvision`"):
        load("torchvision:resnet50")
    monkeypatch.delitem(sys.modules, "torchvision")
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text("raise RuntimeError('no operator nms')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match=r"cannot be imported \(no operator nms\)"):
        load("torchvision:resnet50")


@pytest.fixture
def timm(monkeypatch):
    """As much of timm as is used; ``config`` is what its models carry."""
    config = {
        "input_size": (3, 24, 24),
        "crop_pct": 0.9,
        "interpolation": "bicubic",
        "mean": (0.5, 0.5, 0.5),
        "std": (0.2, 0.2, 0.2),
        "num_classes": 5,
        "crop_mode": "center",
    }

    def create_model(name: str, pretrained: bool) -> nn.Module:
        if name.endswith(".nosuchtag"):
            raise RuntimeError("Invalid pretrained tag (nosuchtag) for resnet50.")
        module = nn.Sequential(*tiny(), nn.Linear(5, config["num_classes"]))
        module.pretrained_cfg = config
        return module

    package = types.ModuleType("timm")
    package.is_model = lambda name: name == "resnet50"
    package.list_models = lambda: ["resnet50"]
    package.create_model = create_model
    monkeypatch.setitem(sys.modules, "timm", package)
    return config


def test_timm(timm):
    net = load("timm:resnet50.a1_in1k")
    assert net.preprocess == Preprocess(
        (0.5,) * 3, (0.2,) * 3, (24, 24), 26, Image.Resampling.BICUBIC
    )  # floor(24 / 0.9) is 26
    assert net.classes is None
    assert load("timm:resnet50", None).notes == RANDOM


def test_timm_crops_and_classes(timm):
    timm.update(num_classes=1000, crop_mode="squash", crop_pct=1.0)
    net = load("timm:resnet50")
    assert net.preprocess.resize is None
    assert net.classes == imagenet_classes()
    timm.update(crop_mode="border")
    assert load("timm:resnet50").notes == ("pictures are centre-cropped, not bordered as in timm",)


def test_timm_refusals(timm):
    with pytest.raises(ModelError, match="no model 'resnet5'; did you mean 'resnet50'"):
        load("timm:resnet5")
    with pytest.raises(ModelError, match="Invalid pretrained tag"):
        load("timm:resnet50.nosuchtag")
    timm.update(interpolation="random")
    with pytest.raises(ConvscopeError, match="there is no interpolation 'random'"):
        load("timm:resnet50")


def test_what_is_loaded_is_ready_to_be_called():
    net = load("squeezenet1_1", weights=None, size=(3, 32, 32))
    images = torch.randn(2, 3, 32, 32)
    assert not any(part.training for part in net.module.modules())
    assert torch.equal(net.module(images), net.module(images))  # its dropout is off
