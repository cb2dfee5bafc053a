"""A checkpoint is whole or it is refused, by name of the file that is wrong."""

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from services.trainer.training import checkpoints
from services.trainer.training.checkpoints import MANIFEST, BadCheckpoint, DiskFull, Manifest

MADE = Manifest(
    run_id="run-1",
    attempt=1,
    fence=7,
    step=20,
    total_steps=60,
    data="d",
    model_revision="m",
    recipe="r",
    threads=2,
    dtype="bfloat16",
    device="cpu",
    micro_tokens=768,
    versions={"torch": "2.13.0"},
)
REQUIRED = MADE.required


@pytest.fixture
def staged(tmp_path: Path) -> Path:
    folder = tmp_path / ".staging-7"
    folder.mkdir()
    for name in REQUIRED:
        (folder / name).write_bytes(name.encode() * 50)
    return folder


@pytest.fixture
def committed(staged: Path) -> Path:
    final = staged.parent / "step-20"
    checkpoints.commit(staged, final, MADE)
    return final


def test_what_is_committed_verifies(committed: Path) -> None:
    manifest = checkpoints.verify(committed)
    assert (manifest.step, manifest.fence) == (20, 7)
    assert set(manifest.files) == set(REQUIRED)
    assert manifest.size == sum((committed / name).stat().st_size for name in REQUIRED)


def _remove(file: Path) -> None:
    file.unlink()


def _shorten(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("damage", [_remove, _shorten, _flip])
@pytest.mark.parametrize("name", REQUIRED)
def test_any_damage_to_any_file_is_named(committed: Path, name: str, damage: Callable[[Path], None]) -> None:
    damage(committed / name)
    with pytest.raises(BadCheckpoint, match=name):
        checkpoints.verify(committed)


@pytest.mark.parametrize("name", REQUIRED)
def test_nothing_appears_when_a_required_file_was_not_saved(staged: Path, name: str) -> None:
    (staged / name).unlink()
    with pytest.raises(BadCheckpoint, match=name):
        checkpoints.commit(staged, staged.parent / "step-20", MADE)
    assert checkpoints.newest(staged.parent) == []


def test_a_manifest_that_leaves_a_required_file_out_is_refused(committed: Path) -> None:
    text = (committed / MANIFEST).read_text().replace("optimizer.pt", "optimiser.pt")
    (committed / MANIFEST).write_text(text)
    with pytest.raises(BadCheckpoint, match="seal"):
        checkpoints.verify(committed)


@pytest.mark.parametrize(
    ("was", "becomes"),
    [('"step": 20', '"step": 21'), ('"run-1"', '"run-2"'), ('"seal": "', '"seal": "0'), ("lora", "qqq")],
)
def test_an_altered_manifest_is_refused_though_every_file_is_whole(committed: Path, was: str, becomes: str) -> None:
    text = (committed / MANIFEST).read_text()
    assert was in text
    (committed / MANIFEST).write_text(text.replace(was, becomes))
    with pytest.raises(BadCheckpoint, match="seal"):
        checkpoints.verify(committed)


def test_a_missing_manifest_means_a_save_that_never_ended(committed: Path) -> None:
    (committed / MANIFEST).unlink()
    with pytest.raises(BadCheckpoint, match="never finished"):
        checkpoints.verify(committed)


def test_a_newer_format_is_named_whatever_else_it_holds(committed: Path) -> None:
    (committed / MANIFEST).write_text('{"format": 2, "run": {"id": "run-1"}}')
    with pytest.raises(BadCheckpoint, match="format 2, this version reads 1"):
        checkpoints.verify(committed)


def test_another_runs_checkpoint_is_refused(committed: Path) -> None:
    with pytest.raises(BadCheckpoint, match="belongs to run-1"):
        checkpoints.require_run(checkpoints.verify(committed), "run-2")


@pytest.mark.parametrize(
    ("method", "processes", "needed"),
    [("full", 1, {"model.safetensors", "rng_state.pth"}), ("lora", 2, {"rng_state_0.pth", "rng_state_1.pth"})],
)
def test_a_whole_model_and_several_processes_need_files_of_their_own(
    method: str, processes: int, needed: set[str]
) -> None:
    assert needed <= set(msgspec.structs.replace(MADE, method=method, processes=processes).required)


@pytest.mark.parametrize("text", ["", "{", "[" * 5000, '{"format": 1}'])
def test_a_manifest_that_is_none_is_refused(committed: Path, text: str) -> None:
    (committed / MANIFEST).write_text(text)
    with pytest.raises(BadCheckpoint, match=MANIFEST):
        checkpoints.verify(committed)


def test_a_save_cut_short_leaves_no_checkpoint(staged: Path) -> None:
    assert checkpoints.newest(staged.parent) == []
    assert list(checkpoints.stray(staged.parent)) == [staged]


def test_the_newest_step_comes_first(tmp_path: Path) -> None:
    for name in ("step-9", "step-100", "step-20", "step-x", ".staging-1"):
        (tmp_path / name).mkdir()
    assert [each.name for each in checkpoints.newest(tmp_path)] == ["step-100", "step-20", "step-9"]


def test_the_same_step_saved_again_replaces_the_first(committed: Path, staged: Path) -> None:
    staged.mkdir()
    for name in REQUIRED:
        (staged / name).write_bytes(b"second")
    checkpoints.commit(staged, committed, MADE)
    assert (committed / "optimizer.pt").read_bytes() == b"second"
    checkpoints.verify(committed)


def test_too_little_room_is_told_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(DiskFull, match="free disk"):
        checkpoints.require_room(tmp_path, 2**60)
    checkpoints.require_room(tmp_path, 1)
