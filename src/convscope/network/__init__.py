"""What a network is: a graph of operations, traced once; knows no pictures and no files.

``network`` has the object that every method works on; ``tracing`` makes its ``graph`` of ``calls``,
each with its entry of ``ops``. ``visit`` and ``walk`` go up and down the graph with whole maps,
``windows`` with no more than is needed, by one of ``rules``, or ``relevance``. What is told of a
graph: ``layers``, the ``answer``, ``blocks``, and for drawings ``volumes`` and their ``outline``.
"""

from convscope.network.layers import Layer
from convscope.network.network import Network
from convscope.versions import say_if_untried

__all__ = ["Layer", "Network"]

say_if_untried()  # once a process, before anything is traced
