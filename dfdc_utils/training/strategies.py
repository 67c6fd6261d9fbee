"""Where training computes: one device, the GPUs or logical CPUs of a machine, or several machines."""

import contextlib
import json
import os
from collections.abc import Iterator
from typing import Any

from dfdc_utils.quiet import tf
from dfdc_utils.sequences import Plan, Store, make_batches

# MirroredStrategy logs each variable and each reduction.
tf.get_logger().setLevel("ERROR")


class WorkerLost(RuntimeError):
    """Another worker of this training died. Started again, all workers continue from the last state saved."""


def choose_strategy(replicas: int | None = None) -> tf.distribute.Strategy:
    """Choose the strategy for this machine: `MirroredStrategy` over all GPUs, else one device.

    `replicas` asks for that number of devices: GPUs if there are as many, else logical CPUs, so that replicas can be
    tried without a GPU. If `TF_CONFIG` names several workers, it is `MultiWorkerMirroredStrategy` over all their
    devices: start the same program on each, with access to the same folders. Raises `ValueError` if `replicas` is not
    positive or `TF_CONFIG` cannot be read, `RuntimeError` if it is too late for logical CPUs.
    Source of the format: https://www.tensorflow.org/guide/distributed_training. Taught in notebook 04.
    """
    if replicas is not None and replicas < 1:
        raise ValueError(f"replicas={replicas}: at least one device is needed")
    if workers_in_tf_config() > 1:
        if replicas is not None:
            raise ValueError("TF_CONFIG names several workers: leave `replicas` out, all their devices are used")
        return tf.distribute.MultiWorkerMirroredStrategy()
    gpus = len(tf.config.list_physical_devices("GPU"))  # asking for logical ones would start TensorFlow
    if gpus and (replicas is None or replicas <= gpus):
        return tf.distribute.MirroredStrategy([f"/gpu:{number}" for number in range(replicas or gpus)])
    if replicas is None or replicas == 1:
        return tf.distribute.get_strategy()
    device = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(device, [tf.config.LogicalDeviceConfiguration()] * replicas)
    except RuntimeError as error:
        if len(tf.config.list_logical_devices("CPU")) < replicas:
            what = f"TensorFlow has started already and cannot make {replicas} logical CPUs"
            remedy = f"Restart the kernel and call choose_strategy({replicas}) first thing."
            raise RuntimeError(f"{what}. {remedy}") from error
    return tf.distribute.MirroredStrategy([cpu.name for cpu in tf.config.list_logical_devices("CPU")[:replicas]])


def workers_in_tf_config() -> int:
    """Count the workers that `TF_CONFIG` names; 1 without it. Raises `ValueError` if it cannot be read."""
    try:
        cluster = json.loads(os.environ.get("TF_CONFIG") or "{}").get("cluster", {})
        return max(1, sum(len(cluster.get(kind, [])) for kind in ("chief", "worker")))
    except (ValueError, AttributeError, TypeError) as error:
        form = '{"cluster": {"worker": ["host:port", …]}, "task": {"type": "worker", "index": 0}}'
        raise ValueError(f"TF_CONFIG is not what TensorFlow expects ({error}): {form}, or unset it") from error


def share_out(
    strategy: tf.distribute.Strategy, store: Store, plan: Plan, *, start: int = 0, **settings: Any
) -> tf.distribute.DistributedDataset:
    """Make the batches of `plan` from step `start` on, of which each replica gets an equal part, by `make_batches`."""

    def make_part(context: tf.distribute.InputContext) -> tf.data.Dataset:
        each = plan.numbers.shape[1] // context.num_replicas_in_sync
        part = plan.part(context.input_pipeline_id, context.num_input_pipelines, start=start)
        return make_batches(store, part, each, **settings)

    return strategy.distribute_datasets_from_function(make_part)


@contextlib.contextmanager
def explaining_lost_workers() -> Iterator[None]:
    """Turn the errors that TensorFlow raises when another worker dies into `WorkerLost`."""
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
        remedy = "Start it again, and this one: both continue from the last state"
        raise WorkerLost(f"another worker of this training is gone. {remedy}") from error
