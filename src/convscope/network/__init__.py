"""What a network is: a graph of operations, traced once; knows no pictures and no files."""

from convscope.network.layers import Layer
from convscope.network.network import Network

__all__ = ["Layer", "Network"]
