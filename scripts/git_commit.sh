#!/bin/sh
# Prints the commit of this checkout, with "-dirty" where the tree is not the commit's; where there is no git
# repository, in an archive say, $GIT_COMMIT. The tree is the files that git tracks, and others that Python can import
# and templates, as in mnist_jax/storage/git.py.
set -eu
cd "$(dirname "$0")/.."

fail() {
    echo "git_commit.sh: $1" >&2
    exit 1
}

# Alike on the host and in a build, where the user's own settings and the modes of other systems are not known.
settled_git() {
    LC_ALL=C git --no-optional-locks -c core.fileMode=false -c core.fsmonitor=false -c core.hooksPath=/dev/null \
        -c core.ignoreStat=false -c core.splitIndex=false -c core.untrackedCache=false -c diff.autoRefreshIndex=true "$@"
}

# Whether the tree differs from the commit, by an index made anew, in which no flag or time stamp hides a change.
is_dirty() {
    GIT_INDEX_FILE=$1/index
    export GIT_INDEX_FILE
    settled_git read-tree --no-sparse-checkout HEAD || return 2
    changed=0
    settled_git diff --quiet --no-ext-diff --no-textconv --ignore-submodules=none HEAD || changed=$?
    [ "$changed" = 0 ] || return "$changed"
    others=$(settled_git ls-files --others --exclude-per-directory=.gitignore -- '*.py' '*.pyc' '*.so' '*.jinja' \
        ':(exclude)*site-packages/*' ':(exclude)*__pycache__/*') || return 2
    [ -n "$others" ] && return 1
    return 0
}

unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY GIT_COMMON_DIR GIT_EXTERNAL_DIFF GIT_LITERAL_PATHSPECS \
    GIT_GLOB_PATHSPECS GIT_NOGLOB_PATHSPECS GIT_ICASE_PATHSPECS

if [ -e .git ]; then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    commit=$(settled_git rev-parse HEAD 2>"$folder/why") || commit=
    if [ -n "$commit" ]; then
        status=0
        (is_dirty "$folder") 2>"$folder/why" || status=$?
        case $status in 0) ;; 1) commit=$commit-dirty ;; *) commit= ;; esac
    fi
    [ -n "$commit" ] || [ -n "${GIT_COMMIT:-}" ] ||
        fail "git cannot read .git ($(head -n 1 "$folder/why")); mend that, or give the commit as GIT_COMMIT"
    [ -z "$commit" ] || [ -z "${GIT_COMMIT:-}" ] || [ "$commit" = "$GIT_COMMIT" ] ||
        fail "GIT_COMMIT is $GIT_COMMIT, but the checkout is at $commit; build without GIT_COMMIT"
else
    commit=
    [ -n "${GIT_COMMIT:-}" ] || fail "there is no .git here; give the commit as GIT_COMMIT"
fi
echo "${commit:-$GIT_COMMIT}"
