# Sourced by demo and test: a Node that is new enough, the dependencies of the lock file, and a build.
need=20.19.0
command -v node >/dev/null 2>&1 || { echo "Node.js $need or later is needed" >&2; exit 69; }
node -e '
  const need = process.argv[1].split(".").map(Number), have = process.versions.node.split(".").map(Number)
  const older = have.findIndex((part, index) => part !== need[index])
  process.exit(older >= 0 && have[older] < need[older] ? 1 : 0)
' "$need" || { echo "Node.js $need or later is needed; this is $(node --version)" >&2; exit 69; }

# npm writes its own copy of the lock file last: while that is as new as ours, the dependencies are whole.
if [ ! -f node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  echo "installing dependencies"
  # Not `npm ci`: it fails where the lock file lacks optional packages of other platforms.
  npm install --no-save --no-audit --no-fund --loglevel=error
  # It leaves its copy alone where nothing was missing.
  touch node_modules/.package-lock.json
fi
