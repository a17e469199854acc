"""Caffe's GoogLeNet as files for others, in the layout of an export."""

import hashlib
from pathlib import Path

from safetensors.torch import save

from pipeline.configs.network import NetworkConfig, WeightsNote
from pipeline.configs.recipes import CAFFE_PIXELS
from pipeline.errors import InputError
from pipeline.models.caffe import googlenet_weights
from pipeline.models.loading import load_strictly, without_heads
from pipeline.paper.googlenet import AUX_HEADS, GoogLeNet
from pipeline.reporting.front_matter import Licence, front_matter
from pipeline.reporting.wording import templates
from pipeline.sources.class_lists import read_classes
from pipeline.tools.layout import Described, write_layout

# BVLC/caffe, models/bvlc_googlenet/readme.md: the file's SHA-1, and its licence
BVLC_SHA1, BVLC_LICENCE = (
    "405fc5acd08a3bb12de8ee5e23a96bec22f08204",
    Licence("other", "unrestricted"),
)


def convert(file: Path, into: Path, classes: Path | None, licence: str | None = None) -> Path:
    """Write the GoogLeNet of a .caffemodel to the folder `into`, and return it.

    The files are those of an export: model.safetensors, config.json for timm,
    model.onnx and README.md. All weights are the file's, bit for bit.

    Args:
        classes: a file with a class a line, in the order of the outputs.
        licence: an identifier of the Hub; by default BVLC's for its own file (known by
            its SHA-1), or `unknown`.

    Raises:
        InputError: the file is no Caffe model of this network, or the classes are not
            as many as its outputs.
    """
    if file.suffix != ".caffemodel":
        raise InputError(f"{file}: expected a .caffemodel, such as bvlc_googlenet.caffemodel")
    sha1 = hashlib.sha1(file.read_bytes()).hexdigest()
    terms = BVLC_LICENCE if sha1 == BVLC_SHA1 else Licence("unknown")
    if licence is not None:
        terms = Licence.of_weights(licence, "")
    tensors = googlenet_weights(file)
    heads = tuple(each for each in AUX_HEADS if f"aux_heads.{each}.fc.weight" in tensors)
    shape = NetworkConfig.model_validate({"aux_heads": heads})
    num_classes = len(tensors["classifier.weight"])
    load_strictly(GoogLeNet(num_classes, **shape.model_dump()), tensors, file)
    names = () if classes is None else read_classes(classes)[0]
    if names and len(names) != num_classes:
        raise InputError(f"{classes}: names {len(names)} classes; {file} has {num_classes} outputs")
    network = GoogLeNet(num_classes, **shape.but(aux_heads=()).model_dump())
    network.load_state_dict(without_heads(tensors))
    card = (
        templates()
        .get_template("converted_card.md")
        .render(
            file=file.name,
            sha1=sha1,
            is_bvlc=sha1 == BVLC_SHA1,
            heads=heads,
            licence=terms,
            num_classes=num_classes,
        )
    )
    weights = save(tensors, WeightsNote(network=shape, pixels=CAFFE_PIXELS).metadata)
    head = front_matter(f"GoogLeNet of {file.name}", terms)
    described = Described(network, shape, CAFFE_PIXELS, num_classes, names, terms.identifier)
    return write_layout(into, described, weights, head + card)
