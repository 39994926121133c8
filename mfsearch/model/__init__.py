"""The networks: MobileFormer(config)."""

from mfsearch.model.mobile_former import MobileFormer

__all__ = ["MobileFormer"]
