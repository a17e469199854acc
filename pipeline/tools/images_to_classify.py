"""The images on which a classifier that was trained elsewhere is measured, and the
class of each of its outputs.
"""

import sys
from pathlib import Path

from pipeline.configs.prepare import VAL as ILSVRC_VAL
from pipeline.configs.prepare import PrepareConfig, name_of
from pipeline.errors import InputError


def images_of(data: Path, classes: Path | None, num_outputs: int | None = None) -> PrepareConfig:
    """Return the config of a folder, named for it: images, or ILSVRC-2012's raw
    validation archive and devkit, which lists the classes.

    Without a list of classes, the folders of images are the classes; where they are
    some of ILSVRC-2012's and the network has 1000 outputs, its list is taken.

    Raises:
        InputError: the file of classes cannot be read, the devkit has them, or they are
            not as many as the network's outputs.
    """
    from pipeline.sources.class_lists import read_classes

    name = name_of(data.resolve(), None, "data")
    if not (data / ILSVRC_VAL).is_file():
        if classes is None:
            names = _of_outputs(data, num_outputs)
        else:
            names, remark = read_classes(classes)
            say(remark)
            if num_outputs not in (None, len(names)):
                raise InputError(
                    f"--classes {classes}: names {len(names)} classes, and the network has"
                    f" {num_outputs} outputs; expected as many, in their order"
                )
        return PrepareConfig(source="labelled_folder", name=name, path=data, classes=names)
    if classes is not None:
        raise InputError(
            f"--classes {classes}: the classes of {data / ILSVRC_VAL} are those of the devkit; go"
            " without"
        )
    return PrepareConfig(source="ilsvrc2012", name=name, path=data, only_val=True)


def _of_outputs(data: Path, num_outputs: int | None) -> tuple[str, ...] | None:
    """Return the classes of a network's outputs, where only the folders' names tell."""
    from pipeline.sources.labelled_folder import class_names
    from pipeline.sources.recognition import synsets

    if num_outputs is None or len(folders := class_names(data)) in (0, num_outputs):
        return None
    usual = synsets()
    if num_outputs == len(usual) and set(folders) <= set(usual):
        say(
            f"{data}: its {len(folders)} classes are of ILSVRC-2012, whose list of {num_outputs} is"
            " taken for the outputs"
        )
        return tuple(usual)
    raise InputError(
        f"{data}: has {len(folders)} classes, and the network has {num_outputs} outputs: give"
        " --classes FILE, the class of each output in order"
    )


def say(text: str) -> None:
    """Tell the user, on stderr; nothing where there is nothing to say."""
    if text:
        print(text, file=sys.stderr, flush=True)
