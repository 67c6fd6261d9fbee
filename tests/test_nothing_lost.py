"""Preprocessing under everything that goes wrong in days of work: kills, crashes, hangs, rivals, full disks, fuzz."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest import mock

import clips
import pandas as pd
import pytest
import workers
from clips import SquareDetector

from dfdc_utils import processing as module
from dfdc_utils.faces import Job, SequenceConfig, extraction, read_faces
from dfdc_utils.processing import processing, read_manifest
from dfdc_utils.workers import WorkerDied, each

# Processes that start in no time, since they are forked from one that has imported the package already.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["workers"])

WHERE = os.pathsep.join(filter(None, sys.path))

Undisturbed = tuple[dict[str, bytes], pd.DataFrame]


@pytest.fixture(autouse=True)
def squares_for_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "work_on", workers.find_squares)


def run(location: Path, target: Path, **more: Any) -> pd.DataFrame:
    return processing(location, target, **workers.SETTINGS | more)


def contents(folder: Path) -> dict[str, bytes]:
    """All that a run leaves but the manifest, which holds the seconds; hidden files included."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.csv"
    }


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips with a face and one file that is none."""
    folder = tmp_path_factory.mktemp("videos")
    for name in ("a", "b", "c"):
        clips.write_clip(folder / f"{name}.mp4", clips.squares(12))
    (folder / "z.mp4").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def undisturbed(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """What an undisturbed run leaves, and its manifest."""
    target = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "work_on", workers.find_squares)
        manifest = run(videos, target)
    assert manifest["status"].tolist() == ["ok", "ok", "ok", "unreadable"]
    return contents(target), manifest.drop(columns="seconds")


def check_complete(target: Path, videos: Path, undisturbed: Undisturbed, **more: Any) -> None:
    """One more run, after which all is as if nothing had happened, byte for byte."""
    manifest = run(videos, target, **more)
    assert contents(target) == undisturbed[0]
    pd.testing.assert_frame_equal(manifest.drop(columns="seconds"), undisturbed[1])
    pd.testing.assert_frame_equal(manifest, read_manifest(target), check_exact=True)


def start(location: Path, target: Path, last: int = -1, **settings: Any) -> tuple[Any, Any]:
    """A run in a process of its own, and its queue of results."""
    results = CONTEXT.SimpleQueue()
    process = CONTEXT.Process(target=workers.process_squares, args=(location, target, results, last, settings))
    with mock.patch.dict(os.environ, PYTHONPATH=WHERE):  # Python 3.11 does not tell its fork server where modules are
        process.start()
    return process, results


# Kills


def test_killed_at_any_moment_the_next_run_completes_it(videos: Path, undisturbed: Undisturbed, tmp_path: Path) -> None:
    process, results = start(videos, tmp_path / "all")
    process.join()
    operations = results.get()
    committed = set()
    for last in range(2, operations, 7):  # all stages of a video come up, since a video takes another number of them
        target = tmp_path / str(last)
        process, _ = start(videos, target, last)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        done = {path.parent.name: path.stat().st_mtime_ns for path in target.glob("[!.]*/faces.json")}
        committed.add(len(done))
        check_complete(target, videos, undisturbed)
        kept = {video: (target / video / "faces.json").stat().st_mtime_ns for video in done}
        assert kept == done, "what was finished is not done again"
    assert committed == {0, 1, 2, 3, 4}, "the kills hit different stages of the work"


@pytest.mark.slow
@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_ended_with_its_workers_can_be_continued(
    videos: Path, undisturbed: Undisturbed, tmp_path: Path, blow: signal.Signals
) -> None:
    """Ctrl-C reaches the whole process group, as does a batch system's kill."""
    target = tmp_path / "faces"
    code = f"import workers; workers.run_until_interrupted({str(videos)!r}, {str(target)!r})"
    environment = os.environ | {"PYTHONPATH": WHERE, "PYTHONWARNINGS": "default"}
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=environment,
    )
    while not (target / "a" / "faces.json").is_file() or len(list(target.glob(".*.partial"))) < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    os.killpg(process.pid, blow)
    output, errors = process.communicate(timeout=60)
    if blow == signal.SIGINT:
        assert output == "1 of 4 videos are done\n"
        assert [line for line in errors.splitlines() if "4 of 4 videos have no label" not in line] == []
        assert not list(target.glob(".*"))
    check_complete(target, videos, undisturbed)


