"""The search: `mfsearch.search(space, budget="150M", data="flowers/")` runs one, see `mfsearch.api.search`.

`mfsearch.search` is both this package and the public function, so the package can be called.
"""

import sys

from mfsearch import CallablePackage

sys.modules[__name__].__class__ = CallablePackage
