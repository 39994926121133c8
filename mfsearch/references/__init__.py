"""Published systems to compare Mobile-Former with."""

from mfsearch.references.published import MOBILE_FORMER, PUBLISHED, Reference

__all__ = ["MOBILE_FORMER", "PUBLISHED", "Reference"]
