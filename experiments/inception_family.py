"""Published weights of GoogLeNet, its successors and its neighbours, each at its own
size on up to 144 crops, beside what their authors published.

Run:     going-deeper run inception_family --weights-folder inception --data FOLDER
Expect:  the errors in pipeline/paper/family.toml, R7, R8 and from R20 on; a network
         whose file is not in the folder is not run
Cost:    with 144 crops a GPU; --crops 1 suits a CPU
Differs: how crops are cut at 299 px is ours, and most weights are of other trainings
         than the papers'; pipeline/paper/family.toml says whose

The folder `inception` has files by the names that timm, torchvision and Caffe give
them, such as inception_v3.tf_in1k.safetensors (the file model.safetensors of
huggingface.co/timm/inception_v3.tf_in1k), googlenet-1378be20.pth and
bvlc_googlenet.caffemodel. The data are ILSVRC-2012's validation archive and devkit, or
folders of images in the order of the outputs.
"""

from pathlib import Path
from typing import Annotated

from pipeline.configs import Blacklist, Data, DataName, Precision, PrepareConfig, Study, name_of
from pipeline.configs.prepare import VAL
from pipeline.configs.published_weights import MostCrops, study_of_weights


def experiment(
    weights_folder: Annotated[Path, "Where the files of weights lie."],
    data: Data = None,
    name: DataName = None,
    blacklist: Annotated[Path | None, "ILSVRC2014_clsloc_validation_blacklist.txt."] = None,
    crops: Annotated[MostCrops, "The most crops of an image."] = "144",
    precision: Precision = "fp32",
) -> Study:
    if data is None or (data / VAL).is_file():
        called = name_of(data, name, "ilsvrc2012")
        images = PrepareConfig(source="ilsvrc2012", name=called, path=data, only_val=True)
    else:
        images = PrepareConfig(
            source="labelled_folder", name=name_of(data, name, "ilsvrc2012"), path=data
        )
    return study_of_weights(
        "inception_family",
        images,
        weights_folder,
        None if blacklist is None else Blacklist.of(blacklist),
        crops,
        precision,
    )
