"""Models by name: from "vgg16", "timm:resnet50", "net.py:make" or "net.pt2" to their parts."""
