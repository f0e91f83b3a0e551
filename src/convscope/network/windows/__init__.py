"""Walks that compute no more than they need: windows of maps instead of the maps.

``relations`` says along one axis which rows an operation reads, ``fields`` follows them through the
graph: from a unit down to the image, and from a patch of it up. ``placement`` is where the windows
of a batch lie. Going down from units, ``cones`` plans and ``cone_descent`` walks; going up from
patches, ``grouping`` plans, and ``windowed`` walks with values, ``differences`` with what changes;
``unit_pass`` goes up to one unit with gradients. ``winograd`` makes their convolutions quick.
"""
