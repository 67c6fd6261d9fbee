from __future__ import annotations

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import clips
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from tables import families, table_of

from dfdc_utils.errors import BrokenCatalog
from dfdc_utils.videos import LABELS, balance_classes, list_videos, read_catalog
from dfdc_utils.videos.catalog import COLUMNS, name_data

Listing = dict[str, dict[str, object]]

REAL: dict[str, object] = {"label": "REAL", "split": "train", "original": None}


def fake(original: str | None) -> dict[str, object]:
    return {"label": "FAKE", "split": "train", "original": original}


def make_part(folder: Path, listing: Listing | None, files: list[str] | None = None) -> Path:
    """A DFDC folder whose files hold a byte each: catalogs do not look into videos."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in list(listing or {}) if files is None else files:
        (folder / name).write_bytes(b"x")
    if listing is not None:
        (folder / "metadata.json").write_text(json.dumps(listing), encoding="utf-8")
    return folder


def row_of(catalog: pd.DataFrame, video: str) -> dict[str, str]:
    rows = catalog[catalog["video"] == video].to_dict("records")
    assert len(rows) == 1, f"{video} is in {catalog['video'].tolist()} {len(rows)} times"
    return rows[0]


# Reading


def test_dfdc_layout(tmp_path: Path) -> None:
    make_part(tmp_path / "dfdc_train_part_0", {"aaa.mp4": REAL, "bbb.mp4": fake("aaa.mp4")})
    make_part(tmp_path / "dfdc_train_part_7", {"ccc.mp4": fake("aaa.mp4"), "ddd.mp4": fake("gone.mp4")})
    catalog = read_catalog(tmp_path)
    assert tuple(catalog.columns) == COLUMNS
    assert catalog["video"].tolist() == ["aaa", "bbb", "ccc", "ddd"]
    assert catalog["label"].tolist() == ["REAL", "FAKE", "FAKE", "FAKE"]
    assert catalog["original"].tolist() == ["aaa", "aaa", "aaa", "gone"]
    assert catalog["part"].tolist() == ["dfdc_train_part_0"] * 2 + ["dfdc_train_part_7"] * 2
    assert catalog["path"].tolist()[2] == str(tmp_path / "dfdc_train_part_7" / "ccc.mp4")
    assert (catalog["problem"] == "").all()


def test_one_part_alone_is_named_by_its_folder(tmp_path: Path) -> None:
    part = make_part(tmp_path / "dfdc_train_part_0", {"aaa.mp4": REAL, "bbb.mp4": fake("aaa.mp4")})
    make_part(tmp_path / "dfdc_train_part_1", {"ccc.mp4": REAL})
    catalog = read_catalog(str(part))
    assert catalog["video"].tolist() == ["aaa", "bbb"]
    assert set(catalog["part"]) == {"dfdc_train_part_0"}


def test_without_metadata_videos_are_unlabelled(tmp_path: Path) -> None:
    make_part(tmp_path, None, ["holiday.MP4", "talk.mov", "notes.txt", "face.jpg", "clip.webm"])
    catalog = read_catalog(tmp_path)
    assert catalog["video"].tolist() == ["clip", "holiday", "talk"]
    assert set(catalog["label"]) == {""}
    assert catalog["original"].tolist() == catalog["video"].tolist()
    assert set(catalog["problem"]) == {""}


def test_a_video_that_metadata_does_not_list_is_kept_without_label(tmp_path: Path) -> None:
    make_part(tmp_path, {"aaa.mp4": REAL}, ["aaa.mp4", "extra.mp4"])
    assert row_of(read_catalog(tmp_path), "extra")["label"] == ""


def test_a_part_without_metadata_beside_one_with(tmp_path: Path) -> None:
    make_part(tmp_path / "a", {"aaa.mp4": REAL})
    make_part(tmp_path / "b", None, ["bbb.mp4"])
    assert read_catalog(tmp_path)["label"].tolist() == ["REAL", ""]


@pytest.mark.parametrize(
    "content", [b'{"aaa.mp4": {"label": "RE', b"", b"\xff\xfe\x00broken", b"\xff\xff", b"[" * 10**6]
)
def test_metadata_that_is_broken_is_named(tmp_path: Path, content: bytes) -> None:
    part = make_part(tmp_path / "part", None, ["aaa.mp4"])
    (part / "metadata.json").write_bytes(content)
    with pytest.raises(BrokenCatalog, match=r"metadata\.json") as caught:
        read_catalog(tmp_path)
    assert str(part / "metadata.json") in str(caught.value)
    assert list_videos(tmp_path) == [part / "aaa.mp4"]  # which needs no labels


@pytest.mark.parametrize(
    "content",
    ["[1, 2]", '"text"', "null", '{"aaa.mp4": "REAL"}', '{"aaa.mp4": null}', '{"title": {"text": "Holiday"}}'],
)
def test_metadata_of_other_programs_is_left_out_with_a_word(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    part = make_part(tmp_path / "part", None, ["aaa.mp4"])
    (part / "metadata.json").write_text(content)
    with caplog.at_level("INFO"):
        catalog = read_catalog(tmp_path)
    assert catalog[["label", "problem"]].values.tolist() == [["", ""]]
    assert "metadata.json: ignored, since it is not DFDC's" in caplog.text


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
@pytest.mark.parametrize("label", ["fake", "FAKE", " Fake ", 1, "1"])
def test_labels_are_read_in_any_case_and_encoding(tmp_path: Path, encoding: str, label: object) -> None:
    part = make_part(tmp_path, None, ["aaa.mp4", "bbb.mp4"])
    listed = {"aaa.mp4": {"label": 0}, "C:\\videos\\bbb.mp4": {"label": label, "original": "aaa.mp4"}}
    (part / "metadata.json").write_bytes(json.dumps(listed).encode(encoding))
    catalog = read_catalog(part)
    assert catalog["label"].tolist() == ["REAL", "FAKE"] and set(catalog["original"]) == {"aaa"}
    tests = {"aaa.mp4": {"is_fake": 0}, "bbb.mp4": {"is_fake": 1}}  # as in DFDC's test set
    (part / "metadata.json").write_text(json.dumps(tests))
    assert read_catalog(part)["label"].tolist() == ["REAL", "FAKE"]


def test_known_data_sets_are_recognised_by_their_folders(tmp_path: Path) -> None:
    """As FaceForensics++, with DeepFakeDetection, and Celeb-DF are unpacked; fakes lead to their originals."""
    ff, celeb = tmp_path / "ff", tmp_path / "celeb"
    make_part(ff / "original_sequences/youtube/c23/videos", None, ["033.mp4", "097.mp4"])
    make_part(ff / "original_sequences/actors/c23/videos", None, ["01__exit_phone_room.mp4"])
    make_part(ff / "manipulated_sequences/Face2Face/c23/videos", None, ["033_097.mp4"])
    make_part(ff / "manipulated_sequences/NeuralTextures/c23/videos", None, ["033_097.mp4"])
    make_part(ff / "manipulated_sequences/DeepFakeDetection/c23/videos", None, ["01_02__exit_phone_room__YVGY8LOK.mp4"])
    catalog = read_catalog(ff)
    fakes = catalog[catalog["label"] == "FAKE"]
    assert len(catalog) == 6 and sorted(fakes["original"]) == ["01__exit_phone_room", "033", "033"]
    make_part(ff / "original_sequences/youtube/c40/videos", None, ["033.mp4", "097.mp4"])
    make_part(ff / "manipulated_sequences/Face2Face/c40/videos", None, ["033_097.mp4"])
    make_part(ff / "manipulated_sequences/Face2Face/masks/videos", None, ["033_097.mp4"])
    catalog = read_catalog(ff)
    assert catalog["label"].value_counts().to_dict() == {"REAL": 5, "FAKE": 4, "": 1}  # masks are neither
    of_033 = catalog[catalog["label"].ne("") & catalog["path"].str.contains("/033")]
    assert len(of_033) == 5 and of_033["original"].nunique() == 1, "else a person would be in two parts of a split"
    make_part(celeb / "Celeb-real", None, ["id0_0000.mp4"])
    make_part(celeb / "YouTube-real", None, ["00000.mp4"])
    make_part(celeb / "Celeb-synthesis", None, ["id0_id16_0000.mp4"])
    catalog = read_catalog(celeb)
    assert dict(zip(catalog["video"], catalog["label"], strict=True)) == {
        "00000": "REAL",
        "id0_0000": "REAL",
        "id0_id16_0000": "FAKE",
    }
    assert row_of(catalog, "id0_id16_0000")["original"] == "id0_0000"


def test_labels_come_from_a_table(tmp_path: Path) -> None:
    make_part(tmp_path / "a", None, ["x.mp4", "y.mp4"])
    make_part(tmp_path / "b", None, ["x.mp4"])
    table = tmp_path / "my labels.csv"
    table.write_text("path,label,original\na/x.mp4,real,\nb/x.mp4,1,a/x.mp4\ny.mp4,fake,x.mp4\n")
    catalog = read_catalog(tmp_path, labels=table)
    assert sorted(catalog["label"]) == ["FAKE", "FAKE", "REAL"]
    assert catalog["original"].nunique() == 1, "an original is found by its path, too: else a split would leak"
    table.write_text("filename,label\nz.mp4,1\n")
    with pytest.raises(BrokenCatalog, match=r"names none of the videos.*'z\.mp4'"):
        read_catalog(tmp_path, labels=table)
    table.write_text("video,fake\nz.mp4,1\n")
    with pytest.raises(BrokenCatalog, match="needs path and label"):
        read_catalog(tmp_path, labels=table)
    (tmp_path / "a" / "labels.csv").write_text("filename,label\nx.mp4,0\ny.mp4,1\n")
    assert row_of(read_catalog(tmp_path / "a"), "y")["label"] == "FAKE"


@pytest.mark.parametrize(
    "table",
    [
        "path,label,original\nHERE/a/x.mp4,real,\nHERE/b/y.mp4,fake,a/x.mp4\n",  # from the root
        "label,path,original\nREAL,a\\x.mp4,\nFAKE,b\\y.mp4,a\\x.mp4\n",  # written on Windows
        "video,path,label,original\nx,a/x.mp4,REAL,x\ny,b/y.mp4,FAKE,x\n",  # a manifest
        "video,label,original\nx,0,\ny,1,x\n",  # names without suffix
        "path,label,original\nx.mp4,REAL,,\ny.mp4,FAKE,x.mp4,\n",  # with a comma at the end of each row
        "\ufeffPath, Label, Original\n\nx.mp4, real\ny.mp4, fake,x.mp4\n",
        "path;label;original\nx.mp4;0;\ny.mp4;1;x.mp4\n",  # as some spreadsheets write it
        "path\tlabel\toriginal\nx.mp4\t0\t\ny.mp4\t1\tx.mp4\nx.mp4\treal\t\n",  # and one row twice
    ],
)
def test_tables_of_labels_name_videos_in_many_ways(tmp_path: Path, table: str) -> None:
    make_part(tmp_path / "a", None, ["x.mp4"])
    make_part(tmp_path / "b", None, ["y.mp4"])
    (tmp_path / "t.csv").write_text(table.replace("HERE", str(tmp_path)), encoding="utf-8")
    catalog = read_catalog(tmp_path, labels=tmp_path / "t.csv")
    assert catalog[["video", "label", "original"]].to_numpy().tolist() == [["x", "REAL", "x"], ["y", "FAKE", "x"]]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("path,label\n", r"names none of the videos in .* \[\]"),
        ("", "needs path and label"),
        ("path,label\nx.mp4,0\nx.mp4,1\n", "'x.mp4': two rows that differ, .*REAL.* and .*FAKE.*Remove one"),
        ("path,label\na, b.mp4,REAL\n", "'a': more values than columns. Quote names with commas"),
    ],
)
def test_a_table_that_cannot_be_meant_is_named(tmp_path: Path, table: str, said: str) -> None:
    make_part(tmp_path, None, ["x.mp4"])
    (tmp_path / "t.csv").write_text(table)
    with pytest.raises(BrokenCatalog, match=rf"t\.csv: .*{said}"):
        read_catalog(tmp_path, labels=tmp_path / "t.csv")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_table_may_come_through_a_pipe(tmp_path: Path) -> None:
    """As `--labels <(...)` gives it: it can be read once."""
    make_part(tmp_path, None, ["x.mp4"])
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor(1) as pool:
        pool.submit((tmp_path / "pipe").write_text, "path,label\nx.mp4,1\n")
        assert read_catalog(tmp_path, labels=tmp_path / "pipe")["label"].tolist() == ["FAKE"]


def test_one_bad_entry_or_label_costs_no_other(tmp_path: Path) -> None:
    make_part(tmp_path, {"a.mp4": REAL, "b.mp4": "REAL", "c.mp4": None}, ["a.mp4", "b.mp4", "c.mp4"])  # type: ignore[dict-item]
    catalog = read_catalog(tmp_path)
    assert catalog["label"].tolist() == ["REAL", "REAL", ""]
    assert row_of(catalog, "c")["problem"] == "c.mp4: its label is None, not REAL or FAKE. Correct that entry."
    (tmp_path / "t.csv").write_text("path,label\na.mp4,maybe\n")
    catalog = read_catalog(tmp_path, labels=tmp_path / "t.csv")
    assert "its label is 'maybe'" in row_of(catalog, "a")["problem"]
    (tmp_path / "metadata.json").unlink()
    (tmp_path / "labels.csv").write_text("path,label\ngone.mp4,REAL\n")
    assert "metadata" not in row_of(read_catalog(tmp_path), "gone")["problem"]


def test_videos_of_any_container_are_found_and_the_rest_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = clips.write_clip(tmp_path / "a.mp4", clips.numbered(5))
    for name in ("b.ts", "c.flv", "d.m2ts", "e.ogg", "no suffix", "odd.suffix"):
        (tmp_path / name).write_bytes(source.read_bytes())
    for name in ("._a.mp4", "list.m3u8", "notes.txt", "thumb.jpg"):
        (tmp_path / name).write_bytes(b"#EXTM3U")
    (tmp_path / "unknown.xyz").write_bytes(b"no video")
    with caplog.at_level("INFO"):
        names = [path.name for path in list_videos(tmp_path)]
        catalog = read_catalog(tmp_path)
    assert names == ["a.mp4", "b.ts", "c.flv", "d.m2ts", "e.ogg", "no suffix", "odd.suffix"]
    assert len(catalog) == 7 and "7 videos, 5 files that are no videos" in caplog.text


@pytest.mark.parametrize(
    "name", ["../x.mp4", "/etc/x.mp4", "a\\b.mp4", "sub/x.mp4", "..", ".", "", "x/", "./aaa.mp4", "nul\0.mp4"]
)
def test_names_that_point_elsewhere_are_rows_without_a_path(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.mp4").write_bytes(b"outside")
    make_part(tmp_path / "part" / "sub", None, ["x.mp4"])
    part = make_part(tmp_path / "part", {"aaa.mp4": REAL, name: fake("aaa.mp4")}, ["aaa.mp4"])
    catalog = read_catalog(part)
    assert len(catalog) == 3
    bad = catalog[catalog["problem"] != ""].to_dict("records")
    assert len(bad) == 1
    assert bad[0]["path"] == ""
    assert repr(name) in bad[0]["problem"]
    assert "Correct that entry" in bad[0]["problem"]
    assert str(tmp_path / "x.mp4") not in catalog["path"].tolist()
    assert catalog["video"].is_unique


def test_a_listed_file_that_is_missing_is_a_row(tmp_path: Path) -> None:
    make_part(tmp_path, {"aaa.mp4": REAL, "gone.mp4": fake("aaa.mp4")}, ["aaa.mp4"])
    (tmp_path / "folder.mp4").mkdir()
    row = row_of(read_catalog(tmp_path), "gone")
    assert "the file is not there" in row["problem"]
    assert row["problem"].startswith("gone.mp4: ")
    assert (row["label"], row["original"]) == ("FAKE", "aaa")


@pytest.mark.parametrize("label", ["maybe", "2", 2, None, ["REAL"], {"a": 1}])
def test_a_label_that_dfdc_does_not_know_is_told_and_left_empty(tmp_path: Path, label: object) -> None:
    make_part(tmp_path, {"aaa.mp4": {"label": label}})
    row = row_of(read_catalog(tmp_path), "aaa")
    assert row["label"] == ""
    assert repr(label) in row["problem"]
    assert row["path"] == str(tmp_path / "aaa.mp4")


def test_two_parts_with_one_name_keep_apart_and_resolve_within_their_own(tmp_path: Path) -> None:
    for part in ("part_0", "part_1"):
        make_part(tmp_path / part, {"aaa.mp4": REAL, f"{part}_fake.mp4": fake("aaa.mp4")})
    make_part(tmp_path / "part_2", {"third.mp4": fake("aaa.mp4")})
    catalog = read_catalog(tmp_path)
    assert len(catalog) == 5
    assert catalog["video"].is_unique
    real = catalog[catalog["label"] == "REAL"].set_index("part")["video"]
    assert row_of(catalog, "part_0_fake")["original"] == real["part_0"]
    assert row_of(catalog, "part_1_fake")["original"] == real["part_1"]
    assert row_of(catalog, "third")["original"] in real.tolist()


def test_a_folder_that_another_process_removes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_part(tmp_path / "part_0", {"aaa.mp4": REAL})
    make_part(tmp_path / "model" / ".progress.partial", None, ["bbb.mp4"])
    list_folder = os.scandir

    def meanwhile(folder: str) -> object:
        if str(folder).endswith(".partial"):
            shutil.rmtree(folder)
        return list_folder(folder)

    monkeypatch.setattr(os, "scandir", meanwhile)
    assert read_catalog(tmp_path)["path"].tolist() == [str(tmp_path / "part_0" / "aaa.mp4")]
    with pytest.raises(BrokenCatalog, match=r"nowhere: cannot be read \(No such file"):
        list_videos(tmp_path / "nowhere")


def test_a_part_inside_a_folder_of_the_same_name(tmp_path: Path) -> None:
    outer = make_part(tmp_path / "part_0", {"aaa.mp4": REAL, "bbb.mp4": fake("aaa.mp4")})
    make_part(outer / "part_0", {"aaa.mp4": REAL, "ccc.mp4": fake("aaa.mp4")})
    catalog = read_catalog(outer)
    assert catalog["video"].is_unique
    originals = {Path(row.path).name: row.original for row in catalog.itertuples() if row.label == "FAKE"}
    assert originals["bbb.mp4"] != originals["ccc.mp4"]


def test_ids_that_differ_only_in_case_or_suffix_are_told_apart(tmp_path: Path) -> None:
    make_part(tmp_path, None, ["Clip.mp4", "clip.mp4", "clip.mov", "straße.mp4", "STRASSE.mp4", "other.mp4"])
    catalog = read_catalog(tmp_path)
    assert len(catalog) == 6
    assert catalog["video"].str.casefold().is_unique
    assert row_of(catalog, "other")["path"].endswith("other.mp4")


def test_names_that_are_not_utf8_get_ids_that_are(tmp_path: Path) -> None:
    try:
        make_part(tmp_path, None, ["caf\udce9.mp4", "caf\udce8.mp4"])
    except (OSError, UnicodeError):
        pytest.skip("this file system only takes UTF-8")
    catalog = read_catalog(tmp_path)
    assert catalog["video"].is_unique
    assert [video.encode() for video in catalog["video"]]
    assert sorted(catalog["path"]) == [str(tmp_path / "caf\udce8.mp4"), str(tmp_path / "caf\udce9.mp4")]


@pytest.mark.parametrize("name", ["manifest.csv.mp4", "sequence.json.mp4", "Manifest.CSV.mp4"])
def test_ids_keep_clear_of_the_files_that_lie_beside_their_folders(tmp_path: Path, name: str) -> None:
    make_part(tmp_path, None, [name])
    assert not read_catalog(tmp_path)["video"].str.lower().str.endswith((".csv", ".json")).any()


names = st.one_of(
    st.text(max_size=30).map(lambda text: f"{text}.mp4"),
    st.text(alphabet="aA.-_ /\\\0ßé\n한\udce9", max_size=12).map(lambda text: f"{text}.mp4"),
    st.sampled_from(
        ["a" * 300 + ".mp4", "a" * 301 + ".mp4", "한" * 90 + ".mp4", "..mp4", ".mp4", "...", "a.mov", " .mp4"]
    ),
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(names, min_size=1, max_size=8, unique=True), min_size=1, max_size=3))
def test_ids_are_unique_and_safe_as_folder_names(tmp_path_factory: pytest.TempPathFactory, parts: list) -> None:
    top = tmp_path_factory.mktemp("top")
    for number, listed in enumerate(parts):
        make_part(top / f"part/{number}", dict.fromkeys(listed, REAL), files=[])
    catalog = read_catalog(top)
    assert len(catalog) == sum(map(len, parts))
    assert catalog["video"].str.casefold().is_unique
    for video in catalog["video"]:
        assert video
        assert video == video.strip(". ")
        assert not set('/\\\0\n:*?"<>|') & set(video)
        assert ".." not in video or video.strip(".")
        assert len(video) <= 100
        # Room for the suffix of the partial folder that is renamed into place: file systems allow 255 bytes.
        assert len(f".{video}.4194304.partial".encode()) <= 255
    again = read_catalog(top)
    pd.testing.assert_frame_equal(catalog, again)


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(BrokenCatalog, match="no videos found among 0 files"):
        read_catalog(tmp_path)


@pytest.mark.parametrize(("name", "what"), [("nowhere", "folder not found"), ("file.mp4", "this is a file")])
def test_no_such_folder(tmp_path: Path, name: str, what: str) -> None:
    (tmp_path / "file.mp4").write_bytes(b"x")
    with pytest.raises(BrokenCatalog, match=rf"{name}: {what}"):
        read_catalog(tmp_path / name)


def test_linked_parts_are_read_once_and_loops_end(tmp_path: Path) -> None:
    """DFDC's parts often lie on several disks, brought together by links."""
    make_part(tmp_path / "disk" / "dfdc_train_part_7", {"a.mp4": fake(None) | {"label": "REAL"}}, ["a.mp4"])
    here = tmp_path / "dfdc"
    here.mkdir()
    (here / "dfdc_train_part_7").symlink_to(tmp_path / "disk" / "dfdc_train_part_7")
    (here / "the_same_again").symlink_to(tmp_path / "disk" / "dfdc_train_part_7")
    (here / "loop").symlink_to(here)
    catalog = read_catalog(here)
    assert catalog[["video", "label", "part"]].to_numpy().tolist() == [["a", "REAL", "dfdc_train_part_7"]]


