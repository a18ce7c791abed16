# shellcheck shell=bash
# What the scripts of this folder share; sourced, never run.

set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
logs=$top/build/logs
# shellcheck disable=SC2034  # for the scripts that keep things between checkouts
cache=${CORDON_CACHE:-${HOME:-/root}/.cache/cordon}

# Suites of tests that run a real server; every other suite, whatever its name, needs neither a
# Vulkan driver nor a sandbox.
# shellcheck disable=SC2034
client_suites=(client validation escape)
# shellcheck disable=SC2034
unit_only=(--no-suite client --no-suite client-mesa26 --no-suite validation --no-suite escape --no-suite vm --no-suite peer --no-suite noop --no-suite apps)

if [ -t 1 ]; then
    on_terminal=yes
else
    on_terminal=
fi

say()
{
    printf '%s\n' "$*"
}

# die WHAT REMEDY...: the first line says what is wrong, the others what a person can do.
die()
{
    printf '%s: %s\n' "$(basename "$0")" "$1" >&2
    shift
    while [ $# -gt 0 ]; do
        printf '    %s\n' "$1" >&2
        shift
    done
    exit 1
}

# Prints the comment at the head of the running script, which is its manual.
usage()
{
    sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"
}

# as_root COMMAND...: root is needed only to install packages and to enter another root.
as_root()
{
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo > /dev/null; then
        sudo "$@"
    else
        die "this needs root, and there is no sudo" "run as root:  $*"
    fi
}

# Asks for the password now, while a person can see the question, not in the middle of a step.
as_root_ready()
{
    if [ "$(id -u)" != 0 ]; then
        command -v sudo > /dev/null ||
            die "packages must be installed, and there is neither root nor sudo" \
                "run this script as root once"
        sudo -v || die "sudo was refused" "run this script as root once"
    fi
}

# Shows that a step which takes more than two seconds is alive; ends when its parent kills it.
step_watch()
{
    local label=$1 log=$2 begun=$SECONDS last

    sleep 2
    while :; do
        if [ "$on_terminal" ]; then
            last=$(tail -n 1 "$log" | tr -d '\r\033' | cut -c 1-60)
            printf '\r\033[K  ...  %4d s  %s: %s' $((SECONDS - begun)) "$label" "$last"
            sleep 1
        else
            say "  ...  $(printf '%4d' $((SECONDS - begun))) s  $label"
            sleep 30
        fi
    done
}

# step LABEL COMMAND...: runs COMMAND with its output in build/logs/, one line when it ends.
# A failure shows the end of that log, or what the command in step_told prints, and the command
# that repeats the step alone (step_command); the status is COMMAND's. CORDON_VERBOSE=1 shows the
# output as it comes.
step()
{
    local label=$1 begun=$SECONDS status=0 log watcher

    shift
    mkdir -p "$logs"
    log=$logs/$(printf '%s' "$label" | tr -cs 'A-Za-z0-9._\n' '-').log
    if [ "${CORDON_VERBOSE:-}" ]; then
        say "  ...          $label"
        "$@" 2>&1 < /dev/null | tee "$log" || status=$?
    else
        : > "$log"
        step_watch "$label" "$log" < /dev/null &
        watcher=$!
        "$@" > "$log" 2>&1 < /dev/null || status=$?
        kill "$watcher" 2> /dev/null || true
        wait "$watcher" 2> /dev/null || true
        if [ "$on_terminal" ]; then
            printf '\r\033[K'
        fi
    fi
    if [ "$status" = 0 ]; then
        printf '  ok   %4d s  %s\n' $((SECONDS - begun)) "$label"
        return 0
    fi
    printf '  FAIL %4d s  %s\n' $((SECONDS - begun)) "$label"
    if [ -z "${CORDON_VERBOSE:-}" ]; then
        { ${step_told:-false} 2> /dev/null || tail -n "${CORDON_TAIL:-40}" "$log"; } |
            sed 's/^/       | /'
    fi
    say "       whole log:   ${log#"$top"/}"
    say "       this alone:  ${step_command:-$*}"
    return "$status"
}

# Where no cleanup trap exists, a step that is interrupted must not leave its watcher behind.
trap 'kill $(jobs -p) 2> /dev/null || true; exit 130' INT TERM

# Extra address-space randomness of newer kernels does not leave the sanitizers of our compilers
# the room that they expect, and they abort at random; so what they are built into runs without.
sanitized()
{
    if [ "$(cat /proc/sys/vm/mmap_rnd_bits 2> /dev/null || echo 0)" -gt 28 ] &&
        setarch -R true 2> /dev/null; then
        setarch -R "$@"
    else
        "$@"
    fi
}

# installed PACKAGE [VERSION]: is it there, at least at VERSION? Asks dpkg's own database only.
installed()
{
    local state

    state=$(dpkg-query -W -f '${db:Status-Abbrev} ${Version}' "$1" 2> /dev/null) || return 1
    [ "${state%% *}" = ii ] || return 1
    [ -z "${2:-}" ] || dpkg --compare-versions "${state##* }" ge "$2"
}
