#!/usr/bin/env bash
# Write the *.txt lock files from the *.in files: install each layer into a fresh environment, freeze.
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
: > "$work/known"

lock() { # lock LAYER INSTALL-ARGUMENTS… : what this layer adds to those before it
  local layer=$1
  shift
  "$work/venv/bin/pip" install --quiet "$@"
  "$work/venv/bin/pip" freeze | sed 's/+cpu$//' | sort -f > "$work/now"
  {
    grep '^# ' "$layer.txt"
    [ "$layer" = worker ] && echo "-r torch.txt"
    sort -f "$work/known" | comm -13 - "$work/now"
  } > "$work/$layer"
  mv "$work/$layer" "$layer.txt"
  cp "$work/now" "$work/known"
}

export LC_ALL=C
lock web -r web.in
lock torch torch==2.13.0
lock worker -r worker.in
lock dev -r dev.in
