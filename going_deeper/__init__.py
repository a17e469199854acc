"""GoogLeNet, the paper's crops and its exact evaluation, for other people's Python.

Everything here is documented, typed and stable; the packages behind it may change.

Example:
    >>> import going_deeper as gd
    >>> from PIL import Image
    >>> gd.crops(Image.new("RGB", (500, 375))).shape
    (144, 224, 224, 3)
"""

from going_deeper.evaluation import Evaluation, evaluate
from going_deeper.images import crops
from going_deeper.networks import load, load_run
from going_deeper.studies import results, run, verdicts
from pipeline.configs.experiment import load_study
from pipeline.configs.study import Study
from pipeline.errors import ExpectedError, InputError
from pipeline.models.loading import Classifier
from pipeline.paper.googlenet import GoogLeNet

__all__ = [
    "Classifier",
    "Evaluation",
    "ExpectedError",
    "GoogLeNet",
    "InputError",
    "Study",
    "crops",
    "evaluate",
    "load",
    "load_run",
    "load_study",
    "results",
    "run",
    "verdicts",
]
