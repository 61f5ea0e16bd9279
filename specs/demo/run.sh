#!/bin/sh
# Watch a run go from red to verified, on a recording: no key, no network, no cost.
# It happens in a fresh directory with a state directory of its own; nothing of yours is touched.
# Another recording: sh specs/demo/run.sh FILE
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
recording=${1:-$here/recording.jsonl}
case $recording in /*) ;; *) recording=$PWD/$recording ;; esac

place=$(mktemp -d "${TMPDIR:-/tmp}/runner-demo.XXXXXX")
RUNNER_STATE_DIR=$place/state
export RUNNER_STATE_DIR
unset RUNNER_MODEL RUNNER_PRICES

cp -R "$here/project" "$place/textkit"
cp "$here/spec.md" "$place/textkit/spec.md"
cd "$place/textkit"
git -c init.defaultBranch=main init --quiet
git add --all
git -c user.name=demo -c user.email=demo@example.org -c commit.gpgsign=false -c core.hooksPath=/dev/null \
  commit --quiet --message "textkit, before the run"

echo "\$ cd $place/textkit"
echo "\$ runner loop spec.md --model replay:$recording"
code=0
runner loop spec.md --model "replay:$recording" || code=$?

cat <<END

To look further:
  cd $place/textkit
  export RUNNER_STATE_DIR=$RUNNER_STATE_DIR
  runner show last         # the run, and what it cost
  runner log last          # every step of it
  runner log verify last   # is its log whole?
  git diff                 # what it changed in the project
To forget it: rm -rf $place
END
exit "$code"
