"""Decoding and resizing on a device, on a processor as a stand-in."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.artefacts.dataset import Split
from pipeline.benchmarks.turns import photograph_shard
from pipeline.configs.crops import CropsConfig
from pipeline.configs.patches import PatchConfig
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError
from pipeline.images import decode as images
from pipeline.images import on_device
from pipeline.models.classify import open_image
from pipeline.models.cutting import Gathered, pack
from pipeline.models.engine import Engine
from pipeline.models.loading import Classifier
from pipeline.paper.googlenet import GoogLeNet
from pipeline.paper.preprocessing import PREPROCESSING
from pipeline.runtime.device import refuse_decoding_without_gpu
from pipeline.training.loader import Patches, training_batches

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    """The two photographs that scikit-learn ships."""
    return Split([photograph_shard(tmp_path_factory.mktemp("shard"), None, 2)])


def as_file(pixels: np.ndarray, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


def test_files_are_decoded_in_order(split: Split) -> None:
    """Whole JPEGs by the device; a grey one, a PNG, and a JPEG that is cut as ever."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    whole = split.encoded(0)
    files = [as_file(noise, "PNG"), whole, as_file(noise[:, :, 0], "JPEG"), split.encoded(1)]
    decoded = on_device.decode(files, CPU)
    for file, pixels in zip(files, decoded, strict=True):
        assert torch.equal(pixels, torch.from_numpy(np.array(images.decode(file))))
    with pytest.raises(images.BadImage):
        on_device.decode([whole, whole[:5000]], CPU)


@pytest.mark.parametrize("sampling", ["inception", "warped"])
def test_patches_are_those_of_the_loader(split: Split, sampling: str) -> None:
    """Within four grey levels of torch's bytes; labels and distortions are the same."""
    config = TrainConfig.model_validate(
        {
            "data": PrepareConfig(source="imagefolder", name="any"),
            "num_epochs": 1,
            "network": {"input_size": 56},
            "global_batch_size": 24,
            "sampling": sampling,
            "photometric": True,
            "patches": PatchConfig(distort_on="device"),
        }
    )
    device = config.but(patches=PatchConfig(distort_on="device", decode_on="device"))
    (by_loader,) = training_batches(config, split, range(1), 0, 1, 0, CPU)
    (by_device,) = training_batches(device, split, range(1), 0, 1, 0, CPU)
    assert torch.equal(by_loader.labels_N, by_device.labels_N)
    assert torch.equal(by_loader.distortions_NP, by_device.distortions_NP)
    assert by_device.pixels_NHWC.shape == (24, 56, 56, 3)
    apart = (by_loader.pixels_NHWC.int() - by_device.pixels_NHWC.int()).abs()
    assert apart.max() <= 4
    assert apart.float().mean() < 0.2
    workers = [*training_batches(device, split, range(1), 0, 1, 2, CPU)]
    assert torch.equal(workers[0].pixels_NHWC, by_device.pixels_NHWC)
    assert Patches(device, split)[0, 0][0].dim() == 1  # the loader has decoded nothing


def test_crops_are_those_of_the_host(split: Split) -> None:
    """Each of the 144 crops within two grey levels."""
    side = 42
    engine = Engine(Classifier(GoogLeNet(3, side, 0.125, aux_heads=()), PREPROCESSING, side), CPU)
    batches = []
    for decode_on in ("host", "device"):
        config = CropsConfig.model_validate({"resize": "torch_bilinear", "decode_on": decode_on})
        image = open_image(split, 0, ("crops_144",), side, config, CPU)
        packed = pack([image], side, pinned=False)
        batches.append(
            torch.cat([b[:n].clone() for b, n in engine.batches([Gathered(engine.pixels, packed)])])
        )
    host, device = batches
    assert len(host) == 144
    std = torch.tensor(PREPROCESSING.std)
    assert ((host - device) * std).abs().max() < 2.01


def test_a_processor_is_no_device() -> None:
    refuse_decoding_without_gpu("host", "cpu")
    refuse_decoding_without_gpu("device", "cuda")
    with pytest.raises(InputError, match="needs a CUDA GPU"):
        refuse_decoding_without_gpu("device", "cpu")


@pytest.mark.parametrize(
    ("config", "fields", "reason"),
    [
        (CropsConfig, {"decode_on": "device"}, "resize pil_bilinear"),
        (PatchConfig, {"decode_on": "device", "scaled_decoding": True}, "decodes whole"),
        (PatchConfig, {"decode_on": "device", "resize": "pil"}, "resizes by torch"),
    ],
)
def test_what_contradicts_is_refused(config: type, fields: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        config(**fields)
