"""Faces packed into a few large TFRecord files, for network file systems on which many small files are slow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from dfdc_utils.faces.config import SequenceConfig
from dfdc_utils.faces.storage import prepare_target, sequence_paths, working_on, write_atomically
from dfdc_utils.quiet import quiet_import

with quiet_import():
    import tensorflow as tf

INDEX = "shards.csv"
SHARD_BYTES = 128 * 2**20  # a thousand default sequences
# Around a record TFRecord writes its length (8 bytes) and a checksum (4) before it, and another checksum after it.
BEFORE, AFTER = 12, 4


def pack_faces(
    table: pd.DataFrame, save_path: str | Path, target: str | Path, *, shard_bytes: int = SHARD_BYTES
) -> Path:
    """Pack the main faces of the videos of `table` into `target`, which then stands for `save_path` in training.

    A record is a `tf.train.Example` with the `video`'s id and its `faces`, the T JPEG files of its sequence.
    `shards.csv` says where each begins, so that any of them can be read in any order. It is written last: a folder
    without it is unfinished. Raises like `sequence_paths`. Taught in notebook 03.
    """
    config = SequenceConfig.load(Path(save_path) / "sequence.json")
    folder = prepare_target(Path(target), what="shards")
    (folder / INDEX).unlink(missing_ok=True)
    rows: list[dict[str, Any]] = []
    videos = list(table["video"])
    while len(rows) < len(videos):
        name = f"faces_{len({row['shard'] for row in rows}):05d}.tfrecord"
        with working_on(folder, name) as partial:
            end = 0
            with tf.io.TFRecordWriter(str(partial / name)) as writer:
                while len(rows) < len(videos) and end < shard_bytes:
                    record = _encode(videos[len(rows)], save_path, config.frame_count)
                    writer.write(record)
                    rows.append(
                        {"video": videos[len(rows)], "shard": name, "offset": end + BEFORE, "bytes": len(record)}
                    )
                    end += BEFORE + len(record) + AFTER
            (partial / name).replace(folder / name)
    config.save(folder / "sequence.json")
    write_atomically(folder / INDEX, pd.DataFrame(rows).to_csv(index=False))
    return folder


def find_records(folder: Path, videos: list[str]) -> tuple[Any, ...] | None:
    """Where the records of `videos` lie, for `read_record`: file, its size, offset and length, each (N,).

    None if the folder holds no shards. Raises `FileNotFoundError` if one of the videos is not in them.
    """
    if not (folder / INDEX).is_file():
        return None
    index = pd.read_csv(folder / INDEX, dtype={"video": str, "shard": str}, keep_default_na=False).set_index("video")
    missing = [video for video in videos if video not in index.index]
    if missing:
        raise FileNotFoundError(f"{missing[0]}: not in the shards in {folder}. Pack them again.")
    sizes = {shard: (folder / shard).stat().st_size for shard in index["shard"].unique()}
    rows = index.loc[videos]
    files = [str(folder / shard) for shard in rows["shard"]]
    columns = (rows["shard"].map(sizes), rows["offset"], rows["bytes"])
    return (tf.constant(files), *(tf.constant(column.to_numpy("int64")) for column in columns))


def read_record(
    file: tf.Tensor, size: tf.Tensor, offset: tf.Tensor, length: tf.Tensor, *, frame_count: int
) -> tf.Tensor:
    """The T JPEG files in one record, string (T,), in a graph."""
    # A file of which all but this record is header and footer: the way to read at an offset without leaving the graph.
    rest = size - offset - length
    record = tf.data.FixedLengthRecordDataset(file, length, header_bytes=offset, footer_bytes=rest).get_single_element()
    features = {"faces": tf.io.FixedLenFeature([frame_count], tf.string)}
    return tf.io.parse_single_example(record, features)["faces"]


def _encode(video: str, save_path: str | Path, frame_count: int) -> bytes:
    faces = [Path(path).read_bytes() for path in sequence_paths(save_path, video, frame_count)]
    features = {
        "video": tf.train.Feature(bytes_list=tf.train.BytesList(value=[video.encode()])),
        "faces": tf.train.Feature(bytes_list=tf.train.BytesList(value=faces)),
    }
    encoded: bytes = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
    return encoded
