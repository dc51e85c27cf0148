# Installing what a script needs, on Debian. To be sourced.

# need COMMAND PACKAGE...: installs the packages if the command is missing.
need() {
  local command=$1
  shift
  if command -v "$command" >/dev/null; then return; fi
  echo "$command is missing"
  install_packages "$@"
}

install_packages() {
  local root=()
  if ((EUID != 0)); then root=(sudo); fi
  echo "installing $*"
  local output
  output=$(mktemp)
  # A package starts its service after installing; the tests start their own servers.
  if ! { "${root[@]}" apt-get update -qq &&
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
      apt-get install -qq -y --no-install-recommends "$@"; } >"$output" 2>&1; then
    cat "$output"
    return 1
  fi
  rm -f "$output"
}

# The packages of a folder's lock file, exactly; nothing to do if the last install was of this lock file.
node_modules() {
  local folder=$1
  local stamp=$folder/node_modules/.installed
  if cmp -s "$folder/package-lock.json" "$stamp"; then return; fi
  (cd "$folder" && npm ci --silent --no-progress)
  cp "$folder/package-lock.json" "$stamp"
}

# What a folder's list of Python packages says, exactly, in a "venv" beside it; nothing to do if the last install
# was of this list.
python_venv() {
  local folder=$1
  local stamp=$folder/venv/.installed
  if cmp -s "$folder/requirements.txt" "$stamp"; then return; fi
  # Debian keeps this part of Python in a package of its own.
  if ! python3 -c 'import ensurepip' 2>/dev/null; then install_packages python3-venv; fi
  rm -rf "$folder/venv"
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet --disable-pip-version-check -r "$folder/requirements.txt"
  cp "$folder/requirements.txt" "$stamp"
}
