# The images that the stack runs, the build of ours, and stand-ins where nothing can be pulled. To be sourced by
# scripts/deploy-test.

# Without our own image, which stands behind an anchor and its alias.
compose_images() { sed -n 's/^    image: //p' docker-compose.yml | grep -v '^[&*]\|^headcount:' | sort -u; }
image_named() { compose_images | grep "\(^\|/\)$1:"; }
# What the Dockerfile starts from.
base_images() { sed -n 's/^FROM \([a-z]*:[^ ]*\) .*/\1/p' deploy/Dockerfile | sort -u; }

# What the services run: the images named in the file, or stand-ins under names of their own.
stand_in() { printf 'headcount-test/%s' "$1"; }
actual() { if $stand_ins; then stand_in "$1"; else image_named "$1"; fi; }

pull_images() {
  local image
  for image in $(compose_images) $(base_images); do
    if docker image inspect "$image" >/dev/null 2>&1; then continue; fi
    docker pull --quiet "$image" >/dev/null 2>"$work/pull" || return 1
  done
}

# One Debian system with all packages serves as base, as every service, and as what compiles.
debian_system() {
  mmdebstrap --quiet --variant=minbase --include=ca-certificates,redis-server,haproxy,prometheus,gcc,libc6-dev \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' bookworm "$work/debian.tar"
}

# The machine's compiler without what only developers use, and every crate of Cargo.lock.
rust_toolchain() {
  local sysroot host
  sysroot=$(rustc --print sysroot)
  host=$(rustc -vV | sed -n 's/^host: //p')
  mkdir -p "$1/toolchain/bin" "$1/toolchain/lib/rustlib"
  cp -a "$sysroot"/bin/{cargo,rustc} "$1/toolchain/bin"
  cp -a "$sysroot"/lib/lib*.so* "$1/toolchain/lib"
  cp -a "$sysroot/lib/rustlib/$host" "$1/toolchain/lib/rustlib"
  cargo vendor --locked --versioned-dirs "$1/vendor" | sed 's#^directory = .*#directory = "/vendor"#' >"$1/config.toml"
  grep '/vendor' "$1/config.toml"
}

make_stand_ins() {
  local name tag bootstrap
  need mmdebstrap mmdebstrap
  debian_system >"$work/mmdebstrap" 2>&1 &
  bootstrap=$!
  started+=("$bootstrap")
  rust_toolchain "$work/rust" >"$work/toolchain" 2>&1 || { cat "$work/toolchain"; die "failed to copy Rust"; }
  if ! wait "$bootstrap"; then
    cat "$work/mmdebstrap"
    die "failed to make a Debian system"
  fi
  started=()
  tag=$(base_images | grep '^debian:')
  docker import "$work/debian.tar" "$tag" >/dev/null
  rm "$work/debian.tar"
  images+=("$tag")
  for name in redis haproxy prometheus; do
    build_stand_in "$name" "$(stand_in "$name")" tests/deploy
  done
  build_stand_in rust "$(base_images | grep '^rust:')" "$work/rust"
  rm -rf "$work/rust"
}

# build_stand_in TARGET TAG FOLDER
build_stand_in() {
  docker build --target "$1" --tag "$2" --file tests/deploy/stand-ins.Dockerfile "$3" >"$work/build" 2>&1 ||
    { cat "$work/build"; die "failed to make a stand-in for $1"; }
  images+=("$2")
}

# A copy of what git would have if everything here were committed: the tree that a newcomer has cloned.
clean_tree() {
  local file
  git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
    if [[ -e $file ]]; then printf '%s\0' "$file"; fi
  done | tar --create --null --files-from=- | tar --extract --directory="$1"
}

# Cargo refuses a manifest that names a target or a member which is not there. One of each kind, in places where no other
# is, must reach the build and its layer of dependencies, which need not be built to show it.
every_target_reaches_the_build() {
  local folder=$work/targets image=$project-targets
  cp -r "$work/tree" "$folder"
  mkdir -p "$folder"/{examples/deep,benches,checks,parts/member/src,parts/member/samples}
  echo 'fn main() {}' | tee "$folder"/{examples/deep/e.rs,benches/b.rs,checks/t.rs,parts/member/samples/s.rs} >"$folder/build.rs"
  echo '//! Empty.' >"$folder/parts/member/src/lib.rs"
  cat >>"$folder/Cargo.toml" <<'END'

[[example]]
name = "deep"
path = "examples/deep/e.rs"
[[bench]]
name = "b"
harness = false
[[test]]
name = "t"
path = "checks/t.rs"
END
  sed -i 's#^members = \[#members = ["parts/member", #' "$folder/Cargo.toml"
  grep -q '^members = \["parts/member"' "$folder/Cargo.toml"
  printf '[package]\nname = "member"\nversion = "0.0.0"\nedition = "2024"\n[[example]]\nname = "s"\npath = "samples/s.rs"\n' \
    >"$folder/parts/member/Cargo.toml"
  cargo update --quiet --offline --workspace --manifest-path "$folder/Cargo.toml"
  docker build --file deploy/Dockerfile --target manifests --tag "$image" "$folder"
  docker run --rm --workdir /build "$image" cargo fetch --locked
  docker run --rm --workdir /manifests "$image" cargo fetch --locked
  # And the control: without one of the files cargo does refuse it.
  if docker run --rm --workdir /manifests "$image" sh -c 'rm benches/b.rs && exec cargo fetch --locked'; then return 1; fi
  docker rmi --force "$image"
}

image_is_as_promised() {
  local format='{{.Config.User}} {{.Config.StopSignal}} {{.Config.Healthcheck.Test}} {{json .Config.Labels}}'
  local found
  found=$(docker image inspect --format "$format" "$IMAGE")
  say "$found"
  grep -q '^10001:10001 SIGTERM \[CMD headcount health\] ' <<<"$found"
  grep -q '"org.opencontainers.image.version":"' <<<"$found"
  # It refuses to write anywhere, needs no capability, and answers.
  docker run --rm --read-only --cap-drop ALL "$IMAGE" --version
}

# from_image IMAGE PATH FILE: copies a file out of an image.
from_image() {
  local container
  container=$(docker create "$1" none)
  docker cp "$container:$2" "$3"
  docker rm "$container"
}

binary_is_stripped() {
  local sections
  from_image "$IMAGE" /usr/local/bin/headcount "$work/headcount"
  sections=$(readelf --section-headers --wide "$work/headcount")
  [[ $sections == *.gnu_debuglink* ]]
  [[ $sections != *.debug_info* && $sections != *.debug_line* && $sections != *.symtab* ]]
  # A release build has 7 MB.
  [[ $PROFILE != release ]] || (($(stat -c %s "$work/headcount") < 12000000))
}

# The other way to an image: a binary that was built elsewhere.
prebuilt_image() {
  local image=$project-prebuilt folder=$work/prebuilt
  mkdir "$folder"
  from_image "$IMAGE" /usr/local/bin/headcount "$folder/headcount"
  docker build --file deploy/Dockerfile --target prebuilt --build-arg BINARY=headcount --tag "$image" "$folder"
  docker run --rm "$image" --version
  docker rmi --force "$image"
}