# Workers that die


@pytest.fixture
def poisoned(videos: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "poisoned"
    folder.mkdir()
    for path in videos.iterdir():
        os.link(path, folder / path.name)
    os.link(videos / "a.mp4", folder / "poison.mp4")
    return folder


@pytest.mark.slow
def test_a_video_that_takes_its_worker_down_costs_its_own_row_only(
    poisoned: Path, undisturbed: Undisturbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "faces"
    with monkeypatch.context() as patched:
        patched.setattr(module, "work_on", workers.die_on_poison)
        manifest = run(poisoned, target, workers=2).set_index("video")
    assert manifest.loc["poison", "status"] == "unreadable"
    assert manifest.loc["poison", "error"].startswith("poison.mp4: the process that worked on it ended, or hung")
    assert "The next run tries it again" in manifest.loc["poison", "error"]
    others = manifest.drop(index="poison").drop(columns="seconds").reset_index()
    pd.testing.assert_frame_equal(others.drop(columns=["path", "part"]), undisturbed[1].drop(columns=["path", "part"]))
    assert not list(target.glob(".*"))

    # Whatever it was, it is over: the next run does that video, and it alone.
    again = run(poisoned, target).set_index("video")
    assert again["seconds"].notna().sum() == 1
    assert again.loc["poison", "status"] == "ok"


def test_a_process_that_hangs_ends_itself_whatever_its_other_threads_do() -> None:
    process = CONTEXT.Process(target=workers.hang, args=(0.25,))
    process.start()
    process.join(60)
    assert process.exitcode == 1


def test_a_death_while_overwriting_replaces_the_faces(videos: Path, tmp_path: Path) -> None:
    run(videos, tmp_path)
    other = SequenceConfig(frame_count=5, detector="haar")
    module._record_death(Job("a", videos / "a.mp4", tmp_path, other, None, 60.0, overwrite=True))
    record = read_faces(tmp_path, "a")
    assert (record["status"], record["retry"], record["config"]) == ("unreadable", True, asdict(other))


@pytest.mark.slow
def test_workers_that_die_before_any_video_end_the_run(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "work_on", workers.kill_this)
    with pytest.raises(WorkerDied, match="terminated"):
        run(videos, tmp_path / "faces", workers=2)


def test_a_video_over_its_time_is_tried_again_with_more(videos: Path, undisturbed: Undisturbed, tmp_path: Path) -> None:
    manifest = run(videos, tmp_path / "faces", time_limit=1e-6).set_index("video")
    assert (manifest["status"] == "unreadable").all()
    assert manifest["error"].str.contains(r"timed out after 1e-06 s\. Raise `time_limit`").sum() == 3
    check_complete(tmp_path / "faces", videos, undisturbed)


# Two runs on one folder


def test_two_runs_on_one_folder_at_once(videos: Path, undisturbed: Undisturbed, tmp_path: Path) -> None:
    rivals = [start(videos, tmp_path / "faces") for _ in range(2)]
    assert all(isinstance(results.get(), int) for _, results in rivals)
    for process, _ in rivals:
        process.join()
    pd.testing.assert_frame_equal(read_manifest(tmp_path / "faces").drop(columns="seconds"), undisturbed[1])
    assert contents(tmp_path / "faces") == undisturbed[0]


def test_two_runs_in_threads_of_one_process(
    videos: Path, undisturbed: Undisturbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As two runs on one cluster, whose workers have several threads."""
    monkeypatch.setattr(module, "work_on", extraction.work_on)
    monkeypatch.setattr(extraction, "own_face_detector", lambda name, weights: SquareDetector())
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(run, videos, tmp_path / "faces") for _ in range(2)]
        for finished in runs:
            pd.testing.assert_frame_equal(finished.result().drop(columns="seconds"), undisturbed[1])
    assert contents(tmp_path / "faces") == undisturbed[0]


def test_runs_with_other_videos_that_end_at_once_all_keep_their_rows(tmp_path: Path) -> None:
    SequenceConfig().save(tmp_path / "sequence.json")

    def end(number: int) -> None:
        module._add_to_manifest(tmp_path, {f"{number}": {"video": f"{number}", "problem": "its file is gone"}})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(end, range(8)))
    assert sorted(read_manifest(tmp_path)["video"]) == [f"{number}" for number in range(8)]


def test_workers_are_given_whole_paths(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a cluster may have been started in another folder."""
    jobs = []
    monkeypatch.chdir(videos.parent)
    monkeypatch.setattr(module, "work_on", lambda job: jobs.append(job) or workers.find_nobody(job))
    run(Path(videos.name), Path(os.path.relpath(tmp_path / "faces")))
    assert jobs
    assert all(job.path.is_absolute() and job.target.is_absolute() for job in jobs)


def test_two_runs_with_other_settings_on_one_folder_are_never_mixed(videos: Path, tmp_path: Path) -> None:
    target = tmp_path / "faces"
    rivals = [start(videos, target, frame_count=count) for count in (4, 5)]
    said = [results.get() for _, results in rivals]
    for process, _ in rivals:
        process.join()
    done = [count for count, text in zip((4, 5), said, strict=True) if isinstance(text, int)]
    assert len(done) <= 1
    assert all(isinstance(text, int) or "made with frame_count" in text for text in said)
    if done:
        assert SequenceConfig.load(target / "sequence.json").frame_count == done[0]
        assert {read_faces(target, video)["config"]["frame_count"] for video in "abcz"} == set(done)
    run(videos, target, overwrite=True)
    assert {read_faces(target, video)["config"]["frame_count"] for video in "abcz"} == {4}


# Disks and places


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 128 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user or this machine cannot mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("count", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_full_disk_ends_the_run_and_keeps_what_is_finished(
    videos: Path,
    undisturbed: Undisturbed,
    small_disk: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    count: int,
) -> None:
    monkeypatch.setattr("random.randrange", lambda count: 0)  # where a run begins
    ballast = small_disk / "ballast"
    # A video takes five files and so five pages: there is room for two of them.
    ballast.write_bytes(bytes(128 * 1024 - 12 * 4096))
    with pytest.raises(OSError, match=r"No space left on device.*Free some space and run it again") as caught:
        run(videos, small_disk / "faces", workers=count)
    assert caught.value.errno == 28
    finished = {path.parent.name for path in small_disk.glob("faces/[!.]*/faces.json")}
    assert 0 < len(finished) < 4
    assert not list(small_disk.glob("faces/.*"))
    before = {path: path.stat().st_mtime_ns for path in small_disk.glob("faces/*/faces.json")}
    used = sum(path.stat().st_blocks for path in small_disk.rglob("*")) * 512
    (small_disk / "more").write_bytes(bytes(128 * 1024 - used))
    with pytest.raises(OSError, match=r"^\[Errno 28\] faces cannot be written \(No space left on device\)"):
        run(videos, small_disk / "faces")
    assert not list(small_disk.glob("faces/.*"))
    (small_disk / "more").unlink()
    ballast.unlink()
    check_complete(small_disk / "faces", videos, undisturbed)
    assert {path: path.stat().st_mtime_ns for path in before} == before, "what was finished is kept"


def test_links_in_the_target_are_replaced_and_not_followed(
    videos: Path, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    outside, target = tmp_path / "outside", tmp_path / "faces"
    outside.mkdir()
    target.mkdir()
    (outside / "precious").write_text("mine")
    (target / "a").symlink_to(outside)
    (target / "b").symlink_to(outside / "nowhere")
    (target / "c").write_text("a file in the way")
    check_complete(target, videos, undisturbed)
    assert not any(path.is_symlink() for path in target.rglob("*"))
    assert [path.name for path in outside.iterdir()] == ["precious"]


# Hostile files


def damage(content: bytes, rng: random.Random) -> bytes:
    """Bytes flipped, cut out, doubled, zeroed or set to large numbers; headers more often than the rest."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 2, 8, 64))):
        end = rng.choice((64, 1024, len(data)))
        place = rng.randrange(min(end, len(data)))
        if rng.random() < 0.3:  # an index stands at the end of many files
            place = len(data) - 1 - place
        kind = rng.randrange(5)
        if kind == 0:
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[place : place + 4] = rng.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\0\1\0\0"))
        elif kind == 2:
            data[place : place + rng.randrange(1, 200)] = b""
        elif kind == 3:
            data[place:place] = data[place : place + rng.randrange(1, 200)]
        else:
            length = rng.randrange(1, 200)
            data[place : place + length] = bytes(length)
        if len(data) < 16:
            break
    return bytes(data[: rng.randrange(len(data))] if rng.random() < 0.2 else data)


@pytest.mark.slow
def test_damaged_files_are_rows_whatever_the_damage(tmp_path: Path, fuzz_count: int) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    for name, more in {
        "a.mp4": {"audio": True},
        "b.mkv": {},
        "c.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
        "d.webm": {"codec": "libvpx", "options": {"deadline": "realtime"}},
        "e.mov": {"rotation": 90},
        "f.mpg": {"codec": "mpeg2video"},
    }.items():
        clips.write_clip(whole / name, clips.squares(30), **more)  # type: ignore[arg-type]
    sources = sorted(whole.iterdir())
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(fuzz_count):
        rng = random.Random(number)
        source = sources[number % len(sources)]
        (folder / f"{number:05d}{source.suffix}").write_bytes(damage(source.read_bytes(), rng))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}

    manifest = run(folder, tmp_path / "faces", workers=2, time_limit=20)

    assert len(manifest) == fuzz_count
    assert set(manifest["status"]) <= {"ok", "no_face", "unreadable"}
    assert (manifest["status"] == "unreadable").mean() > 0.2, "the damage is real"
    for row in manifest[manifest["status"] == "unreadable"].itertuples():
        assert Path(row.path).name in row.error
    unexpected = manifest[manifest["error"].str.contains("unexpected|process that worked", regex=True)]
    assert unexpected.empty, unexpected["error"].tolist()
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if "faces" not in path.parts[-4:]}
    assert {path: stamp for path, stamp in after.items() if path.is_file()} == {
        path: stamp for path, stamp in before.items() if path.is_file()
    }, "nothing is written outside of the target"
    assert max(each(workers.peak_memory, range(4), workers=2)) < 1e9


def write_with_header(path: Path, mark: bytes, offset: int, value: bytes, **encoding: Any) -> None:
    """A clip in whose every header that begins with `mark` the bytes at `offset` are `value`."""
    content = bytearray(clips.write_clip(path, clips.squares(30), **encoding).read_bytes())
    place = content.find(mark)
    assert place >= 0
    while place >= 0:
        content[place + offset : place + offset + len(value)] = value
        place = content.find(mark, place + offset + len(value))
    path.write_bytes(content)


@pytest.mark.slow
def test_absurd_sizes_and_durations_in_headers_take_no_memory(tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    huge, endless = b"\xff\xdc\xff\xdc", b"\xff\xff\xff\xff"  # 65,500 by 65,500 pixels; 2^32 - 1 ticks
    write_with_header(folder / "mjpeg.avi", b"\xff\xc0\x00\x11\x08", 5, huge, codec="mjpeg", pix_fmt="yuvj420p")
    write_with_header(folder / "png.avi", b"IHDR", 4, b"\0\0\xea\x60\0\0\xea\x60", codec="png", pix_fmt="rgb24")
    write_with_header(folder / "vp8.webm", b"\x9d\x01\x2a", 3, b"\xff\x3f\xff\x3f", codec="libvpx")
    write_with_header(folder / "avc.mp4", b"avc1\0\0", 28, huge)
    write_with_header(folder / "duration.mp4", b"mvhd", 20, endless)
    write_with_header(folder / "media.mp4", b"mdhd", 20, endless)
    write_with_header(folder / "ticks.mp4", b"stts", 12, endless + b"\0\0\0\1")
    write_with_header(folder / "sizes.mp4", b"stsz", 8, b"\0\0\0\1" + endless)
    results = CONTEXT.SimpleQueue()
    process = CONTEXT.Process(target=workers.measure_folder, args=(folder, tmp_path / "faces", results))
    process.start()
    peak = results.get()
    process.join()
    assert peak < 400e6
    manifest = read_manifest(tmp_path / "faces").set_index("video")
    assert (manifest.loc[["mjpeg", "png", "vp8", "sizes"], "status"] == "unreadable").all()
    assert (manifest.loc[["avc", "duration", "media"], "frames"] == 4).all()
    assert not manifest["error"].str.contains("unexpected").any()


# Scale


@pytest.mark.slow
def test_memory_is_flat_over_thousands_of_videos_and_what_is_there_is_not_done_again(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is done to a video is left out here; `make bench` runs it all, on ten thousand."""
    pages = Path("/proc/self/statm")
    if not pages.is_file():
        pytest.skip("memory is read from /proc, which this system does not have")
    folder = tmp_path / "many" / "dfdc_train_part_0"
    folder.mkdir(parents=True)
    names = [f"{number:05d}.mp4" for number in range(2_000)]
    for name in names:
        os.link(videos / "a.mp4", folder / name)
    listing = {name: {"label": "FAKE", "original": names[0]} for name in names} | {names[0]: {"label": "REAL"}}
    (folder / "metadata.json").write_text(json.dumps(listing))
    memory: list[int] = []

    def find_nobody(job: Job) -> float:
        memory.append(int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
        return workers.find_nobody(job)

    monkeypatch.setattr(module, "work_on", find_nobody)
    manifest = run(folder.parent, tmp_path / "faces")
    assert (manifest["status"] == "no_face").all()
    assert len(manifest) == len(memory) == len(list((tmp_path / "faces").glob("*/faces.json"))) == len(names)
    growth = memory[-1] - memory[500]
    assert growth < 10e6, f"{growth / 1e6:.0f} MB more after {len(names)} videos than after 500"

    again = run(folder.parent, tmp_path / "faces")
    assert len(memory) == len(names)
    assert again["seconds"].isna().all()


# A cluster


@pytest.mark.slow
def test_a_cluster_gives_the_same_manifest_and_outlives_a_death(
    poisoned: Path, undisturbed: Undisturbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distributed = pytest.importorskip("distributed")
    import dask

    monkeypatch.setattr(module, "work_on", workers.die_on_poison)
    monkeypatch.setattr(module, "PATIENCE", 0.1)  # of a time limit of a minute
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),  # else it tries a poison four times itself
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=2, host="127.0.0.1", dashboard_address=":0", silence_logs=50
        ) as local,
    ):
        manifest = run(poisoned, tmp_path / "faces", cluster=local.scheduler_address).set_index("video")
    assert manifest.loc["poison", "error"].startswith("poison.mp4: the process that worked on it ended, or hung")
    others = manifest.drop(index="poison").drop(columns="seconds").reset_index()
    pd.testing.assert_frame_equal(others.drop(columns=["path", "part"]), undisturbed[1].drop(columns=["path", "part"]))
    faces = {name: content for name, content in contents(tmp_path / "faces").items() if "poison" not in name}
    assert faces == undisturbed[0]
