"""Preprocessing under everything that goes wrong in days of work: kills, crashes, hangs, rivals, full disks, fuzz."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import clips
import numpy as np
import pandas as pd
import pytest
import workers

from dfdc_utils.faces import SequenceConfig, read_faces
from dfdc_utils.processing import STATUSES, processing, processing as module, read_manifest
from dfdc_utils.videos import read_catalog
from dfdc_utils.workers import WorkerDied, each

SETTINGS: dict[str, Any] = {"detector": "haar", "frame_count": 4, "face_size": 32, "num_vids": None}
# Processes that start in no time, since they are forked from one that has imported the package already.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["workers"])


def run(location: Path, target: Path, **more: Any) -> pd.DataFrame:
    return processing(location, target, **{"show_progress": False, "workers": 1} | SETTINGS | more)


def contents(folder: Path) -> dict[str, bytes]:
    """All that a run leaves but the manifest, which holds the seconds; hidden files included."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.csv"
    }


@pytest.fixture(scope="module")
def videos(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six of the sample's clips and one that is none."""
    folder = tmp_path_factory.mktemp("videos")
    catalog = read_catalog(sample)
    for path in catalog.loc[catalog["label"] == "REAL", "path"].head(6):
        os.link(path, folder / Path(path).name)
    (folder / "zzz.mp4").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def undisturbed(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], pd.DataFrame, float]:
    """What an undisturbed run leaves, its manifest, and the seconds that it takes."""
    target = tmp_path_factory.mktemp("undisturbed")
    started = time.perf_counter()
    manifest = run(videos, target)
    return contents(target), manifest.drop(columns="seconds"), time.perf_counter() - started


def check_complete(
    target: Path, videos: Path, undisturbed: tuple[dict[str, bytes], pd.DataFrame, float], **more: Any
) -> None:
    """One more run, after which all is as if nothing had happened, byte for byte."""
    manifest = run(videos, target, **more)
    assert contents(target) == undisturbed[0]
    pd.testing.assert_frame_equal(manifest.drop(columns="seconds"), undisturbed[1])


def start(location: Path, target: Path, **settings: Any) -> tuple[Any, Any]:
    """A run in a process of its own; returns the process and its queue of results once it has begun."""
    started, results = CONTEXT.Event(), CONTEXT.SimpleQueue()
    arguments = (location, target, started, results, SETTINGS | settings)
    process = CONTEXT.Process(target=workers.process_folder, args=arguments)
    process.start()
    assert started.wait(30)
    return process, results


# Kills


def test_killed_at_any_of_twenty_moments_the_next_run_completes_it(
    videos: Path, undisturbed: tuple[dict[str, bytes], pd.DataFrame, float], tmp_path: Path
) -> None:
    moments = np.random.default_rng(0).uniform(0, undisturbed[2], 20)
    committed = []
    for number, moment in enumerate(moments):
        target = tmp_path / str(number)
        process, _ = start(videos, target, workers=1)
        time.sleep(moment)
        process.kill()
        process.join()
        process.close()
        done = {path.parent.name: path.stat().st_mtime_ns for path in target.glob("[!.]*/faces.json")}
        committed.append(len(done))
        check_complete(target, videos, undisturbed)
        kept = {video: (target / video / "faces.json").stat().st_mtime_ns for video in done}
        assert kept == done, "what was finished is not done again"
        shutil.rmtree(target)
    assert len(set(committed)) >= 4, f"the kills must hit different stages of the work: {committed}"


