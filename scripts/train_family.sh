#!/usr/bin/env bash
# Train networks one after the other, each from where it stopped, within some minutes in all.
#
#   scripts/train_family.sh [--minutes M [--fill]] [--shipped] [--device D] NETWORK ...
#
# --fill: not the recipes' epochs, but as many as fit, the minutes that are left shared by the
# networks that are left. --shipped: a network that is shipped goes on from there. Data:
# BITWRIGHT_DATA. Further options of model.train: TRAIN_OPTIONS. Folder to write to: RUNS (else
# runs, where recipes look for what a network learns from). Interpreter: PYTHON (else that of .venv,
# or python3). A network whose report.json is there is done. Ends with exit code 0 when all are, 3 when minutes ran out before.
set -eu
cd "$(dirname "$0")/.."

minutes= device=cuda fill= shipped=
while [ $# -gt 0 ]; do
    case $1 in
        --minutes) minutes=$2; shift 2 ;;
        --fill) fill=yes; shift ;;
        --shipped) shipped=yes; shift ;;
        --device) device=$2; shift 2 ;;
        -*) echo "error: unknown option $1" >&2; exit 2 ;;
        *) break ;;
    esac
done
[ $# -gt 0 ] || {
    echo "usage: $0 [--minutes M [--fill]] [--shipped] [--device D] NETWORK ..." >&2
    exit 2
}
[ -z "$fill" ] || [ -n "$minutes" ] || { echo "error: --fill needs --minutes" >&2; exit 2; }
python=${PYTHON:-.venv/bin/python}
[ -n "${PYTHON-}" ] || [ -x "$python" ] || python=python3
[ "$device" = cpu ] || TRAIN_OPTIONS="--fast --compile --record ${TRAIN_OPTIONS-}"

all=$*
while [ $# -gt 0 ]; do
    network=$1 out=${RUNS:-runs}/$1 networks=0
    for one in "$@"; do
        [ -f "${RUNS:-runs}/$one/report.json" ] || networks=$((networks + 1))
    done
    shift
    if [ -f "$out/report.json" ]; then
        continue
    fi
    arguments=("$network" --device "$device" --out "$out")
    [ -f "$out/checkpoint.pt" ] && arguments+=(--resume)
    start=model/zoo/$network/float.npz
    [ -n "$shipped" ] && [ -f "$start" ] && arguments+=(--warm-start "$start")
    if [ -n "$minutes" ]; then
        # Half a minute to load, and to measure at the end.
        left=$(awk "BEGIN { print $minutes - $SECONDS / 60 - 0.5 }")
        if [ -n "$fill" ]; then
            arguments+=(--fill)
            # What is resumed has its epochs already, and takes the time that they take.
            [ -f "$out/checkpoint.pt" ] ||
                left=$(awk "BEGIN { print ($left + 0.5) / $networks - 0.5 }")
        fi
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
echo "all is done: $all"