def test_faces_among_the_videos_are_left_out(tmp_path: Path) -> None:
    """A data set's folder holds its parts beside `faces`, `model` and `results`, or `processing` wrote into a part."""
    make_part(tmp_path / "part_0", {"aaa.mp4": REAL})
    make_part(tmp_path / "faces" / "aaa" / "0", None, ["stray.mp4"])
    (tmp_path / "faces" / "aaa" / "faces.json").write_text("{}")
    (tmp_path / "faces" / "sequence.json").write_text("{}")
    make_part(tmp_path / "model", None, ["bbb.mp4", "sequence.json"])
    assert read_catalog(tmp_path)["video"].tolist() == ["aaa", "bbb"]
    make_part(tmp_path / "faces" / "part_1", None, ["ccc.mp4"])
    assert read_catalog(tmp_path / "faces")["video"].tolist() == ["ccc"]


# Choosing


def counts(table: pd.DataFrame) -> tuple[int, int]:
    return tuple((table["label"] == label).sum() for label in LABELS)  # type: ignore[return-value]


@pytest.mark.parametrize(("asked", "each"), [(2, 1), (3, 1), (10, 5), (11, 5), (40, 20), (1000, 20), (None, 20)])
def test_balance_gives_as_many_real_as_fake(asked: int | None, each: int) -> None:
    chosen = balance_classes(families(20, fakes_each=4), asked)
    assert counts(chosen) == (each, each)
    assert chosen["video"].is_unique


