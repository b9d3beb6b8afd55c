#!/bin/sh
# The kernels on a machine that is not this one: PROBE runs here, and the command after it under an emulator. Both must
# print one digest for every set, the other machine's `math` included, and the other one must choose SET.
#   other_machines.sh SET PROBE COMMAND...
set -eu
wanted="$1" probe="$2"
shift 2
here="$(TEMPER_KERNELS= "$probe")"
there="$(TEMPER_KERNELS= "$@")"
printf 'here:\n%s\nthere:\n%s\n' "$here" "$there"

# The values of a probe's report, one a line: of its sets, or of temper-math.
sets() { printf '%s\n' "$1" | grep -v -e '^math ' -e '^chosen ' | cut -d' ' -f2 | sort -u; }
math() { printf '%s\n' "$1" | grep '^math '; }
[ "$(sets "$here" | wc -l)" -eq 1 ] || { echo "the sets of this machine differ"; exit 1; }
[ "$(sets "$here")" = "$(sets "$there")" ] || { echo "the other machine's sets differ from this one's"; exit 1; }
[ "$(math "$here")" = "$(math "$there")" ] || { echo "temper-math differs on the other machine"; exit 1; }
printf '%s\n' "$there" | grep -q "^$wanted " || { echo "the other machine has not run $wanted"; exit 1; }
printf '%s\n' "$there" | grep -q "^chosen $wanted\$" || { echo "the other machine has not chosen $wanted"; exit 1; }
