"""Models by name: from "vgg16", "timm:resnet50", "net.py:make" or "net.pt2" to a network."""

from convscope.models.loading import load

__all__ = ["load"]
