"""The images for a search, in memory as uint8. Only mfsearch.data.augment needs torch."""

from mfsearch.data.image_data import DataError, ImageData
from mfsearch.data.load import KNOWN_DATA, load_data

__all__ = ["KNOWN_DATA", "DataError", "ImageData", "load_data"]
