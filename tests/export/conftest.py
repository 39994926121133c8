"""timm imports torchvision, which here may be built for another torch than the one that is installed."""

from mfsearch.references.libraries import import_torchvision

import_torchvision()
