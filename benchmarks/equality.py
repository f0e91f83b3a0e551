"""ResNet-18 at full size, as one writes it, beside twins edited for the packages that use hooks.

    pip install --no-deps zennit grad-cam
    python benchmarks/equality.py [--rules epsilon ...] [--side 224]

The network has one functional ReLU in all places, which no hook sees; its twin has the same weights
and a module a place, with sums that zennit knows. Of each rule it prints how far relevance is from
zennit's, of each class activation map how far it is from pytorch-grad-cam's, as a share of the
greatest value; both in float64, of random weights with batch norms as after some training.
"""

import argparse
import sys
from importlib import import_module
from pathlib import Path
from unittest.mock import MagicMock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import convscope as cs
from rules import CLASS, RULES, noise, theirs

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from test_relevance import seasoned, without_torchvision

UNUSED = (
    "ttach", "cv2", "sklearn", "sklearn.decomposition", "torchvision", "torchvision.transforms",
    "torchvision.transforms.functional",
)  # fmt: skip
"""What pytorch-grad-cam imports and does not need for these maps."""
CAMS = {
    "grad-cam": "GradCAM", "grad-cam++": "GradCAMPlusPlus", "hires-cam": "HiResCAM",
    "layer-cam": "LayerCAM",
}  # fmt: skip


class Block(nn.Module):
    """Two convolutions and a skip."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = seasoned(nn.BatchNorm2d(outputs, eps=0.0))
        self.relu1 = F.relu
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = seasoned(nn.BatchNorm2d(outputs, eps=0.0))
        self.relu2 = F.relu
        self.shortcut = nn.Sequential()
        if stride > 1:
            projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut.extend([projection, seasoned(nn.BatchNorm2d(outputs, eps=0.0))])

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return self.relu2(self.joined(y, self.shortcut(x)))

    def joined(self, y: Tensor, x: Tensor) -> Tensor:
        return y + x


class ResNet18(nn.Module):
    """He et al., arXiv 1512.03385."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = seasoned(nn.BatchNorm2d(64, eps=0.0))
        self.relu = F.relu
        widths, blocks = (64, 64, 128, 256, 512), []
        for n in range(4):
            blocks += [Block(widths[n], widths[n + 1], 1 + (n > 0)), Block(*[widths[n + 1]] * 2, 1)]
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        return self.fc(self.pool(self.blocks(x)).flatten(1))


def edited(network: ResNet18, kind: type[nn.Module]) -> ResNet18:
    """Return a twin in which hooks find every ReLU, and every sum as a module of some kind."""
    torch.manual_seed(0)
    twin = ResNet18()
    twin.relu = nn.ReLU()
    for block in twin.blocks:
        block.relu1, block.relu2, block.sum = nn.ReLU(), nn.ReLU(), kind()
        block.joined = lambda y, x, block=block: block.sum(torch.stack([y, x], -1))
    twin.load_state_dict(network.state_dict())
    return twin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rules", nargs="*", default=RULES)
    parser.add_argument("--side", type=int, default=224)
    options = parser.parse_args()
    torch.manual_seed(0)
    module = ResNet18().double().eval()
    shape = 1, 3, options.side, options.side
    net = cs.Network(module, shape, preprocess="imagenet")
    image = noise()[:, :, : options.side, : options.side].double()
    with without_torchvision():
        composites = import_module("zennit.composites")
        twin = edited(module, import_module("zennit.layer").Sum).double().eval()
        with torch.no_grad():
            assert torch.equal(twin(image), module(image))
        beside = cs.Network(twin, shape, preprocess="imagenet")
        for rule in options.rules:
            own = cs.attribute(net, image, CLASS, method=rule).pixels[:, 0]
            told(rule, "zennit", own, theirs(composites, beside, rule, image))
    for name in UNUSED:
        sys.modules.setdefault(name, MagicMock())
    peers = import_module("pytorch_grad_cam")
    for method, name in CAMS.items():
        own = cs.attribute(net, image, CLASS, method=method).maps[:, 0]
        told(method, "pytorch-grad-cam", own, their_map(getattr(peers, name), twin, image))


def their_map(kind: type, twin: ResNet18, image: Tensor) -> Tensor:
    """Return a class activation map of the last block, before it is scaled to 0 to 1."""
    layer = twin.blocks[-1]
    with kind(twin, [layer]) as cam:
        score = cam.activations_and_grads(image)[:, CLASS].sum()
        score.backward()
        seen = cam.activations_and_grads
        maps, slopes = seen.activations[0].numpy(), seen.gradients[0].numpy()
        return torch.from_numpy(cam.get_cam_image(image, layer, [], maps, slopes, False)).clamp(
            min=0
        )


def told(name: str, peer: str, own: Tensor, other: Tensor) -> None:
    apart = float((own - other).abs().max() / other.abs().max())
    print(f"{name:26} apart from {peer}'s by {apart:.1e}", flush=True)


if __name__ == "__main__":
    main()
