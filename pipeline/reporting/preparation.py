"""What people read of a preparation."""

from pipeline.artefacts.contents import ManifestFacts
from pipeline.artefacts.dataset import LEAKS, REJECTED
from pipeline.sources.clutter import in_words as clutter_in_words


def in_words(facts: ManifestFacts) -> list[str]:
    """Return what a person should know about a data set, from its manifest."""
    sentences = [
        f"{facts.num_images['train']} train and {facts.num_images['val']} val images of"
        f" {facts.num_files} files"
    ]
    if facts.num_rejected or facts.num_unreadable:
        counts = (
            f"{facts.num_rejected} files are left out, {facts.num_unreadable} unreadable val"
            " images count as errors"
        )
        sentences.append(f"{counts}: {REJECTED} names them")
    if facts.left_out:
        sentences.append(clutter_in_words(facts.left_out))
    if facts.num_leaks:
        sentences.append(
            f"{facts.num_leaks} val images are in train too, byte for byte: {LEAKS} names them"
        )
    if facts.verdict is not None:
        sentences.append(facts.verdict)
    return sentences
