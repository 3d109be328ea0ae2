#!/bin/sh
# Installs what is missing, builds, and runs one program of bench: run.sh PROGRAM [ARGUMENTS]. Only the program writes
# to standard output.
set -eu
cd "$(dirname "$(readlink -f "$0")")/.."
{
  . bin/prepare.sh
  if [ ! -f bench/node_modules/.package-lock.json ] || [ bench/package-lock.json -nt bench/node_modules/.package-lock.json ]; then
    echo "installing what the benchmark compares with"
    (cd bench && npm install --ignore-scripts --no-save --no-audit --no-fund --loglevel=error)
    touch bench/node_modules/.package-lock.json
  fi
  npm run --silent build
  node_modules/.bin/tsc -p bench/tsconfig.json
  # The compiled peers are in dist/bench, their packages in bench/node_modules.
  ln -sfn ../../bench/node_modules dist/bench/node_modules
} >&2
program=$1
shift
exec node "dist/bench/$program.js" "$@"
