"""Networks of papers, written out here at their full widths; their weights are left undrawn."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def undrawn(make: Callable[[], nn.Module]) -> nn.Module:
    """Return a module whose weights are whatever lay in memory: only its build matters."""
    with torch.device("meta"):
        module = make()
    return module.to_empty(device="cpu").eval()


class Bottleneck(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU()
        self.downsample = None
        if stride > 1 or inputs != 4 * width:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (self.downsample(x) if self.downsample else x))


class ResNet50(nn.Module):
    """He et al., arXiv 1512.03385, table 1, with torchvision's names."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs = 64
        for number, (width, count) in enumerate([(64, 3), (128, 4), (256, 6), (512, 3)], start=1):
            blocks = []
            for place in range(count):
                blocks.append(Bottleneck(inputs, width, 2 if number > 1 and place == 0 else 1))
                inputs = 4 * width
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(2048, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


class ConvNorm(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(x)))


class InceptionModule(nn.Module):
    def __init__(self, inputs: int, widths: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        one, reduce3, three, reduce5, five, pool = widths
        self.branch1 = ConvNorm(inputs, one, 1)
        self.branch2 = nn.Sequential(ConvNorm(inputs, reduce3, 1), ConvNorm(reduce3, three, 3))
        self.branch3 = nn.Sequential(ConvNorm(inputs, reduce5, 1), ConvNorm(reduce5, five, 5))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1), ConvNorm(inputs, pool, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class GoogLeNet(nn.Module):
    """Szegedy et al., arXiv 1409.4842, table 1, without the auxiliary classifiers."""

    MODULES = (
        ("inception3a", 192, (64, 96, 128, 16, 32, 32)),
        ("inception3b", 256, (128, 128, 192, 32, 96, 64)),
        ("inception4a", 480, (192, 96, 208, 16, 48, 64)),
        ("inception4b", 512, (160, 112, 224, 24, 64, 64)),
        ("inception4c", 512, (128, 128, 256, 24, 64, 64)),
        ("inception4d", 512, (112, 144, 288, 32, 64, 64)),
        ("inception4e", 528, (256, 160, 320, 32, 128, 128)),
        ("inception5a", 832, (256, 160, 320, 32, 128, 128)),
        ("inception5b", 832, (384, 192, 384, 48, 128, 128)),
    )

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = ConvNorm(3, 64, 7, 2)
        self.maxpool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2 = ConvNorm(64, 64, 1)
        self.conv3 = ConvNorm(64, 192, 3)
        self.maxpool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        for name, inputs, widths in self.MODULES:
            self.add_module(name, InceptionModule(inputs, widths))
        self.maxpool3 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.maxpool4 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(1024, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool2(self.conv3(self.conv2(self.maxpool1(self.conv1(x)))))
        for name, _, _ in self.MODULES:
            x = getattr(self, name)(x)
            if name == "inception3b":
                x = self.maxpool3(x)
            if name == "inception4e":
                x = self.maxpool4(x)
        return self.fc(self.avgpool(x).flatten(1))


class DenseLayer(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, 128, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(128), nn.Conv2d(128, 32, 3, padding=1, bias=False)

    def forward(self, found: list[Tensor]) -> Tensor:
        x = self.conv1(torch.relu(self.norm1(torch.cat(found, 1))))
        return self.conv2(torch.relu(self.norm2(x)))


class DenseNet(nn.Module):
    """Huang et al., arXiv 1608.06993: one dense block of six layers, between a stem and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv0, self.norm0 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.pool0 = nn.MaxPool2d(3, 2, 1)
        self.layers = nn.ModuleList(DenseLayer(64 + 32 * number) for number in range(6))
        self.norm, self.conv = nn.BatchNorm2d(256), nn.Conv2d(256, 128, 1, bias=False)
        self.classifier = nn.Linear(128, 1000)

    def forward(self, x: Tensor) -> Tensor:
        found = [self.pool0(torch.relu(self.norm0(self.conv0(x))))]
        for layer in self.layers:
            found.append(layer(found))
        x = self.conv(torch.relu(self.norm(torch.cat(found, 1))))
        return self.classifier(x.mean((2, 3)))


class MobileBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        inner = 4 * width
        self.expand = nn.Sequential(nn.Conv2d(width, inner, 1), nn.BatchNorm2d(inner), nn.SiLU())
        self.depthwise = nn.Sequential(
            nn.Conv2d(inner, inner, 3, padding=1, groups=inner), nn.BatchNorm2d(inner), nn.SiLU()
        )
        self.down, self.up = nn.Conv2d(inner, width // 4, 1), nn.Conv2d(width // 4, inner, 1)
        self.project = nn.Sequential(nn.Conv2d(inner, width, 1), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.depthwise(self.expand(x))
        gate = torch.sigmoid(self.up(nn.functional.silu(self.down(y.mean((2, 3), keepdim=True)))))
        return x + self.project(y * gate)


class EfficientNet(nn.Module):
    """Tan & Le, arXiv 1905.11946: three of its inverted residual blocks with their gates."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 24, 3, 2, 1), nn.BatchNorm2d(24), nn.SiLU())
        self.blocks = nn.Sequential(*(MobileBlock(24) for _ in range(3)))
        self.head = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class UNet(nn.Module):
    """Ronneberger et al., arXiv 1505.04597: down four times and up again, with skips."""

    WIDTHS = (64, 128, 256, 512)

    def __init__(self) -> None:
        super().__init__()
        inputs = (3, *self.WIDTHS)
        self.down = nn.ModuleList(
            self._pair(a, b) for a, b in zip(inputs, self.WIDTHS, strict=False)
        )
        self.middle = self._pair(512, 1024)
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, 2) for w in self.WIDTHS[::-1])
        self.merge = nn.ModuleList(self._pair(2 * w, w) for w in self.WIDTHS[::-1])
        self.pool, self.last = nn.MaxPool2d(2), nn.Conv2d(64, 2, 1)

    @staticmethod
    def _pair(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(
            *(nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(outputs, outputs, 3, padding=1), nn.ReLU()),
        )

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for down in self.down:
            kept.append(down(x))
            x = self.pool(kept[-1])
        x = self.middle(x)
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat([kept.pop(), up(x)], 1))
        return self.last(x)


FAMOUS = {
    "resnet50": ResNet50,
    "googlenet": GoogLeNet,
    "densenet": DenseNet,
    "efficientnet": EfficientNet,
    "unet": UNet,
}
