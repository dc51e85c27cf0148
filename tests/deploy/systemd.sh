# The Debian package and its units where they belong: in a Debian whose first process is systemd. To be sourced by
# scripts/deploy-test.

check_systemd() {
  build_stand_in systemd "$(stand_in systemd)" tests/deploy
  step "docs/without-containers.md: the package, of the binary in the image" package_of_the_image
  step "a container whose first process is systemd" start_systemd
  if [[ -n $(docker ps --quiet --filter "name=^$project-systemd$") ]]; then
    step "the package and its units" docker exec "$project-systemd" bash /root/inside-systemd.sh
    docker rm --force "$project-systemd" >/dev/null
  fi
}

package_of_the_image() {
  from_image "$IMAGE" /usr/local/bin/headcount "$work/packaged"
  # The image's binary saves a release build.
  DPKG_DEB_COMPRESSOR_LEVEL=0 bash -exc "$(block package | sed "s#\$# $work/debian $work/packaged#")"
}

# systemd needs the control groups, and mounts things for its services; it needs no more of the machine than that.
start_systemd() {
  local name=$project-systemd state
  docker run --detach --name "$name" --cap-add SYS_ADMIN --security-opt seccomp=unconfined \
    --security-opt apparmor=unconfined --cgroupns host --volume /sys/fs/cgroup:/sys/fs/cgroup \
    --tmpfs /run --tmpfs /run/lock "$(stand_in systemd)"
  for _ in {1..100}; do
    state=$(docker exec "$name" systemctl is-system-running || true)
    if [[ $state == running || $state == degraded ]]; then break; fi
    sleep 0.2
  done
  if [[ $state != running && $state != degraded ]]; then
    say "systemd says: $state"
    docker logs "$name"
    docker rm --force "$name"
    return 1
  fi
  docker cp "$work"/debian/headcount_*.deb "$name:/root/headcount.deb"
  docker cp tests/deploy/inside-systemd.sh "$name:/root/inside-systemd.sh"
}
