"""Make pretrained transformers smaller with PyTorch Lightning, and measure what it cost."""

__version__ = "0.1.0"
