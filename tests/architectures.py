"""Small networks of every build, made for the tests; each is what a user might write."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Plain(nn.Module):
    """Convolutions, ReLUs and pools, one after the other, and a classifier."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 6, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(6, 8, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 10, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(10, 12, 3, padding=1),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


class Normalised(nn.Module):
    """Batch norm after each convolution, in-place ReLUs, dropout, a flatten."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 5, stride=2, padding=2, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.act = nn.ReLU()
        self.pool = nn.MaxPool2d(3, 2, padding=1)
        self.conv = nn.Conv2d(6, 8, 3, padding="same")
        self.norm2 = nn.BatchNorm2d(8)
        self.act2 = nn.ReLU()
        self.drop = nn.Dropout(0.5)
        self.average = nn.AdaptiveAvgPool2d(2)
        self.head = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.act(self.norm(self.stem(x))))
        x = self.drop(self.act2(self.norm2(self.conv(x))))
        return self.head(torch.flatten(self.average(x), 1))


class ResidualBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU()
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return self.relu2(y + self.shortcut(x))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.layer1 = nn.Sequential(ResidualBlock(6, 6, 1), ResidualBlock(6, 6, 1))
        self.layer2 = nn.Sequential(ResidualBlock(6, 8, 2), ResidualBlock(8, 8, 1))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer2(self.layer1(self.stem(x)))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Dense(nn.Module):
    """Each layer reads all before it; ReLU comes before the convolution, average pools between."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.relus = nn.ModuleList(nn.ReLU() for _ in range(3))
        self.norms = nn.ModuleList(nn.BatchNorm2d(4 + 3 * i) for i in range(3))
        self.convs = nn.ModuleList(nn.Conv2d(4 + 3 * i, 3, 3, padding=1) for i in range(3))
        self.transition = nn.Conv2d(13, 6, 1)
        self.pool = nn.AvgPool2d(2)
        self.last = nn.Conv2d(6, 5, 3)

    def forward(self, x: Tensor) -> Tensor:
        found = [self.stem(x)]
        for relu, norm, conv in zip(self.relus, self.norms, self.convs, strict=True):
            found.append(conv(relu(norm(torch.cat(found, 1)))))
        return self.last(self.pool(self.transition(torch.cat(found, 1))))


class Inception(nn.Module):
    """Four branches with different kernels, and a pooling branch, joined."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(3, 2))
        self.one = nn.Sequential(nn.Conv2d(6, 3, 1), nn.ReLU())
        self.three = nn.Sequential(
            nn.Conv2d(6, 4, 1), nn.ReLU(), nn.Conv2d(4, 5, (1, 3), padding=(0, 1)), nn.ReLU()
        )
        self.five = nn.Sequential(nn.Conv2d(6, 3, 5, padding=2), nn.ReLU())
        self.pool = nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.Conv2d(6, 2, 1), nn.ReLU())
        self.reduce = nn.Conv2d(13, 7, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.cat([self.one(x), self.three(x), self.five(x), self.pool(x)], 1)
        return self.reduce(x)


class Depthwise(nn.Module):
    """Depthwise and pointwise convolutions, a grouped and a dilated one."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1, groups=8),
            nn.ReLU(),
            nn.Conv2d(8, 12, 1),
            nn.ReLU(),
            nn.Conv2d(12, 8, 3, padding=2, dilation=2, groups=4),
            nn.ReLU(),
            nn.Conv2d(8, 6, (3, 2), stride=(2, 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Strided(nn.Module):
    """No pooling: strides alone shrink the maps, some larger than the kernel's overlap."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 6, 5, 3, 2),
            nn.ReLU(),
            nn.Conv2d(6, 8, 2, 2),
            nn.ReLU(),
            nn.Conv2d(8, 8, 1, 2),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Overlapping(nn.Module):
    """Pools that overlap, are padded, dilated, not square, and of ceil mode."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 6, 3),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.Conv2d(6, 8, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d((3, 2), (2, 1), (1, 0)),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2, 1, dilation=2),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class SqueezeExcite(nn.Module):
    """A gate from the whole map scales each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.relu = nn.ReLU()
        self.down = nn.Conv2d(8, 2, 1)
        self.inner = nn.ReLU()
        self.up = nn.Conv2d(2, 8, 1)
        self.last = nn.Conv2d(8, 6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.conv(x))
        gate = torch.sigmoid(self.up(self.inner(self.down(x.mean((2, 3), keepdim=True)))))
        return self.last(x * gate)


class HourGlass(nn.Module):
    """Down, up again by a transposed convolution and by interpolation, with a skip."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 6, 3, 2, 1)
        self.relu = nn.ReLU()
        self.deep = nn.Conv2d(6, 8, 3, 2, 1)
        self.relu2 = nn.ReLU()
        self.up = nn.ConvTranspose2d(8, 6, 4, 2, 1)
        self.relu3 = nn.ReLU()
        self.last = nn.Conv2d(12, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        shallow = self.relu(self.down(x))
        deep = self.relu3(self.up(self.relu2(self.deep(shallow))))
        joined = torch.cat([deep[:, :, : shallow.shape[2], : shallow.shape[3]], shallow], 1)
        return self.last(F.interpolate(joined, scale_factor=2, mode="nearest"))


class Shuffled(nn.Module):
    """Grouped convolutions with a channel shuffle and a split between them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.relu = nn.ReLU()
        self.branch = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.ReLU())
        self.last = nn.Conv2d(8, 5, 3)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.relu(self.stem(x)).chunk(2, 1)
        x = torch.cat([left, self.branch(right)], 1)
        n, c, h, w = x.shape
        return self.last(x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w))


ARCHITECTURES = {
    "plain": Plain,
    "one channel": lambda: Plain(1),
    "five channels": lambda: Plain(5),
    "batch norm": Normalised,
    "residual": Residual,
    "dense": Dense,
    "inception": Inception,
    "depthwise": Depthwise,
    "strided": Strided,
    "overlapping pools": Overlapping,
    "squeeze-excite": SqueezeExcite,
    "hourglass": HourGlass,
    "shuffled": Shuffled,
}


def build(name: str, seed: int = 0) -> nn.Module:
    """Return a network in float64 with lively weights and batch-norm statistics, evaluating."""
    torch.manual_seed(seed)
    module = ARCHITECTURES[name]().double().eval()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, std=0.3)
            nn.init.uniform_(part.running_var, 0.5, 2.0)
            nn.init.normal_(part.weight)
            nn.init.normal_(part.bias)
    return module


def images_for(module: nn.Module, count: int = 2, size: tuple[int, int] = (21, 26)) -> Tensor:
    """Return random images for a network of :func:`build`, an odd size and not square."""
    first = next(p for p in module.modules() if isinstance(p, nn.Conv2d))
    generator = torch.Generator().manual_seed(1)
    return torch.randn(
        count, first.in_channels, *size, generator=generator, dtype=first.weight.dtype
    )
