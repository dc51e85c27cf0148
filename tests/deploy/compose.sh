# The compose files: read by old and new Compose, settings passed on, one instance alone, and the stack with the Compose of
# Debian 12. To be sourced by scripts/deploy-test.

check_single() {
  step "docs/operations.md: one instance in a container of its own" single_instance
}

check_old_compose() {
  if [[ $(apt-cache show docker-compose 2>/dev/null || true) != *"Version: 1.29.2"* ]]; then
    unproved+=("Compose 1.29.2: it is not among this machine's packages")
    return
  fi
  need "$OLD_COMPOSE" docker-compose
  step "Compose 1.29.2 reads the files" compose_reads_the_files "$OLD_COMPOSE"
  step "Compose 1.29.2 passes every setting on" compose_passes_settings_on "$OLD_COMPOSE"
  step "Compose 1.29.2 brings up three instances behind the balancer" up_with_old_compose
}

compose_reads_the_files() {
  "$@" --file docker-compose.yml --profile demo config >"$work/config"
  [[ $(grep -c '^    image: ' "$work/config") == 6 ]]
  "$@" --file deploy/compose/single.yml config >"$work/config"
  [[ $(grep -c '^    image: ' "$work/config") == 1 ]]
}

# Every setting that the program's help names reaches the instances, from the shell and from .env; what is empty in
# the shell leaves the file's own values.
compose_passes_settings_on() {
  local command=("$@")
  passes_settings_on docker-compose.yml 'LISTEN: 0.0.0.0:3000' 'REDIS_URL: redis://redis:6379' 'DRAIN: 10s' 'DRAIN_DELAY: 4s'
  passes_settings_on deploy/compose/single.yml 'LISTEN: 0.0.0.0:3000' 'DRAIN: 1s'
}

# passes_settings_on FILE VALUE...: the values are the file's own. "command" is that of Compose.
passes_settings_on() {
  local folder=$work/settings name value
  rm -rf "$folder"
  mkdir "$folder"
  cp "$1" "$folder/docker-compose.yml"
  cd "$folder"
  settings | sed 's/$/=of-the-file/' >.env
  env -u COMPOSE_FILE "${command[@]}" config >from-file
  : >.env
  env -u COMPOSE_FILE $(settings | sed 's/$/=of-the-shell/') "${command[@]}" config >from-shell
  env -u COMPOSE_FILE $(settings | sed 's/$/=/') "${command[@]}" config >emptied
  for name in $(settings); do
    grep "^      $name: of-the-file$" from-file
    grep "^      $name: of-the-shell$" from-shell
  done
  for value in "${@:2}"; do grep "^      HEADCOUNT_$value$" emptied; done
  cd "$OLDPWD"
}

settings() { tr -s ' \n' ' ' <"$work/help" | grep -o '\[env: HEADCOUNT_[A-Z_]*' | cut -d ' ' -f 2 | sort -u; }

up_with_old_compose() {
  local old=("$OLD_COMPOSE" --project-name "$project-old" --file docker-compose.yml --file "$work/images.yml")
  # It reads .dockerignore in its own way. Where the first build was the classic builder's, its layers are there.
  if $stand_ins; then "${old[@]}" build headcount; fi
  "${old[@]}" --no-ansi up --detach --no-build "${services[@]}"
  local port end=$((SECONDS + 60)) status=1
  port=$("${old[@]}" port balancer 8080)
  while ((SECONDS < end)); do
    if curl --fail --silent "http://$port/api/count" | grep '"instances":3'; then
      status=0
      break
    fi
    sleep 0.3
  done
  "${old[@]}" down --volumes --timeout 1
  return $status
}

single_instance() {
  local port text
  port=$(free_ports)1
  printf 'services:\n  headcount: {image: %s}\n' "$IMAGE" >"$work/single.yml"
  text=$(block single | sed "s#-f deploy/compose/single.yml#& -f $work/single.yml --project-name $project-single#")
  # The documented commands, with the check between up and down.
  (
    cd "$work/tree"
    # The image is there; and what the stack has set is not meant for this one.
    unset COMPOSE_FILE COMPOSE_PROJECT_NAME
    export HEADCOUNT_PORT=$port
    docker-compose() { "${compose_program[@]}" "$@"; }
    # shellcheck disable=SC2064 # The text of now, which is local.
    trap "$(grep ' down' <<<"$text")" EXIT
    eval "$(grep ' up ' <<<"$text" | sed 's/ up -d/ up -d --no-build/')"
    wait_for 60 counts_at "$port" '"count":0,.*"exact":true'
    "$binaries/headcount" load --url "http://127.0.0.1:$port" --connections 20 --rate 50 --hold 1s
    eval "$(grep ' exec ' <<<"$text" | sed 's/ exec / exec -T /')" | grep '^ready$'
  )
  # Nothing is left of it.
  [[ -z $(docker ps --all --quiet --filter "label=com.docker.compose.project=$project-single") ]]
}
