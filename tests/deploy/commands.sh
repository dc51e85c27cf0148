# The commands of README.md and docs/ as a reader types them, but for ports and the debug build in the place of the
# release build (the image has that one). To be sourced by scripts/deploy-test.

# block NAME: its text. What was asked for is written down, for every_block_was_run.
block() {
  printf '%s\n' "$1" >>"$work/blocks"
  python tests/deploy/blocks.py text "$1"
}

debug_build() { sed -e 's/\(cargo [a-z]*\) --release/\1/' -e "s#target/release/#$binaries/#"; }

# wait_for SECONDS COMMAND...: until it succeeds.
wait_for() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    if ((SECONDS > end)); then
      say "not within time: $*"
      return 1
    fi
    sleep 0.2
  done
}

# For each of so many programs the first of three ports in a row, less its last digit, which is 1.
free_ports() {
  python - "${1:-1}" <<'END'
import random, socket, sys

def free(port):
    with socket.socket() as listener:
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True

found = set()
while len(found) < int(sys.argv[1]):
    tens = random.randrange(1100, 3200)
    if all(free(tens * 10 + i) for i in (1, 2, 3)):
        found.add(tens)
print(*found)
END
}

counts_at() { curl --fail --silent --max-time 2 "http://127.0.0.1:$1/api/count" | grep "$2"; }

# README: one instance; and docs/load.md, which sends visitors to it.
one_instance() {
  local log=$work/one-instance serve load demo pid address
  serve=$(block one-instance | debug_build)
  HEADCOUNT_LISTEN=127.0.0.1:0 HEADCOUNT_ADMIN_LISTEN=127.0.0.1:0 setsid bash -ec "$serve" >"$log" 2>&1 &
  pid=$!
  trap 'kill -- -'"$pid"' 2>/dev/null || true; cat '"$log" EXIT
  wait_for 300 grep '^listening ' "$log"
  address=$(sed -n 's/^listening public=\([^ ]*\) .*/\1/p' "$log")
  curl --fail --silent "http://$address/" | grep -i '<!doctype html'
  load=$(block load | sed "s#127.0.0.1:3000#$address#")
  PATH=$binaries:$PATH bash -exc "$load"
  # It runs until stopped.
  demo=$(block load-demo | sed "s#127.0.0.1:3000#$address#")
  PATH=$binaries:$PATH timeout --preserve-status --signal INT 8 bash -exc "exec $demo"
}

# README: three instances and a Redis.
cluster_by_hand() {
  local redis public admin
  read -r redis public admin <<<"$(free_ports 3)"
  redis+=1
  {
    say "set -e"
    block cluster-by-hand
    say "for port in ${public}1 ${public}2 ${public}3; do"
    say "  until curl --fail --silent http://127.0.0.1:\$port/api/count | grep '\"instances\":3'; do sleep 0.2; done"
    say "done"
    block cluster-by-hand-status
    block cluster-by-hand-end
    say "wait"
  } | debug_build | sed -e "s/6400/$redis/; s/:300\\\$i/:$public\$i/; s/:910\\\$i/:$admin\$i/" >"$work/by-hand"
  timeout --kill-after 5 300 bash "$work/by-hand" >"$work/by-hand.log" 2>&1 || { cat "$work/by-hand.log"; return 1; }
  cat "$work/by-hand.log"
  grep '^sum 0, count 0 at revision [0-9]*: they agree$' "$work/by-hand.log"
  # All of it has ended.
  local port
  for port in "$redis" "${public}1" "${public}2" "${public}3"; do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then return 1; fi
  done
}

# README: the image alone.
image_alone() {
  local image=$project-alone text port pid container
  port=$(free_ports)1
  text=$(block image |
    sed -e "s/-t headcount /-t $image --build-arg PROFILE=$PROFILE /; s/3000:3000 headcount/$port:3000 $image/")
  (cd "$work/tree" && exec setsid bash -ec "$text") >"$work/alone" 2>&1 &
  pid=$!
  trap 'kill -- -'"$pid"' 2>/dev/null || true; cat '"$work/alone" EXIT
  wait_for 600 counts_at "$port" '"count":0'
  container=$(docker ps --quiet --filter "publish=$port")
  docker stop "$container"
  wait "$pid"
  docker rm "$container"
  docker rmi --force "$image"
}

# docs/operations.md: what belongs to the stripped binary, and is of the same build.
line_tables() {
  local image=$project-debug text id address
  text=$(block line-tables |
    sed -e "s/headcount-debug/$image/g; s/ --target / --build-arg PROFILE=$PROFILE --target /")
  (cd "$work/tree" && bash -exc "$text")
  docker rmi --force "$image"
  id=$(readelf --notes "$work/headcount" | grep 'Build ID')
  readelf --notes "$work/tree/headcount.debug" | grep "$id"
  address=$(nm "$work/tree/headcount.debug" | sed -n 's/^\([0-9a-f]*\) [tT] .*headcount4main.*/\1/p' | head -n 1)
  addr2line --exe "$work/tree/headcount.debug" "$address" | grep 'src/main.rs:[0-9]'
}

# README: the first command, in a clean tree in which nothing was built. It stays there until compose_down.
compose_up() {
  local text
  text=$(block compose-up)
  (cd "$work/tree" && exec setsid bash -ec "$text") >"$work/up" 2>&1 &
  up=$!
  started+=(-"$up")
}

cluster_is_up() {
  local end=$((SECONDS + 1500)) port
  while ((SECONDS < end)) && kill -0 "$up"; do
    port=$("${compose[@]}" port balancer 8080 2>/dev/null) || port=
    if [[ -n $port ]] && counts_at "${port##*:}" '"instances":3'; then return 0; fi
    sleep 0.5
  done
  tail -n 60 "$work/up"
  return 1
}

# README: visitors in the graphs.
demo_moves_the_count() {
  local text answer end
  text=$(block compose-demo)
  (cd "$work/tree" && bash -exc "$text")
  end=$((SECONDS + 60))
  while ((SECONDS < end)); do
    [[ -n $("${compose[@]}" ps --quiet --status running visitors) ]]
    answer=$(curl --fail --silent "$PAGE/api/count")
    if [[ $answer =~ \"count\":[1-9][0-9] && $answer == *'"instances":5'* ]]; then return 0; fi
    sleep 0.5
  done
  say "$answer"
  return 1
}

# README: the end of everything, with visitors there.
compose_down() {
  local left text
  text=$(block compose-down)
  [[ -n $("${compose[@]}" ps --quiet --status running visitors) ]]
  (cd "$work/tree" && bash -exc "$text")
  left=$(docker ps --all --quiet --filter "label=com.docker.compose.project=$project")
  [[ -z $left ]]
  left=$(docker network ls --quiet --filter "label=com.docker.compose.project=$project")
  [[ -z $left ]]
  wait_for 30 eval "! kill -0 $up"
}

# docs/runbook.md on the stack that runs.
runbook_on_the_stack() {
  local text
  text=$(block stack | sed "s#http://localhost:8080#$PAGE#")
  (cd "$work/tree" && bash -exc "$text")
}

# Nothing is marked as run that no check has asked for.
every_block_was_run() {
  python tests/deploy/blocks.py names >"$work/names"
  sort -u "$work/blocks" | diff - "$work/names"
}
