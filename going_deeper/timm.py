"""`import going_deeper.timm`, and `timm.create_model` knows our networks."""

from pipeline.models.timm_entry import VARIANTS, register_with_timm

__all__ = ["VARIANTS"]
register_with_timm()
