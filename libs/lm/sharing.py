"""How processes that compute beside others share cores: their idle threads sleep instead of spinning.

OpenMP threads spin at every barrier by default. Where another process wants the same cores (an evaluation
beside a training, a test beside a test) each barrier then waits for a thread that is not running: measured on
two busy cores, twelve scored questions took 26–30 s spinning and 1.6–1.8 s asleep. A process that has its cores to
itself, as a training has under its lease, is 15–20 % faster spinning: the runner sets nothing, so an operator whose
runner shares its cores may set ``OMP_WAIT_POLICY=PASSIVE`` for it. numpy's OpenBLAS only ever spins, so there it is one
thread: two took 4 processor seconds on busy cores for what one does in 0.6 (an adapter merged into its base).
"""

SHARED_CORES = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "OPENBLAS_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""Environment for a process that imports torch; it counts only when set before the process starts."""
SPEAKING = SHARED_CORES | {"GOMP_SPINCOUNT": "1000"}
"""Of one that speaks token by token: threads spin a few microseconds before they sleep. Where the cores are free, two
of them then take 9 ms for a token of the shipped model, one 11 and two that sleep at once 21 (``libs.lm.pace``)."""
