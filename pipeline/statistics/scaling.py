"""How long a training step takes on so many ranks: a model, fitted to measurements."""

from collections.abc import Sequence
from typing import NamedTuple


class StepTime(NamedTuple):
    """A measurement: ranks, images of each rank, and the seconds of a step."""

    ranks: int
    images: int
    seconds: float


class StepModel(NamedTuple):
    """A step is computed, then its gradient goes round a ring of ranks.

    Each rank sends and receives 2 (n - 1) / n of the gradient's bytes, in 2 (n - 1)
    hops. All constants are seconds: of any step, of an image, of a hop, and of the
    gradient's bytes at the ring's rate.
    """

    start: float
    image: float
    hop: float
    gradient: float

    def seconds(self, ranks: int, images: float, image_times: float = 1.0) -> float:
        """Return the seconds of a step; an image may cost `image_times` as much.

        >>> StepModel(start=0.1, image=0.01, hop=0.0, gradient=0.5).seconds(4, 32)
        1.17
        """
        hops = 2 * (ranks - 1)
        return round(
            self.start
            + images * image_times * self.image
            + hops * self.hop
            + hops / ranks * self.gradient,
            9,
        )


def fit(measured: Sequence[StepTime]) -> StepModel:
    """Return the model of least relative errors, whose constants are not negative.

    What the measurements cannot tell apart is zero: with one batch there is no `start`,
    with one number of ranks no `hop`.
    """
    import numpy as np
    import scipy

    batches, worlds = ({time[k] for time in measured} for k in (1, 0))
    rows = [
        (
            float(len(batches) > 1),
            time.images,
            2.0 * (time.ranks - 1) * (len(worlds - {1}) > 1),
            2.0 * (time.ranks - 1) / time.ranks,
        )
        for time in measured
    ]
    weights = np.array([1 / time.seconds for time in measured])
    constants, _ = scipy.optimize.nnls(np.array(rows) * weights[:, None], np.ones(len(rows)))
    return StepModel(*map(float, constants))
