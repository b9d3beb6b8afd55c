#!/bin/sh
# test_tidy.sh TIDY ROOT: trees that are sound but for one fault; tidy must find each one, and none in the sound tree.
set -eu
tidy=$1
root=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

make_tree() {
    rm -rf "$work/tree"
    mkdir -p "$work/tree/docs" "$work/tree/include/temper" "$work/tree/core/base" "$work/tree/core/store" \
        "$work/tree/core/recipe" "$work/tree/plugins/filter" "$work/tree/plugins/rank" "$work/tree/plugins/lm/files" \
        "$work/tree/core/cli"
    cp "$root/docs/architecture.md" "$work/tree/docs/"
    for room in core/base core/store core/recipe core/cli plugins/filter plugins/rank plugins/lm/files; do
        echo "# $room" >"$work/tree/$room/README.md"
    done
    echo '/* status.h: a header. */' >"$work/tree/include/temper/status.h"
    printf '/* base.h: a header. */\n#include <temper/status.h>\n' >"$work/tree/core/base/base.h"
    printf '/* store.h: a header. */\n#include "base/base.h"\n#include <stdio.h>\n' >"$work/tree/core/store/store.h"
    printf '/* recipe.c: a source. */\n#include <lua.h>\n#include "base/base.h"\n' >"$work/tree/core/recipe/recipe.c"
    printf '/* filter.c: a source; exp(x) in a comment. */\n#include <temper/status.h>\nint f(void);\n' \
        >"$work/tree/plugins/filter/filter.c"
    echo '/* rank.h: a header. */' >"$work/tree/plugins/rank/rank.h"
    echo '/* files.h: a header. */' >"$work/tree/plugins/lm/files/files.h"
}

failures=0
# expect FAULT PATTERN: tidy finds it in the tree as it is now.
expect() {
    if "$tidy" "$work/tree" >"$work/out" 2>&1; then
        echo "missed: $1"
        failures=1
    elif ! grep -q -- "$2" "$work/out"; then
        echo "wrong word on: $1"
        cat "$work/out"
        failures=1
    fi
    make_tree
}

make_tree
if ! "$tidy" "$work/tree" >"$work/out" 2>&1; then
    echo "found faults in a sound tree:"
    cat "$work/out"
    failures=1
fi

echo '#include "store/store.h"' >>"$work/tree/core/base/base.h"
expect 'base includes store' 'core/base/base.h:3: core/base/ may not include core/store/store.h'
echo '#include "../store/store.h"' >>"$work/tree/core/base/base.h"
expect 'the same by a relative path' 'core/base/ may not include core/store/store.h'
echo '#include "base/base.h"' >>"$work/tree/plugins/filter/filter.c"
expect 'a plugin includes core' 'plugins/filter/ may not include core/base/base.h'
echo '#include "../rank/rank.h"' >>"$work/tree/plugins/filter/filter.c"
expect 'a plugin includes another' 'may not include plugins/rank/rank.h'
echo '#include "../lm/files/files.h"' >>"$work/tree/plugins/filter/filter.c"
expect 'a plain plugin includes lm' 'may not include plugins/lm/files/files.h'
echo '#include <lua.h>' >>"$work/tree/core/store/store.h"
expect 'lua.h outside core/recipe' "may not include <lua.h>"
echo '  #  include <openssl/sha.h>' >>"$work/tree/core/store/store.h"
expect 'libcrypto outside core/base' "may not include <openssl/sha.h>"
echo '#include <curl/curl.h>' >>"$work/tree/core/base/base.h"
expect 'an unknown library' '<curl/curl.h> belongs to no library'
echo '#include "nowhere.h"' >>"$work/tree/core/base/base.h"
expect 'a header that is not there' 'nowhere to be found'
echo '#include "base/base.h"' >>"$work/tree/include/temper/status.h"
expect 'the contract includes core' 'include/temper/ may not include core/base/base.h'
echo 'double g(double x) { return 1 + expf (x); }' >>"$work/tree/plugins/filter/filter.c"
expect 'libm in a result' 'expf is libm'
printf '\tint x;\n' >>"$work/tree/core/base/base.h"
expect 'a tab' 'base.h:3: a tab'
printf 'int x; \n' >>"$work/tree/core/base/base.h"
expect 'a trailing space' 'a space at the end'
printf 'int x;' >>"$work/tree/core/base/base.h"
expect 'no line feed at the end' 'no line feed'
printf '/* TO%s */\n' DO >>"$work/tree/core/base/base.h"
expect 'unfinished work' 'file an issue'
i=0
while [ $i -lt 900 ]; do echo 'int x;'; i=$((i + 1)); done >>"$work/tree/core/base/base.h"
expect 'a long file' 'are two files'
echo 'int x;' >"$work/tree/core/base/new.c"
expect 'no head comment' 'no head comment'
rm "$work/tree/core/store/README.md"
expect 'a folder that does not say what it is' 'says what lives here'
echo nothing >"$work/tree/docs/architecture.md"
expect 'a document without arrows' 'does not list the folders'
[ $failures -eq 0 ] && echo "every fault was found"
exit $failures