def test_balance_keeps_pairs_together() -> None:
    chosen = balance_classes(families(50, fakes_each=3), 20, seed=3)
    assert set(chosen.loc[chosen["label"] == "FAKE", "original"]) == set(
        chosen.loc[chosen["label"] == "REAL", "video"]
    ), "one fake of each chosen original before a second one of any"


def test_balance_is_the_same_for_a_seed_and_another_for_another() -> None:
    table = families(50, fakes_each=2)
    pd.testing.assert_frame_equal(balance_classes(table, 10, seed=1), balance_classes(table, 10, seed=1))
    assert balance_classes(table, 10, seed=1)["video"].tolist() != balance_classes(table, 10, seed=2)["video"].tolist()


def test_balance_takes_unpaired_fakes_where_paired_ones_run_out() -> None:
    table = table_of([("REAL", "v0"), ("REAL", "v1"), ("FAKE", "elsewhere"), ("FAKE", "v0")])
    assert counts(balance_classes(table, 4)) == (2, 2)


def test_balance_of_a_table_without_labels_only_cuts() -> None:
    table = table_of([("", f"v{number}") for number in range(9)])
    assert len(balance_classes(table, 4)) == 4
    assert len(balance_classes(table, 100)) == 9


@pytest.mark.parametrize("label", LABELS)
def test_balance_without_one_class_says_which(label: str) -> None:
    missing = "FAKE" if label == "REAL" else "REAL"
    with pytest.raises(ValueError, match=f"no {missing} video"):
        balance_classes(table_of([(label, f"v{number}") for number in range(5)]), 4)


@pytest.mark.parametrize("asked", [1, 0, -3])
def test_balance_of_less_than_two(asked: int) -> None:
    with pytest.raises(ValueError, match=f"num_vids={asked}"):
        balance_classes(families(5), asked)


@pytest.mark.parametrize(
    ("paths", "drawn", "expected"),
    [
        (["a/x.mp4", "a/y.mp4"], [False, False], ("videos in 1 folder (a)", "recorded")),
        (["a/x.mp4", "b/y.mp4"], None, ("videos in 2 folders (a, b)", "recorded")),
        (
            [f"{n}/x.mp4" for n in range(4)],
            [True, False, False, False],
            ("videos in 3 folders (1, 2, 3), mixed with the embedded synthetic sample", "synthetic"),
        ),
        (["a/x.mp4", "b/y.mp4"], [True, True], ("the embedded synthetic sample", "synthetic")),
        (["", ""], [False, False], ("videos of unknown origin", "recorded")),
    ],
)
def test_data_are_named_by_the_marks_in_their_files(
    paths: list[str], drawn: list[bool] | None, expected: tuple[str, str]
) -> None:
    manifest = pd.DataFrame({"path": paths} | ({"is_synthetic": drawn} if drawn else {}))
    assert name_data(manifest) == expected
