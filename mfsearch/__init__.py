"""Neural architecture search and design-space explorer for Mobile-Former (arXiv:2108.05895)."""

__version__ = "0.1.0"
