"""What a study says: frozen configs that hold each other, one class a stage.

The configs know pydantic and the paper, and no artefact. An experiment file imports all
it needs from here.
"""

from pipeline.configs.base import Count
from pipeline.configs.blacklist import Blacklist
from pipeline.configs.compare import Arm, CompareConfig, EnsembleConfig, comparison, table3
from pipeline.configs.crops import CropsConfig
from pipeline.configs.evaluate import POLICIES, EvaluateConfig, ForeignConfig, Policies, Policy
from pipeline.configs.network import InitialWeights, NetworkConfig, PixelConfig, Precision
from pipeline.configs.optimizer import LocalSGDConfig
from pipeline.configs.options import Data, DataName, Epochs, Members, Seeds
from pipeline.configs.other_network import OtherNetwork
from pipeline.configs.patches import PatchConfig
from pipeline.configs.prepare import PrepareConfig, name_of
from pipeline.configs.reencode import ReencodeConfig
from pipeline.configs.study import CheckConfig, PublishedRecipe, Study, ablation
from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError

__all__ = [
    "POLICIES",
    "Arm",
    "Blacklist",
    "CheckConfig",
    "CompareConfig",
    "Count",
    "CropsConfig",
    "Data",
    "DataName",
    "EnsembleConfig",
    "Epochs",
    "EvaluateConfig",
    "ForeignConfig",
    "InitialWeights",
    "InputError",
    "LocalSGDConfig",
    "Members",
    "NetworkConfig",
    "OtherNetwork",
    "PatchConfig",
    "PixelConfig",
    "Policies",
    "Policy",
    "Precision",
    "PrepareConfig",
    "PublishedRecipe",
    "ReencodeConfig",
    "Seeds",
    "Study",
    "TrainConfig",
    "ablation",
    "comparison",
    "name_of",
    "table3",
]
