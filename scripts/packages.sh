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
