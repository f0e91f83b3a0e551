"""What a network is: a graph of operations, traced once; knows no pictures and no files."""

from convscope.network.layers import Layer
from convscope.network.network import Network
from convscope.versions import say_if_untried

__all__ = ["Layer", "Network"]

say_if_untried()  # once a process, before anything is traced
