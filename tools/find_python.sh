#!/bin/sh
# Print the first interpreter that this project supports (3.11 to 3.13). An argument names the one to use.
set -eu
supported='import sys; raise SystemExit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'
wanted=${1:-}
if [ -n "$wanted" ]; then set -- "$wanted"; else set -- python3 python3.13 python3.12 python3.11; fi
for candidate in "$@"; do
    if command -v "$candidate" >/dev/null 2>&1 && "$candidate" -c "$supported" 2>/dev/null; then
        command -v "$candidate"
        exit 0
    fi
done
found=$("${wanted:-python3}" --version 2>&1 || true)
echo "no usable Python (got: ${found:-none}; expected: Python 3.11, 3.12 or 3.13 with venv)." >&2
echo "do next: install one, or name it: make demo PYTHON=/path/to/python3.11" >&2
exit 2
