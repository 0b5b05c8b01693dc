"""What a network is worth and what it costs: scores, size, arithmetic, latency, and reports that compare.

``evaluate``, ``cost`` and ``compare`` do the whole of it for a folder or a network in memory.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toolkit.comparison.library import compare, cost, evaluate

__all__ = ["compare", "cost", "evaluate"]


def __getattr__(name: str) -> Any:
    """Import the library when it is used: it stands above this package, whose parts it puts together."""
    if name in __all__:
        from toolkit.comparison import library

        return getattr(library, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
