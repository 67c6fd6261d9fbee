"""The embedded sample: synthetic clips in DFDC's own layout, so that the series runs at once and offline."""

from dfdc_utils.sample.build import make_sample
from dfdc_utils.sample.location import find_data, name_data

__all__ = ["find_data", "make_sample", "name_data"]
