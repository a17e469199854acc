"""How larger training images are stored smaller."""

from pydantic import Field

from pipeline.configs.base import Frozen


class ReencodeConfig(Frozen):
    """Training images whose shorter side is longer are stored smaller, as JPEGs.

    This is `ours`: they are faster to read and decode, but their pixels are not the
    paper's. Validation images always stay as they are.
    """

    # ours: as large as the largest of the paper's scales, at most what a photograph has
    shorter_side: int = Field(default=352, ge=32, le=10_000)
    """Shorter side of the stored images, in pixels."""
    quality: int = Field(default=90, ge=50, le=100)
    """JPEG quality."""
