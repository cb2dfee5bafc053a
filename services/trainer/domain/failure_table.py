"""The table of failures: what each kind means, how it is known, how often it may come back, and how it is mended.

``classifying`` finds the row; ``failures`` says it to people; ``remedies`` turns its fix into settings; ``recovery``
reads ``cause``. Wordings are those of the libraries in ``constraints.txt`` and of drivers seen in public bug reports:
the corpus in ``tests/unit/trainer/corpus`` holds each row to texts that were really printed.
"""

from typing import Literal

from msgspec import Struct

from contracts.jobs import RemedyKind

Cause = Literal["lost_worker", "hung", "infrastructure", "out_of_memory"]
"""The retry budgets of ``recovery``: what may come back by itself, and how often."""


class Rule(Struct, frozen=True, kw_only=True):
    """What a kind of failure means and how it is mended.

    ``reason`` is told to programs. ``cause`` is the retry budget an attempt lost this way draws on; without one the run
    fails at once. ``signs`` are regular expressions looked for in what the process said last. ``remedy`` is the kind of
    fix, ``button`` its title.
    """

    reason: str
    message: str
    fix: str
    remedy: RemedyKind
    button: str
    cause: Cause | None = None
    signs: tuple[str, ...] = ()


RULES: dict[str, Rule] = {
    "out_of_memory": Rule(
        reason="out_of_memory",
        cause="out_of_memory",
        message="The device ran out of memory, also with the smallest batches.",
        fix="Train on shorter conversations with a smaller rank, choose a smaller base model, or use a device with "
        "more memory.",
        remedy="change_settings",
        button="Train again with less memory",
        signs=(
            r"(CUDA|HIP|XPU|MPS backend) out of memory",
            r"OutOfMemoryError",
            r"DefaultCPUAllocator: (can't allocate|not enough) memory",
            r"CUBLAS_STATUS_ALLOC_FAILED",
            r"CUDNN_STATUS_ALLOC_FAILED",
            r"CUDA error: out of memory",
            r"^MemoryError",
            r"Unable to allocate .* for an array with shape",
            r"std::bad_alloc",
            r"Cannot allocate memory",
            r"could not create a primitive",
        ),
    ),
    "killed_for_memory": Rule(
        reason="out_of_memory",
        cause="out_of_memory",
        message="The machine ran out of memory and its kernel ended the training process.",
        fix="Train on shorter conversations with a smaller rank, choose a smaller base model, or use a machine with "
        "more memory.",
        remedy="change_settings",
        button="Train again with less memory",
    ),
    "user_data": Rule(
        reason="bad_data",
        message="The data cannot be trained on.",
        fix="Look at the dataset's preview: at least one reply of every example must fit into the model's length.",
        remedy="change_data",
        button="Mend the file and upload it again",
    ),
    "nothing_to_learn": Rule(
        reason="bad_data",
        message="No token of the training data would be taught: every label is masked.",
        fix="Look at the dataset's preview: replies that the model shall learn must stand under the role assistant and "
        "within the model's length.",
        remedy="change_data",
        button="Mend the file and upload it again",
    ),
    "diverged": Rule(
        reason="diverged",
        message="The loss became infinite or not a number.",
        fix="Train again with half the learning rate.",
        remedy="change_settings",
        button="Train again with half the learning rate",
    ),
    "no_learning": Rule(
        reason="no_learning",
        message="The model did not change: its gradients are zero.",
        fix="Report this with the run's log; train on another machine meanwhile.",
        remedy="report_bug",
        button="Report it with the log",
    ),
    "time_limit": Rule(
        reason="time_limit",
        message="The time limit passed and the training process did not come to an end: it may have hung.",
        fix="Train again with a longer time limit, or on a faster device.",
        remedy="change_settings",
        button="Train again with twice the time",
    ),
    "hung": Rule(
        reason="hung",
        cause="hung",
        message="The training process stopped making progress and said nothing more, again and again.",
        fix="Look at the log: it keeps where the process stood each time. Look at the disk and the network of the "
        "machine that trains, then train again.",
        remedy="try_again",
        button="Try again",
    ),
    "storage_full": Rule(
        reason="disk_full",
        cause="infrastructure",
        message="The storage has no room left. What was saved before is whole.",
        fix="Free some space in the storage, then train again.",
        remedy="operator",
        button="Ask the operator for space in the storage",
        signs=(r"StorageFull", r"QuotaExceeded|507 Insufficient Storage|XMinioStorageFull"),
    ),
    "disk_full": Rule(
        reason="disk_full",
        cause="infrastructure",
        message="The disk of the machine that trains is full. The last checkpoint is whole.",
        fix="Free some space on the machine that trains, then train again.",
        remedy="operator",
        button="Ask the operator for disk space",
        signs=(
            r"No space left on device",
            r"Disk quota exceeded",
            r"File too large",
            r"inline_container\.cc",
            r"PytorchStreamWriter failed",
            r"unable to allocate shared memory\(shm\)",
        ),
    ),
    "unknown_model": Rule(
        reason="model_missing",
        message="The base model is not on the machine that trains.",
        fix="Ask the operator to add it to the models folder, then train again.",
        remedy="operator",
        button="Ask the operator to add the model",
        signs=(
            r"is not a local folder and is not a valid model identifier",
            r"does not appear to have a file named",
            r"We couldn't connect to 'https://huggingface\.co'",
            r"Cannot reach .*: offline mode is enabled",
            r"OfflineModeIsEnabled|LocalEntryNotFoundError",
            r"Error no file named .* found in directory",
            r"You are trying to access a gated repo",
        ),
    ),
    "damaged_model": Rule(
        reason="model_missing",
        message="The base model's files on the machine that trains are damaged or incomplete.",
        fix="Ask the operator to remove the model's folder and add it anew, then train again.",
        remedy="operator",
        button="Ask the operator to add the model anew",
        signs=(
            r"SafetensorError",
            r"Error while deserializing( header)?:",
            r"data did not match any variant of untagged enum",
            r"Unable to load weights from pytorch checkpoint",
        ),
    ),
    "no_template": Rule(
        reason="model_missing",
        message="The base model has no chat template, so nobody can say how it reads a conversation.",
        fix="Ask the operator to add the model's chat template (chat_template.jinja) to its folder, then train again.",
        remedy="operator",
        button="Ask the operator for the chat template",
        signs=(r"tokenizer\.chat_template is not set", r"does not have a chat template"),
    ),
    "user_code": Rule(
        reason="user_code",
        message="The base model's chat template is a program, and it failed.",
        fix="Ask the operator to mend chat_template.jinja in the model's folder, then train again.",
        remedy="operator",
        button="Ask the operator to mend the template",
        signs=(r"jinja2\.exceptions\.",),
    ),
    "credentials": Rule(
        reason="network",
        cause="infrastructure",
        message="The storage refuses the machine that trains: its credentials are wrong or have expired.",
        fix="Ask the operator to renew the storage's credentials, then train again.",
        remedy="operator",
        button="Ask the operator to renew the credentials",
        signs=(
            r"ExpiredToken|TokenRefreshRequired|The provided token has expired",
            r"InvalidAccessKeyId|SignatureDoesNotMatch|RequestTimeTooSkewed",
            r"<Code>AccessDenied</Code>|403 Forbidden|401 Unauthorized",
            r"UnauthenticatedError|PermissionDeniedError",
            r"lack valid authentication credentials|lacked the necessary privileges",
        ),
    ),
    "processes_parted": Rule(
        reason="network",
        cause="lost_worker",
        message="The processes that train together lost each other.",
        fix="Look at the network between the devices and at the other processes' logs, then train again.",
        remedy="try_again",
        button="Try again",
        signs=(
            r"Watchdog caught collective operation timeout",
            r"NCCL (error|WARN)|nccl\w*Error|NCCL communicator was aborted",
            r"gloo/transport/tcp",
            r"DistStoreError|DistNetworkError|DistBackendError",
            r"recvValue failed|Timed out waiting for clients|The client socket has (timed out|failed)",
        ),
    ),
    "network": Rule(
        reason="network",
        cause="infrastructure",
        message="The network to the storage failed again and again.",
        fix="Look at the network and the storage, then train again.",
        remedy="try_again",
        button="Try again",
        signs=(
            r"Connection (reset by peer|refused|aborted)",
            r"Broken pipe",
            r"error sending request|connection closed before message completed",
            r"Error after \d+ retries|max_retries",
            r"(Temporary failure in name resolution|Name or service not known|dns error|failed to lookup address)",
            r"(No route to host|Network is unreachable|Connection timed out|operation timed out|Read timed out)",
            r"SlowDown|ServiceUnavailable|503 Service Unavailable|TooManyRequests",
            r"ConnectionError|ConnectTimeout|ReadTimeout",
        ),
    ),
    "no_device": Rule(
        reason="no_device",
        message="The machine offers a GPU that this installation cannot use.",
        fix="Ask the operator to bring the NVIDIA driver and this installation of PyTorch together, then train again.",
        remedy="operator",
        button="Ask the operator about the GPU",
        signs=(
            r"driver on your system is too old",
            r"CUDA driver version is insufficient",
            r"Found no NVIDIA driver on your system",
            r"No CUDA GPUs are available",
            r"no CUDA-capable device is detected",
            r"no kernel image is available for execution",
            r"Torch not compiled with CUDA enabled",
            r"Your setup doesn't support bf16",
            r"invalid device ordinal",
            r"system (not yet initialized|driver mismatch)|driver/library version mismatch",
        ),
    ),
    "device_broken": Rule(
        reason="device_error",
        cause="lost_worker",
        message="The GPU failed: it reports errors in its memory, or answers no longer.",
        fix="Ask the operator to look at the GPU (nvidia-smi, dmesg: Xid) and to take it out of use if it fails again.",
        remedy="operator",
        button="Ask the operator to look at the GPU",
        signs=(
            r"uncorrectable (NVLink|ECC) error",
            r"GPU (is lost|has fallen off the bus)|fallen off the bus",
            r"\bXid\b",
            r"CUDA error: (unspecified launch failure|unknown error|the launch timed out|hardware stack)",
            r"Unable to determine the device handle for GPU",
            r"CUDA error: all CUDA-capable devices are busy",
        ),
    ),
    "device_bug": Rule(
        reason="device_error",
        message="A program on the GPU failed in a way that would repeat itself.",
        fix="Report this with the run's log; train on a machine without a GPU meanwhile.",
        remedy="report_bug",
        button="Report it with the log",
        signs=(
            r"device-side assert triggered",
            r"(illegal memory access|misaligned address|illegal instruction)",
            r"CUBLAS_STATUS_|CUDNN_STATUS_|cuDNN error",
            r"CUDA error:",
        ),
    ),
    "installation": Rule(
        reason="installation",
        message="A library that training needs is missing or does not fit this machine.",
        fix="Ask the operator to install Woodshed anew on the machine that trains (`make setup`), then train again.",
        remedy="operator",
        button="Ask the operator to install anew",
        signs=(
            r"ModuleNotFoundError|ImportError",
            r"cannot open shared object file",
            r"undefined symbol|GLIBCXX?_[\d.]+' not found",
            r"CUDA Setup failed despite",
            r"bitsandbytes library|CUDA SETUP:|Configured CUDA binary not found",
            r"PackageNotFoundError|is required for a normal functioning of this module",
        ),
    ),
    "permission": Rule(
        reason="permission",
        message="The training process may not read or write where it has to.",
        fix="Ask the operator to give Woodshed's user the folders it works in, then train again.",
        remedy="operator",
        button="Ask the operator for access",
        signs=(r"Permission denied", r"Read-only file system", r"Operation not permitted"),
    ),
    "machine_limits": Rule(
        reason="installation",
        message="The machine's limits for one process are too low: open files, processes or threads.",
        fix="Ask the operator to raise the limits (ulimit -n, ulimit -u, pids of the container), then train again.",
        remedy="operator",
        button="Ask the operator to raise the limits",
        signs=(r"Too many open files", r"can't start new thread", r"Resource temporarily unavailable"),
    ),
    "corrupted": Rule(
        reason="infrastructure",
        cause="infrastructure",
        message="What the storage gives back is not what was written.",
        fix="Ask the operator to look at the storage and to restore what is damaged from a backup, then train again.",
        remedy="operator",
        button="Ask the operator about the storage",
        signs=(r"^Corrupted: ",),
    ),
    "bad_checkpoint": Rule(
        reason="infrastructure",
        cause="infrastructure",
        message="No saved state of the run could be read back.",
        fix="Look at the storage: what is read is not what was written. Then train again.",
        remedy="try_again",
        button="Try again",
    ),
    "crashed": Rule(
        reason="crashed",
        cause="lost_worker",
        message="The training process crashed in a library, too often.",
        fix="Report this with the run's log; train on another machine meanwhile.",
        remedy="report_bug",
        button="Report it with the log",
        signs=(r"Fatal Python error: (?!Aborted)", r"Segmentation fault", r"Bus error"),
    ),
    "lost_worker": Rule(
        reason="lost_worker",
        cause="lost_worker",
        message="The training process was lost too often.",
        fix="Look at the machine: something ends its processes (memory limit, restarts). Then train again.",
        remedy="try_again",
        button="Try again",
        signs=(r"Signal (9|15) \(SIG(KILL|TERM)\) received",),
    ),
    "infrastructure": Rule(
        reason="infrastructure",
        cause="infrastructure",
        message="Storage or network failed too often.",
        fix="Look at the storage, then train again.",
        remedy="try_again",
        button="Try again",
    ),
    "no_progress": Rule(
        reason="no_progress",
        message="Several attempts in a row ended before a checkpoint was saved.",
        fix="Look at the log of the attempts: each ended at about the same place.",
        remedy="report_bug",
        button="Report it with the log",
    ),
    "unexplained": Rule(
        reason="unknown",
        cause="lost_worker",
        message="The training process ended again and again, and nobody knows why.",
        fix="Look at the log: it keeps what the process wrote last. Report it if that says nothing to you.",
        remedy="report_bug",
        button="Report it with the log",
    ),
    "bug": Rule(
        reason="unknown",
        message="Training met an error nobody foresaw.",
        fix="Train once more; report the log if it returns.",
        remedy="try_again",
        button="Try again",
    ),
}
"""Rows in the order in which signs are looked for: the first that fits a line names it."""
