#!/bin/bash
# One run, one id: whatever the number of threads, the kernel set, and however often something was killed on the way.
#
# usage: same_bits.sh TEMPER quick|long
# quick: a run of the main recipe on the builtin model, cut down to some seconds; scalar on a smaller one still.
# long: the recipe nearly as users run it, kills at several moments of respond and of dpo, and the control that training
# on shuffled preferences does not pass.
set -u
temper=$1 mode=$2
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failures=0 skipped=""

say() { printf '%s\n' "$*"; }
fail() { say "FAILED: $*"; failures=$((failures + 1)); }

case $mode in
quick) size="--set per_trait=6 --set held_out=2 --set samples=2 --set max_tokens=48 --set epochs=1" moments="0.5" ;;
long) size="--set per_trait=30 --set held_out=10 --set samples=4" moments="0.1 0.3 0.5 0.7 0.9" ;;
*) say "usage: same_bits.sh TEMPER quick|long"; exit 2 ;;
esac
tiny="--set per_trait=3 --set held_out=1 --set samples=2 --set max_tokens=40 --set epochs=1"

# run HOME OPTIONS…: prints the run's id; the events stay in HOME.log. A failed expectation is no failure here.
run() {
    local home=$1
    shift
    TEMPER_HOME=$home "$temper" run "$root/recipes/character.lua" --json --out "$work/out" "$@" >"$home.log" 2>&1
    sed -n 's/.*"event":"archive","id":"\(sha256:[0-9a-f]*\)".*/\1/p' "$home.log"
}

expect_id() { # WHAT WANTED GOT LOG
    if [ -n "$2" ] && [ "$2" = "$3" ]; then
        say "same    $1"
    else
        fail "$1: id ${3:-none}, wanted ${2:-none}"
        tail -n 5 "$4"
    fi
}

usable() { # SET: its name is refused when this CPU lacks it
    TEMPER_KERNELS=$1 TEMPER_HOME=$work/usable "$temper" selftest --kernels >"$work/usable.log" 2>&1
}

# seconds STAGE LOG: how long it took, from the events' own times in the log of milliseconds
stage_seconds() {
    awk -v stage="$1" '$2 == "started" && $3 == stage { begin = $1 } $2 == "finished" && $3 == stage { print $1 - begin }' "$2"
}

# timed HOME OPTIONS…: as run, but writes "seconds event stage" lines to HOME.times
timed() {
    local home=$1
    shift
    TEMPER_HOME=$home "$temper" run "$root/recipes/character.lua" --json --out "$work/out" "$@" 2>&1 |
        while IFS= read -r line; do
            case $line in
            *'"event":"started"'* | *'"event":"finished"'*)
                printf '%s %s\n' "$EPOCHREALTIME" \
                    "$(printf '%s' "$line" | sed 's/.*"event":"\([a-z]*\)".*"stage":"\([^"]*\)".*/\1 \2/')" >>"$home.times" ;;
            esac
            printf '%s\n' "$line"
        done >"$home.log"
    sed -n 's/.*"event":"archive","id":"\(sha256:[0-9a-f]*\)".*/\1/p' "$home.log"
}

# kill_in STAGE WHO MOMENT: a fresh run, kill -9 of the scheduler or the worker at that share of the stage's time, then
# the same command again. Says when the kill came too late, so that a pass is never an empty one.
kill_in() {
    local stage=$1 who=$2 moment=$3 home seconds scheduler victim log
    home=$work/kill-$stage-$who-$moment log=$home.killed
    seconds=$(stage_seconds "$stage" "$work/reference.times")
    TEMPER_HOME=$home setsid "$temper" run "$root/recipes/character.lua" --json --out "$work/out" $size >"$log" 2>&1 &
    scheduler=$!
    for _ in $(seq 600); do
        grep -q "\"event\":\"started\",\"stage\":\"$stage\"" "$log" && break
        sleep 0.02
    done
    sleep "$(awk -v s="$seconds" -v m="$moment" 'BEGIN { printf "%.3f", s * m }')"
    victim=$scheduler
    [ "$who" = worker ] && victim=$(pgrep -P "$scheduler" | head -n 1)
    kill -9 "$victim" 2>/dev/null
    wait "$scheduler" 2>/dev/null
    if grep -q "\"event\":\"finished\",\"stage\":\"$stage\"" "$log"; then
        say "late    kill -9 of the $who at $moment of $stage came after its end: counted as a kill between stages"
    fi
    grep -q '"event":"archive"' "$log" && fail "kill -9 of the $who at $moment of $stage: the run ended all the same"
    expect_id "kill -9 of the $who at $moment of $stage, then run again" "$reference" "$(run "$home" $size)" "$home.log"
    grep -q '"event":"cached"' "$home.log" || fail "after the kill in $stage nothing finished was kept"
}

reference=$(timed "$work/reference" $size --threads 2)
[ -n "$reference" ] || { fail "the reference run"; tail -n 20 "$work/reference.log"; exit 1; }
say "id      $reference ($mode, 2 threads, $(stage_seconds respond "$work/reference.times") s respond, $(stage_seconds dpo "$work/reference.times") s dpo)"

expect_id "1 thread" "$reference" "$(run "$work/one" $size --threads 1)" "$work/one.log"
small=$(run "$work/small" $tiny)
for set in avx512-bf16 avx512 avx2; do
    if usable $set; then
        expect_id "kernel set $set" "$reference" "$(TEMPER_KERNELS=$set run "$work/$set" $size)" "$work/$set.log"
    else
        skipped="$skipped $set"
    fi
done
expect_id "kernel set scalar, on a smaller run" "$small" "$(TEMPER_KERNELS=scalar run "$work/scalar" $tiny)" "$work/scalar.log"

for moment in $moments; do
    for stage in respond dpo; do
        for who in scheduler worker; do
            kill_in $stage $who "$moment"
        done
    done
done

[ -n "$skipped" ] && say "skipped: this CPU lacks$skipped"
[ $failures -eq 0 ] && say "one id throughout"
exit $((failures > 0))
