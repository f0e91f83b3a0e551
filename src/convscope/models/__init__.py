"""Models by name: from "vgg16", "timm:resnet50", "net.py:make" or "net.pt2" to their parts.

``loading`` tells what kind of name it is, and asks whoever knows: ``architectures`` and ``bundled``
(convscope's own), ``zoos``, ``factories`` or ``exported``; each gives ``parts``. ``weight_files``
reads files of weights, ``weights`` finds in them what fits a network; ``plain`` networks are those
of the study.
"""
