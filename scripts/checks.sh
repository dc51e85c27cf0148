# Checks that scripts/test counts like tests of cargo. To be sourced. "$work" is a folder for their output.
#
# Every line "ok - ..." or "not ok - ..." is one check.

passed=0
failed=0
unproved=() # What cannot be shown on this machine.
# A check that takes as long says how long it took.
readonly LONG_SECONDS=5

say() { printf '%s\n' "$*"; }

# step NAME COMMAND...: one check. If the command prints "ok - " lines itself, those are counted instead.
step() {
  local name=$1 status output=$work/output begin=$SECONDS
  shift
  # "set -e" has no effect inside a command that "||" follows, and a check must end at its first error.
  set +e
  (
    set -e
    "$@"
  ) >"$output" 2>&1
  status=$?
  set -e
  if grep -q '^\(not \)\?ok - ' "$output"; then
    passed=$((passed + $(grep -c '^ok - ' "$output" || true)))
    cat "$output"
    if grep -q '^not ok - ' "$output" && ((status == 0)); then status=1; fi
  elif ((status == 0)); then
    passed=$((passed + 1))
    say "ok - $name"
  else
    cat "$output"
  fi
  if ((status != 0)); then
    failed=$((failed + 1))
    say "not ok - $name (exit code $status)"
  fi
  if ((SECONDS - begin >= LONG_SECONDS)); then say "# in $((SECONDS - begin)) s"; fi
}

die() {
  say "not ok - $*"
  failed=$((failed + 1))
  exit 1
}

# Makes the debug build of all other tests. Its programs are in the folder "$binaries". One of the tests is chosen too:
# without any, dependencies would have fewer features, and be compiled once more.
build_binaries() {
  cargo build --quiet --locked --workspace --bins --test empty_variables
  binaries=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/debug
}

# Prints the last line in cargo's format. Fails if a check failed.
summary() {
  local word=ok each
  for each in "${unproved[@]}"; do say "not proved here: $each"; done
  if ((failed > 0)); then word=FAILED; fi
  say "test result: $word. $passed passed; $failed failed; in $SECONDS s"
  ((failed == 0))
}
