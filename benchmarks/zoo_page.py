"""docs/networks.md from the results of `benchmarks/zoo.py`."""


def page(known: dict[str, dict]) -> str:
    return ""
