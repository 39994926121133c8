"""Published systems to compare Mobile-Former with: `mfsearch.references("LeViT")`, see `mfsearch.api.references`.

`mfsearch.references` is both this package and the public function, so the package can be called.
"""

import sys

from mfsearch import CallablePackage
from mfsearch.references.published import MOBILE_FORMER, PUBLISHED, Reference, find_references

__all__ = ["MOBILE_FORMER", "PUBLISHED", "Reference", "find_references"]

sys.modules[__name__].__class__ = CallablePackage
