#!/bin/sh
# Every test, each where it can run; make test calls it. Arguments go to pytest.
# A skipped test is a failed one here: all that a test may miss has been provided.
#
# The tests with IPVS run in a kernel of their own, on one core, beside those of this kernel that
# need no namespaces, on another: what they print is shown when those are done.
set -u

cd "$(dirname "$0")/../.."
export HEARTBUS_SKIP_IS_FAILURE=1
python=.venv/bin/python
log=build/lab/tests-with-ipvs.log
mkdir -p build/lab
failed=""
beside=""

# With arguments a step may have nothing to do; without, that is a failure like any other.
nothing_selected() {
    [ "$1" = 5 ] && [ -n "$arguments" ]
}

step() {
    title=$1
    shift
    printf '\n=== %s\n' "$title"
    "$@"
    judge $? "$title"
}

judge() {
    [ "$1" = 0 ] || nothing_selected "$1" || failed="$failed
    $2"
}

stop() {
    trap '' INT TERM
    [ -z "$beside" ] || { kill -TERM "$beside" && wait "$beside"; } 2>/dev/null
    exit 130
}
trap stop INT TERM

# Not in the lab kernel: they boot kernels of their own, and ask Debian's mirror.
machines() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo --preserve-env=HEARTBUS_SKIP_IS_FAILURE -- "$@"
    fi
}

arguments="$*"

# Here, and not in the first test that needs one: a test has two minutes.
step "servers that the checks of the tests ask" $python -m tests.checker.servers

step "a Debian for package, units and images" machines $python -m tests.lab.debian

step "what occupies every core: seeded scenarios, model checker" \
    $python -m pytest -m cores "$@"

with_ipvs="$python -m tests.lab.run -- $python -m pytest -m ipvs"
if [ "$(nproc)" -gt 1 ]; then
    printf '\n=== tests with IPVS: begun beside the next ones, their progress is in %s\n' "$log"
    $with_ipvs "$@" >"$log" 2>&1 &
    beside=$!
fi
step "house rules, unit and bus tests" \
    $python -m pytest -m "not netns and not ipvs and not cores and not machines" "$@"
if [ -n "$beside" ]; then
    printf '\n=== tests with IPVS\n'
    wait "$beside"
    judge $? "tests with IPVS, see $log"
    beside=""
    cat "$log"
else
    step "tests with IPVS" $with_ipvs "$@"
fi

if [ "$(id -u)" = 0 ]; then
    step "tests in network namespaces of this kernel" $python -m pytest -m "netns and not ipvs" "$@"
else
    step "tests in network namespaces, in the lab kernel as we are not root" \
        $python -m tests.lab.run -- $python -m pytest -m "netns and not ipvs" "$@"
fi

step "package, units under systemd, images" machines $python -m pytest -m machines "$@"

if [ -n "$failed" ]; then
    printf '\nmake test: failed:%s\n' "$failed"
    exit 1
fi
printf '\nmake test: all passed\n'
