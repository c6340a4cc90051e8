# shellcheck shell=bash
# progress.sh, to be sourced.

# with_progress WHAT COMMAND...: says what is being done, every 30 seconds that it still is, and how long it took. Where the
# script ends or is interrupted, the command ends too. It is a subshell, so that its trap is its own.
with_progress() (
  what=$1 begin=$SECONDS status=0
  shift
  echo "$what"
  # In a process group of its own: whatever the command has started is ended with it.
  set -m
  "$@" </dev/null &
  pid=$!
  set +m
  trap 'kill -- "-$pid" 2>/dev/null && wait "$pid"' EXIT
  while sleep 0.2 && kill -0 "$pid" 2>/dev/null; do
    if ((SECONDS - begin >= ${next:-30})); then
      echo "  still at it after $((SECONDS - begin)) s"
      next=$((SECONDS - begin + 30))
    fi
  done
  wait "$pid" || status=$?
  trap - EXIT
  if ((status == 0)); then echo "  done in $((SECONDS - begin)) s"; fi
  exit "$status"
)
