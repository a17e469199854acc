"""The templates of pages and tables, and how they spell numbers."""

import html
import re
import shlex
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from pipeline.artefacts.comparison_facts import ArmRow
from pipeline.artefacts.verdict import Verdict
from pipeline.paper.policies import in_crops, label_of
from pipeline.statistics.levels import MAX_SEEDS, P_FLOOR

AUDIT_TITLES = {
    "totals": "The whole network",
    "neighbours": "Its neighbours",
    "examples": "Worked examples that circulate (weights only)",
    "table3_differences": "Table 3's differences to 1 model, 1 crop, in points",
}


# C0 and C1, line separators, and what turns the direction of writing round
# options whose value is a place on one machine, and what stands for it
PLACES = {"--data": "FOLDER", "--root": "ROOT", "--into": "FOLDER", "--site": "SITE"}
PLACES |= {"--to": "FOLDER", "--weights": "WEIGHTS", "--classes": "CLASSES"}
PLACES |= {"--weights-folder": "FOLDER", "--blacklist": "BLACKLIST"}
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def templates() -> jinja2.Environment:
    """Return the folder `templates`, with filters that spell numbers for people."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline", "reporting/templates"),
        autoescape=jinja2.select_autoescape(["html"]),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=_printable,
    )
    environment.filters.update(
        amount=amount,
        in_crops=in_crops,
        label_of=label_of,
        percent=percent,
        interval=interval,
        quantity=_quantity,
        to_decide=to_decide,
        p_value=p_value,
        markdown=_markdown,
        code=_code,
        portable=_portable,
    )
    return environment


def amount(number: int | None) -> str:
    """Spell a number with the SI's letter for thousands.

    >>> [amount(n) for n in (12, 427_854, 1_582_671_872, None)]
    ['12', '428 k', '1.58 G', 'unknown']
    """
    if number is None:
        return "unknown"
    size, letters = float(number), iter(("", " k", " M", " G", " T"))
    letter = next(letters)
    while size >= 999.5:
        size, letter = size / 1000, next(letters)
    return f"{size:.3g}{letter}"


def _printable(value: Any) -> Any:
    """Take out of a text what would steer a terminal or turn a line round."""
    if not isinstance(value, str):
        return value
    text = CONTROL.sub("", value)
    return Markup(text) if isinstance(value, Markup) else text


def _markdown(text: str) -> str:
    """Spell a text of the user so that Markdown shows it as it is, in one line.

    >>> _markdown("a_b, 5x5: <script>|[x](y)")
    'a_b, 5x5: &lt;script&gt;\\\\|\\\\[x\\\\](y)'
    """
    line = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"([\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", line)


def _code(text: str) -> str:
    """Spell a text as code in Markdown, which may hold backticks.

    >>> _code("a"), _code("a`b")
    ('`a`', '``a`b``')
    """
    line = " ".join(text.split())
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    edge = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{edge}{line}{edge}{fence}"


def _portable(command: str) -> str:
    """Spell a recorded command without the folders of the machine that ran it.

    >>> _portable("going-deeper run /a/mine.py --root /tmp/x --data=/y --seeds 3")
    'going-deeper run mine.py --root ROOT --data=FOLDER --seeds 3'
    """
    words, shown = shlex.split(command), list[str]()
    for word in words:
        option, equals, value = word.partition("=")
        if shown and shown[-1] in PLACES and not word.startswith("-"):
            shown.append(_place(PLACES[shown[-1]], word))
        elif equals and option in PLACES:
            shown.append(f"{option}={_place(PLACES[option], value)}")
        else:
            shown.append(Path(word).name if word.startswith("/") else word)
    return shlex.join(shown)


def _place(name: str, path: str) -> str:
    """Return the name of a place, or a path within this project as it is."""
    return path if path.startswith(("experiments/", "slurm/sites/")) else name


def percent(error: float | None) -> str:
    """Spell a share in per cent; nothing where there is none."""
    return "" if error is None else f"{100 * error:.2f} %"


def interval(bounds: tuple[float, float] | None) -> str:
    """Spell the bounds of an interval in per cent; nothing where there are none."""
    return "" if bounds is None else f"{100 * bounds[0]:.2f} to {100 * bounds[1]:.2f}"


def p_value(p_value: float, of: ArmRow | Verdict, equals: str = "") -> str:
    """Spell a p-value of a verdict or an arm.

    It is an upper bound where no draw of sign flips was as extreme.
    """
    at_floor = of.test == "sign flips" and of.p_value is not None and of.p_value <= P_FLOOR
    return f"{'< ' if at_floor else equals}{p_value:.3g}"


def to_decide(row: ArmRow) -> str:
    """Spell how many seeds or images would decide on a difference as large as this one.

    So many would find it in four of five studies. The text is "-" where there is no
    difference, or where nothing follows as seeds do not vary.
    """
    if row.decision != "undecided" or row.interval is None:
        return "-"
    if abs(row.difference) < 1e-12 or row.interval[1] == 1:
        return "-"
    if row.seeds_to_decide:
        return f"{row.seeds_to_decide:,} seeds"
    if row.images_to_decide:
        return f"{row.images_to_decide:,} images"
    return f"more than {MAX_SEEDS:,} seeds"


def _quantity(value: float | None, kind: str) -> str:
    return (
        ""
        if value is None
        else f"{100 * value:.2f} %"
        if kind == "error"
        else f"{100 * value:+.2f} points"
    )
