#!/usr/bin/env bash
# What a container starts with: W&B's settings from .env, a look for the GPU that the image is made for, then the
# program in the place of this process, so that signals reach it.
#
#   docker run IMAGE --config=configs/mnist.py --workdir=/runs/mnist     main.py with these flags
#   docker run IMAGE mnist-jax reproduce /runs/mnist                     another command of this program
#   docker run IMAGE bash                                                or any program
#
# $ALLOW_CPU=1: an image for GPUs goes on without one. Exit status 2, with one line: it does not.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'docker_entrypoint.sh: %s\n' "$1" >&2; }

# Sets `value` to what python-dotenv takes $1, the right side of a line of .env, to be.
parse_value() {
    value=$1
    if [[ $value =~ ^[[:space:]]*\'([^\']*)\'[[:space:]]*(#.*)?$ ||
        $value =~ ^[[:space:]]*\"([^\"]*)\"[[:space:]]*(#.*)?$ ]]; then
        value=${BASH_REMATCH[1]}
    else
        value=${value%%[[:space:]]#*}
        value=${value#"${value%%[![:space:]]*}"}
        value=${value%"${value##*[![:space:]]}"}
    fi
}

# Exports the names that begin with WANDB_ and are not set yet. Nothing is evaluated, and no value is ever printed.
load_dotenv() {
    local line name value number=0
    while IFS= read -r line || [[ -n $line ]]; do
        number=$((number + 1))
        line=${line%$'\r'}
        if [[ $line =~ ^[[:space:]]*(export[[:space:]]+)?([A-Za-z_][A-Za-z0-9_]*)[[:space:]]*=(.*)$ ]]; then
            name=${BASH_REMATCH[2]}
            parse_value "${BASH_REMATCH[3]}"
            [[ $name != WANDB_* || -z $value || -n ${!name-} ]] || export "$name=$value"
        elif [[ ! $line =~ ^[[:space:]]*(#.*)?$ ]]; then
            say "line $number of .env is not NAME=VALUE and is left out"
        fi
    done <.env
}

if [[ -d .env ]]; then
    say "$PWD/.env is a folder, which an engine makes where the file to mount is not on the host; left out"
elif [[ -e .env && ! -f .env ]]; then
    say "$PWD/.env must be a regular file; left out"
elif [[ -n $(find -L .env -prune -size +2048 2>/dev/null) ]]; then
    say "$PWD/.env must have at most 1 MB; left out"
elif [[ -e .env && ! -r .env ]]; then
    say "$PWD/.env cannot be read by user $(id -u); left out: give it by --env-file instead"
elif [[ -e .env && -z $(find -L .env -prune ! -perm -004) ]]; then
    say "$PWD/.env can be read by every user of the host; left out: chmod 600 .env, and give it by --env-file"
elif [[ -e .env ]]; then
    load_dotenv
fi
export PYTHON_DOTENV_DISABLED=1 # what was left out stays out

# --env-file of Docker takes quotes and comments for parts of a value. None of these can hold either.
for name in WANDB_API_KEY WANDB_BASE_URL WANDB_ENTITY WANDB_MODE; do
    [[ -z ${!name-} ]] || { parse_value "${!name}" && export "$name=$value"; }
done

# Without a GPU, JAX would go on on the CPU with a line that is easily missed.
if [[ ${MNIST_JAX_ACCELERATOR-} == cuda && ${JAX_PLATFORMS:-cuda} == *cuda* && ! " $* " =~ " "(-h|--help.*)" " ]]; then
    if missing=$(python -m mnist_jax.system.gpu_check); then
        export JAX_PLATFORMS=${JAX_PLATFORMS:-cuda,cpu} # what is named has to work, see devices.py
    elif [[ ${ALLOW_CPU-} == 1 ]]; then
        say "$missing; goes on on the CPU, since ALLOW_CPU is 1"
        export JAX_PLATFORMS=cpu
    else
        say "$missing; to go on on the CPU, set ALLOW_CPU=1"
        exit 2
    fi
fi

if [[ $# == 0 || $1 == -* ]]; then
    set -- python main.py "$@"
    # Uploads that go on behind a run for ten minutes would end with the container.
    [[ $* == *--config.wandb.wait* ]] || set -- "$@" --config.wandb.wait=600
fi
exec "$@"
