"""Make pretrained transformers smaller with PyTorch Lightning, and measure what it cost."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toolkit.models.storage import load

__all__ = ["load"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import ``load`` when it is used: torch and transformers take seconds, which a list of recipes need not cost."""
    if name == "load":
        from toolkit.models.storage import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