def test_killed_with_all_its_workers(
    videos: Path, undisturbed: tuple[dict[str, bytes], pd.DataFrame, float], tmp_path: Path
) -> None:
    command = ["python", "-m", "dfdc_utils", "process", str(videos), "--save-path", str(tmp_path / "faces")]
    command += ["--detector", "haar", "--frame-count", "4", "--face-size", "32", "--num-vids", "0", "--workers", "2"]
    python = shutil.which("python", path=str(Path(os.sys.executable).parent)) or os.sys.executable
    process = subprocess.Popen(
        [python, *command[1:]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    while not list(tmp_path.glob("faces/[!.]*/faces.json")):
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    check_complete(tmp_path / "faces", videos, undisturbed, workers=2)


# Workers that die


@pytest.fixture
def poisoned(videos: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "poisoned"
    shutil.copytree(videos, folder, copy_function=os.link)
    source = next(path for path in sorted(folder.glob("*.mp4")) if path.stat().st_size)
    os.link(source, folder / "poison.mp4")
    return folder


@pytest.mark.parametrize("work", [workers.die_on_poison, workers.hang_on_poison])
def test_a_video_that_takes_its_worker_down_costs_its_own_row_only(
    poisoned: Path,
    videos: Path,
    undisturbed: tuple[dict[str, bytes], pd.DataFrame, float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    work: Any,
) -> None:
    target = tmp_path / "faces"
    with monkeypatch.context() as patched:
        patched.setattr(module, "work_on", work)
        patched.setattr(module, "PATIENCE", 1000)
        limit = 0.75 if work is workers.hang_on_poison else 60
        manifest = run(poisoned, target, workers=2, time_limit=limit).set_index("video")
    assert manifest.loc["poison", "status"] == "unreadable"
    assert manifest.loc["poison", "error"].startswith("poison.mp4: the process that worked on it ended, or hung")
    assert "The next run tries again" in manifest.loc["poison", "error"]
    others = manifest.drop(index="poison").drop(columns="seconds").reset_index()
    pd.testing.assert_frame_equal(
        others.drop(columns=["path", "part", "error"]), undisturbed[1].drop(columns=["path", "part", "error"])
    )
    assert not list(target.glob(".*"))

    # Whatever it was, it is over: the next run does that video, and it alone.
    again = run(poisoned, target, workers=2).set_index("video")
    assert again["seconds"].notna().sum() == 1
    assert again.loc["poison", "status"] == "ok"


def test_a_process_that_hangs_ends_itself_whatever_its_other_threads_do() -> None:
    process = CONTEXT.Process(target=workers.hang, args=(0.25,))
    process.start()
    process.join(20)
    assert process.exitcode == 1


def test_a_death_while_overwriting_costs_one_row(
    poisoned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(poisoned, tmp_path / "faces")
    monkeypatch.setattr(module, "work_on", workers.die_on_poison)
    manifest = run(poisoned, tmp_path / "faces", workers=2, frame_count=5, overwrite=True).set_index("video")
    assert manifest["error"].str.contains("process that worked").to_dict() == {
        video: video == "poison" for video in manifest.index
    }


def test_workers_that_die_before_any_video_end_the_run(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "work_on", workers.kill_this)
    with pytest.raises(WorkerDied, match="terminated"):
        run(videos, tmp_path / "faces", workers=2)


def test_a_video_over_its_time_is_tried_again_with_more(
    videos: Path, undisturbed: tuple[dict[str, bytes], pd.DataFrame, float], tmp_path: Path
) -> None:
    manifest = run(videos, tmp_path / "faces", time_limit=1e-4).set_index("video")
    assert (manifest["status"] == "unreadable").all()
    assert manifest["error"].str.contains(r"not done after 0\.0001 s\. Allow more time").sum() == len(manifest) - 1
    check_complete(tmp_path / "faces", videos, undisturbed)


# Two runs on one folder


def test_two_runs_on_one_folder_at_once(
    videos: Path, undisturbed: tuple[dict[str, bytes], pd.DataFrame, float], tmp_path: Path
) -> None:
    for number in range(3):
        target = tmp_path / str(number)
        rivals = [start(videos, target, workers=1) for _ in range(2)]
        assert [results.get() for _, results in rivals] == ["done", "done"]
        for process, _ in rivals:
            process.join()
        pd.testing.assert_frame_equal(read_manifest(target).drop(columns="seconds"), undisturbed[1])
        assert contents(target) == undisturbed[0]


def test_two_runs_in_threads_of_one_process(
    videos: Path, undisturbed: tuple[dict[str, bytes], pd.DataFrame, float], tmp_path: Path
) -> None:
    """As two runs on one cluster, whose workers have several threads."""
    for number in range(3):
        with ThreadPoolExecutor(2) as pool:
            runs = [pool.submit(run, videos, tmp_path / str(number)) for _ in range(2)]
            for finished in runs:
                pd.testing.assert_frame_equal(finished.result().drop(columns="seconds"), undisturbed[1])
        assert contents(tmp_path / str(number)) == undisturbed[0]


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
    rivals = [start(videos, target, workers=1, frame_count=count) for count in (4, 5)]
    said = [results.get() for _, results in rivals]
    for process, _ in rivals:
        process.join()
    assert said.count("done") <= 1
    for text in said:
        assert text == "done" or "made with" in text
    if "done" in said:
        config = SequenceConfig.load(target / "sequence.json")
        assert config.frame_count == (4, 5)[said.index("done")]
        made_with = {read_faces(target, video)["config"]["frame_count"] for video in read_manifest(target)["video"]}
        assert made_with == {config.frame_count}
    finished = run(videos, target, frame_count=4, overwrite=True)
    assert {read_faces(target, video)["config"]["frame_count"] for video in finished["video"]} == {4}


# Disks and places


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user or this machine cannot mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_ends_the_run_and_keeps_what_is_finished(
    videos: Path, undisturbed: tuple[dict[str, bytes], pd.DataFrame, float], small_disk: Path, tmp_path: Path
) -> None:
    with pytest.raises(OSError, match=r"No space left on device.*Free some space and run it again") as caught:
        run(videos, small_disk / "faces", workers=2)
    assert caught.value.errno == 28
    finished = {path.parent.name for path in small_disk.glob("faces/[!.]*/faces.json")}
    assert 0 < len(finished) < 7
    assert not list(small_disk.glob("faces/.*.partial"))
    used = sum(path.stat().st_blocks for path in small_disk.rglob("*")) * 512
    (small_disk / "ballast").write_bytes(bytes(64 * 1024 - used))
    with pytest.raises(OSError, match=r"No space left on device.*Free some space"):
        run(videos, small_disk / "faces", workers=1)
    assert not list(small_disk.glob("faces/.*"))
    shutil.copytree(small_disk / "faces", tmp_path / "larger")
    kept = {name: content for name, content in contents(tmp_path / "larger").items() if "/" in name}
    assert kept.items() <= undisturbed[0].items(), "what is there is whole"
    check_complete(tmp_path / "larger", videos, undisturbed)


def test_links_in_the_target_are_replaced_and_not_followed(
    videos: Path, undisturbed: tuple[dict[str, bytes], pd.DataFrame, float], tmp_path: Path
) -> None:
    outside, target = tmp_path / "outside", tmp_path / "faces"
    outside.mkdir()
    target.mkdir()
    (outside / "precious").write_text("mine")
    names = sorted(path.stem for path in videos.glob("*.mp4"))
    (target / names[0]).symlink_to(outside)
    (target / names[1]).symlink_to(outside / "nowhere")
    (target / names[2]).write_text("a file in the way")
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


def test_damaged_files_are_rows_whatever_the_damage(
    tmp_path: Path, fuzz_count: int, undisturbed: tuple[dict[str, bytes], pd.DataFrame, float]
) -> None:
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
    assert set(manifest["status"]) <= set(STATUSES)
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
    arguments = (folder, tmp_path / "faces", results, SETTINGS)
    process = CONTEXT.Process(target=workers.measure_folder, args=arguments)
    process.start()
    peak = results.get()
    process.join()
    assert peak < 400e6
    manifest = read_manifest(tmp_path / "faces").set_index("video")
    assert (manifest.loc[["mjpeg", "png", "vp8", "sizes"], "status"] == "unreadable").all()
    assert (manifest.loc[["avc", "duration", "media"], "frames"] == 4).all()
    assert not manifest["error"].str.contains("unexpected").any()


# Scale


def test_ten_thousand_rows_in_flat_memory_and_checked_again_in_ten_seconds(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is done to a video is left out here; `make bench` runs it all."""
    folder = tmp_path / "many" / "dfdc_train_part_0"
    folder.mkdir(parents=True)
    source = next(path for path in sorted(videos.glob("*.mp4")) if path.stat().st_size)
    names = [f"{number:05d}.mp4" for number in range(10_000)]
    for name in names:
        os.link(source, folder / name)
    listing = {name: {"label": "FAKE", "original": names[0]} for name in names} | {names[0]: {"label": "REAL"}}
    (folder / "metadata.json").write_text(json.dumps(listing))
    target = tmp_path / "faces"

    memory: list[int] = []
    pages = Path("/proc/self/statm")

    def measured(*arguments: Any, **more: Any) -> Iterator[Any]:
        for outcome in each(*arguments, **more):
            if pages.is_file():
                memory.append(int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
            yield outcome

    with monkeypatch.context() as patched:
        patched.setattr(module, "work_on", workers.find_nobody)
        patched.setattr(module, "each", measured)
        manifest = run(folder.parent, target, workers=2)
    assert (manifest["status"] == "no_face").all()
    assert len(manifest) == len(list(target.glob("*/faces.json"))) == 10_000
    if memory:
        growth = memory[-1] - memory[2000]
        assert growth < 20e6, f"{growth / 1e6:.0f} MB more after 10,000 videos than after 2,000"

    started = time.perf_counter()
    again = run(folder.parent, target, workers=2)
    assert time.perf_counter() - started <= 10
    assert again["seconds"].isna().all()


# A cluster


def test_a_cluster_gives_the_same_manifest_and_outlives_a_death(
    poisoned: Path,
    videos: Path,
    undisturbed: tuple[dict[str, bytes], pd.DataFrame, float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=2, host="127.0.0.1", dashboard_address=None, silence_logs=50
    ) as local:
        manifest = run(videos, tmp_path / "faces", cluster=local.scheduler_address)
        pd.testing.assert_frame_equal(manifest.drop(columns="seconds"), undisturbed[1])
        assert contents(tmp_path / "faces") == undisturbed[0]

        monkeypatch.setattr(module, "work_on", workers.die_on_poison)
        manifest = run(poisoned, tmp_path / "again", cluster=local.scheduler_address, time_limit=4).set_index("video")
        assert manifest.loc["poison", "status"] == "unreadable"
        assert (manifest["status"] == "ok").sum() == (undisturbed[1]["status"] == "ok").sum()
