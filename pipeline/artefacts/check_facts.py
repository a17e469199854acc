"""What the file of a check holds, beside its verdicts."""

from pipeline.artefacts.facts import Facts, Sealed


class NetworkErrors(Facts):
    """The errors of one member of a study, or of an ensemble, by one policy.

    `counted` are the images that are not on a list that the study names.
    """

    network: str
    policy: str
    num_images: int
    top1_error: float
    top5_error: float
    num_counted: int | None = None
    counted_top1_error: float | None = None
    counted_top5_error: float | None = None


class CheckFacts(Facts):
    """The facts of a check; its verdicts lie in a file of their own."""

    networks: list[NetworkErrors] | None = None  # of the family, or where a list is named


class SealedCheck(Sealed, CheckFacts):
    """The file check.json."""
