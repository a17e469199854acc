"""No damaged byte is used: every damage to every kind of file is found, and no figure
moves.
"""

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.artefacts.digests import once
from pipeline.artefacts.predictions import Predictions
from pipeline.artefacts.scores import Scores, write_scores
from pipeline.configs.experiment import load_study
from pipeline.configs.study import STUDY_FILE
from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError, StageFailed
from pipeline.stages import evaluate
from tests.commands import Finished, contents, in_process
from tests.faults.campaign import amount

# files that no figure is made from: they say who made what, or are made again
UNSEALED = (
    "locks/",
    "/attempts/",
    "/progress.html",
    "/tracking.json",
    "wandb/",
    "jobs/",
    "/shards/",
)


def flip(share: float) -> Callable[[bytes], bytes]:
    def damage(content: bytes) -> bytes:
        at = min(int(share * len(content)), len(content) - 1)
        return content[:at] + bytes([content[at] ^ 0x15]) + content[at + 1 :]

    return damage


def edit(content: bytes) -> bytes:
    """Change the last digit in a text, as a person would."""
    places = [match.start() for match in re.finditer(rb"[0-8](?=[^0-9a-f])", content)]
    at = places[len(places) // 2] if places else 0
    return content[:at] + bytes([content[at] + 1]) + content[at + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes] | None] = {
    "a byte flipped": flip(0.5),
    "half of it gone": lambda content: content[: len(content) // 2],
    "the first byte flipped": flip(0),
    "the last byte flipped": flip(1),
    "empty": lambda _: b"",
    "a byte more": lambda content: content + b"\n",
    "a digit edited": edit,
    "removed": None,
}


def kinds(root: Path) -> dict[str, Path]:
    """Return one file of each kind, by its name without hashes."""
    return {
        re.sub(r"[0-9a-f]{16}|\d{4,}", "*", path.relative_to(root).as_posix()): path
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def sound(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = finished.copy(tmp_path_factory.mktemp("sound"))
    in_process("report", finished.experiment, "--data", finished.data, "--root", root)
    return root


def outcome(command: str, finished: Finished, root: Path, scratch: Path) -> tuple[int, object]:
    """Return the exit code of a command, and what it shows where it is 0."""
    more = {"report": ["--into", scratch], "publish": ["--to", scratch / "kept"]}.get(command, [])
    ended = in_process(command, finished.experiment, "--data", finished.data, "--root", root, *more)
    assert "Traceback" not in ended.stderr
    assert "a mistake of ours" not in ended.stderr, ended.stderr
    if ended.returncode:
        if command != "verify":
            assert len(ended.stderr.splitlines()) == 1, ended.stderr
        return ended.returncode, ""
    if command == "report":
        return 0, (scratch / "RESULTS.md").read_text().replace(str(root), "ROOT")
    if command == "publish":
        return 0, {p.relative_to(scratch): p.read_bytes() for p in scratch.rglob("*.parquet")}
    return 0, ended.stdout


@pytest.mark.slow
def test_every_damage_is_found_and_no_figure_moves(
    finished: Finished, sound: Path, tmp_path: Path
) -> None:
    """`verify` names each damaged file; the other commands stop, or show what they
    showed before.
    """
    commands = amount(("verify", "recount"), ("verify", "report", "recount", "publish"))
    expected = {c: outcome(c, finished, sound, tmp_path / f"sound-{c}") for c in commands}
    assert {code for code, _ in expected.values()} == {0}
    tries, misses = Counter[str](), list[str]()
    for kind, path in kinds(sound).items():
        is_sealed = not any(part in kind for part in UNSEALED) or kind.endswith(".arrow")
        for name in amount([*DAMAGES][:1], [*DAMAGES]):
            root = tmp_path / "root"
            shutil.copytree(sound, root, symlinks=True)
            victim, damage = root / path.relative_to(sound), DAMAGES[name]
            content = victim.read_bytes()
            if damage is None:
                victim.unlink()
            elif (damaged := damage(content)) != content if content else False:
                victim.write_bytes(damaged)
            else:
                shutil.rmtree(root)
                continue
            tries[kind] += 1
            code, _ = outcome("verify", finished, root, tmp_path)
            # an artefact without its last file is not complete: `run` makes it, as it
            # notes a study again
            gone = damage is None and (is_last_file(path) or path.name == STUDY_FILE)
            if code != 3 and is_sealed and not gone:
                misses.append(f"{kind}, {name}: verify finds nothing")
            for command in commands[1:]:
                shutil.rmtree(scratch := tmp_path / "scratch", ignore_errors=True)
                ended = outcome(command, finished, root, scratch)
                if ended[0] == 0 and ended != expected[command]:
                    misses.append(f"{kind}, {name}: {command} shows another thing")
            shutil.rmtree(root)
    print(f"{tries.total()} damages to {len(tries)} kinds of files")
    assert misses == []
    assert len(tries) >= 20


def is_last_file(path: Path) -> bool:
    return path.suffix == ".json" and "seal" in json.loads(path.read_bytes())


@pytest.fixture
def root(finished: Finished, tmp_path: Path) -> Path:
    return finished.copy(tmp_path)


def run(finished: Finished, root: Path) -> tuple[int, str]:
    ended = in_process(
        "run", finished.experiment, "--data", finished.data, "--root", root, "--processes", 1
    )
    return ended.returncode, ended.stderr


def one(root: Path, pattern: str) -> Path:
    return next(iter(sorted(root.glob(pattern))))


def spoil(path: Path) -> None:
    path.write_bytes(flip(0.5)(path.read_bytes()))


@pytest.mark.parametrize(
    "pattern",
    ["predictions/*/crops_144.safetensors", "results/*/hits.parquet", "results/*/result.json"],
)
def test_run_makes_again_what_is_quick(finished: Finished, root: Path, pattern: str) -> None:
    before, path = contents(root), one(root, pattern)
    spoil(path)
    shutil.rmtree(root / "verdicts")
    for folder in (root / "results").iterdir() if "predictions" in pattern else ():
        shutil.rmtree(folder)
    code, said = run(finished, root)
    assert code == 0, said
    assert f"{path}: is damaged" in said
    assert "it is set aside in" in said
    assert contents(root) == before


def test_damaged_weights_are_refused(finished: Finished, root: Path) -> None:
    """Six bytes changed seven results by up to 0.66."""
    path = one(root, "runs/*/final/model.safetensors")
    content = bytearray(path.read_bytes())
    content[-6:] = bytes(6)
    path.write_bytes(content)
    shutil.rmtree(root / "predictions")
    code, said = run(finished, root)
    assert code == 2
    assert said.splitlines()[-1].endswith(f"remove {path.parents[1]} to make it anew")


def shard(root: Path, split: str) -> Path:
    return one(root, f"datasets/*/shards/*/{split}-00000.arrow")


def test_rewritten_labels_are_refused(finished: Finished, root: Path) -> None:
    path = shard(root, "val")
    table = pa.ipc.open_file(path.read_bytes()).read_all()
    labels = table["label"].to_pylist()[::-1]
    place = table.schema.get_field_index("label")
    changed = table.set_column(place, table.schema.field("label"), pa.array(labels, pa.int64()))
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(changed)
    shutil.rmtree(root / "predictions")
    code, said = run(finished, root)
    assert code == 2
    assert f"{path}: " in said
    assert "--repair makes it again" in said


@pytest.mark.parametrize("split", ["val", "train"])
def test_damaged_pixels_stop_a_stage(finished: Finished, root: Path, split: str) -> None:
    """They count as no error: the evaluation ends with exit code 3."""
    path = shard(root, split)
    content = path.read_bytes()
    at = content.index(b"\xff\xd8\xff\xe0") + 300  # within the first JPEG
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    shutil.rmtree(root / {"val": "predictions", "train": "runs"}[split])
    code, said = run(finished, root)
    assert code == 3, said
    assert "its bytes are not those that were prepared" in said


def test_a_damaged_chunk_is_done_again(
    finished: Finished, root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    study = load_study(finished.experiment, ["--data", str(finished.data)])
    config = study.check.results[0].members[0].but(images_per_chunk=4)
    predictions, before = Predictions(config, root), contents(root)
    shutil.rmtree(root / config.folder)
    evaluate.evaluate_part(config, root, 0, 1)
    chunk = one(root, f"{config.folder}/chunks/*/*.safetensors")
    spoil(chunk)
    evaluate.evaluate(config, root)
    assert f"{chunk}: is damaged; it is done again" in capfd.readouterr().err
    assert contents(root) == before
    assert predictions.probabilities("crops_1").shape == (15, 3)


def test_what_is_no_probability_is_refused(tmp_path: Path) -> None:
    values = np.array([[0.5, 0.5], [1.4e38, 0.5]], np.float32)
    scores = Scores(write_scores(tmp_path / "crops_1.safetensors", values.shape, [values]))
    assert scores[:1].tolist() == [[0.5, 0.5]]
    with pytest.raises(StageFailed, match=r"holds values from 0.5 to 1.4e\+38; expected prob"):
        scores[1:]


def test_a_file_is_read_once_a_process(tmp_path: Path) -> None:
    path, reads = tmp_path / "file", Counter[Path]()

    def read(path: Path) -> bytes:
        reads[path] += 1
        return path.read_bytes()

    path.write_bytes(b"one")
    assert [once(path, read), once(path, read)] == [b"one", b"one"]
    assert reads[path] == 1
    path.write_bytes(b"other")
    assert once(path, read) == b"other"


def test_an_incomplete_input_makes_its_artefacts_incomplete(finished: Finished, root: Path) -> None:
    study = load_study(finished.experiment, ["--data", str(finished.data)])
    assert study.check.is_complete(root)
    member = study.check.results[0].members[0]
    assert isinstance(member.classifier, TrainConfig)
    (root / member.classifier.folder / "run.json").unlink()
    assert not study.check.is_complete(root)
    with pytest.raises(InputError, match="run the train stage first"):
        Predictions(member, root).top1_error()


def test_a_status_names_what_is_damaged(finished: Finished, root: Path) -> None:
    spoil(path := one(root, "runs/*/run.json"))
    shown = in_process("status", finished.experiment, "--data", finished.data, "--root", root)
    assert shown.returncode == 0, shown.stderr
    assert "damaged" in shown.stdout
    assert f"{path}: is damaged" in shown.stdout
