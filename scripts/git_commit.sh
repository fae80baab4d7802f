#!/bin/sh
# Prints the commit of this checkout, with "-dirty" where the tree is not the commit's; where there is no git
# repository, in an archive say, $GIT_COMMIT.
set -eu
cd "$(dirname "$0")/.."

fail() {
    echo "git_commit.sh: $1" >&2
    exit 1
}

if [ -e .git ]; then
    commit=$(git rev-parse HEAD 2>/dev/null) || commit=
    # Alike on the host and in a build, where the user's own ignored files and the modes of other systems are not known.
    changes=$(git -c core.excludesFile=/dev/null -c core.fileMode=false status --porcelain 2>/dev/null) || commit=
    [ -z "$commit" ] || commit=$commit${changes:+-dirty}
    [ -n "$commit" ] || [ -n "${GIT_COMMIT:-}" ] ||
        fail "git cannot read .git, of a worktree or submodule perhaps; give the commit as GIT_COMMIT"
    [ -z "$commit" ] || [ -z "${GIT_COMMIT:-}" ] || [ "$commit" = "$GIT_COMMIT" ] ||
        fail "GIT_COMMIT is $GIT_COMMIT, but the checkout is at $commit; build without GIT_COMMIT"
else
    commit=
    [ -n "${GIT_COMMIT:-}" ] || fail "there is no .git here; give the commit as GIT_COMMIT"
fi
echo "${commit:-$GIT_COMMIT}"
