#!/usr/bin/env bash
# Train networks one after the other, each from where it stopped, within some minutes in all.
#
#   scripts/train_family.sh [--minutes M] [--device D] NETWORK ...
#
# Data: BITWRIGHT_DATA. Further options of model.train: TRAIN_OPTIONS. Folder of the runs: RUNS (else
# runs). A network whose report.json
# is there is done. Ends with exit code 0 when all are, 3 when minutes ran out before.
set -eu
cd "$(dirname "$0")/.."

minutes= device=cuda
while [ $# -gt 0 ]; do
    case $1 in
        --minutes) minutes=$2; shift 2 ;;
        --device) device=$2; shift 2 ;;
        -*) echo "error: unknown option $1" >&2; exit 2 ;;
        *) break ;;
    esac
done
[ $# -gt 0 ] || { echo "usage: $0 [--minutes M] [--device D] NETWORK ..." >&2; exit 2; }
python=.venv/bin/python
[ -x "$python" ] || python=python3
[ "$device" = cpu ] || TRAIN_OPTIONS="--fast ${TRAIN_OPTIONS-}"

for network in "$@"; do
    out=${RUNS:-runs}/$network
    if [ -f "$out/report.json" ]; then
        continue
    fi
    arguments=("$network" --device "$device" --out "$out")
    [ -f "$out/checkpoint.pt" ] && arguments+=(--resume)
    if [ -n "$minutes" ]; then
        # Half a minute to load, and to measure at the end.
        left=$(awk "BEGIN { print $minutes - $SECONDS / 60 - 0.5 }")
        if awk "BEGIN { exit !($left < 0.5) }"; then
            echo "the minutes are over before $network: call this again"
            exit 3
        fi
        arguments+=(--minutes "$left")
    fi
    # shellcheck disable=SC2086
    "$python" -m model.train "${arguments[@]}" ${TRAIN_OPTIONS-}
    if [ ! -f "$out/report.json" ]; then
        echo "the minutes are over in $network: call this again"
        exit 3
    fi
done
echo "all is done: $*"
