"""The networks: MobileFormer(config)."""

from mfsearch.model.mobile_former import CLASSIFIER, MobileFormer

__all__ = ["CLASSIFIER", "MobileFormer"]
