"""The images a search learns from, in memory as uint8. Free of torch; what needs it is in mfsearch.data.augment."""

from mfsearch.data.image_data import DataError, ImageData
from mfsearch.data.load import KNOWN_DATA, load_data

__all__ = ["KNOWN_DATA", "DataError", "ImageData", "load_data"]
