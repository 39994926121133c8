"""The published systems that Mobile-Former is compared with."""

from mfsearch.references.published import MOBILE_FORMER, PUBLISHED, Reference

__all__ = ["MOBILE_FORMER", "PUBLISHED", "Reference"]
