#!/bin/sh
# Every test, each where it can run; make test calls it. Arguments go to pytest.
# A skipped test is a failed one here: all that a test may miss has been provided.
set -u

cd "$(dirname "$0")/../.."
export HEARTBUS_SKIP_IS_FAILURE=1
python=.venv/bin/python
failed=""

step() {
    title=$1
    shift
    printf '\n=== %s\n' "$title"
    "$@" || failed="$failed
    $title"
}

# Here, and not in the first test that needs one: a test has two minutes.
step "servers that the checks of the tests ask" $python -m tests.checker.real_servers

step "house rules, unit and bus tests" \
    $python -m pytest -m "not netns and not ipvs" "$@"
if [ "$(id -u)" = 0 ]; then
    step "tests in network namespaces of this kernel" $python -m pytest -m "netns and not ipvs" "$@"
else
    step "tests in network namespaces, in the lab kernel as we are not root" \
        $python -m tests.lab.run -- $python -m pytest -m "netns and not ipvs" "$@"
fi
step "tests with IPVS" \
    $python -m tests.lab.run -- $python -m pytest -m ipvs "$@"

if [ -n "$failed" ]; then
    printf '\nmake test: failed:%s\n' "$failed"
    exit 1
fi
printf '\nmake test: all passed\n'
