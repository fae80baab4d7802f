#!/usr/bin/env bash
# The entry point of the container: reads W&B's settings in .env, checks for the GPU that the image needs, and then
# replaces itself by the program, so that signals reach it.
#
#   docker run IMAGE --config=configs/mnist.py --workdir=/runs/mnist     main.py with these flags
#   docker run IMAGE mnist-jax reproduce /runs/mnist                     another command of this program
#   docker run IMAGE bash                                                or any program
#
# An image for GPUs fails without one, with one line and exit status 2; with $ALLOW_CPU=1 it continues on the CPU.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'docker_entrypoint.sh: %s\n' "$1" >&2; }

# Sets `value` to the value that python-dotenv reads in $1, the right side of a line of .env.
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

# Exports variables whose names begin with WANDB_ and that are not set yet. Evaluates nothing, and prints no value.
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
            say "line $number of .env is not NAME=VALUE and is ignored"
        fi
    done <.env
}

if [[ -d .env ]]; then
    say "$PWD/.env is ignored: it is a folder, which an engine creates if the file to mount is not on the host"
elif [[ -e .env && ! -f .env ]]; then
    say "$PWD/.env is ignored: it must be a regular file"
elif [[ -n $(find -L .env -prune -size +2048 2>/dev/null) ]]; then
    say "$PWD/.env is ignored: it must have at most 1 MB"
elif [[ -e .env && ! -r .env ]]; then
    say "$PWD/.env is ignored: user $(id -u) cannot read it; give it by --env-file"
elif [[ -e .env && -z $(find -L .env -prune ! -perm -004) ]]; then
    say "$PWD/.env is ignored: every user of the host can read it; chmod 600 .env, and give it by --env-file"
elif [[ -e .env ]]; then
    load_dotenv
fi
export PYTHON_DOTENV_DISABLED=1 # the program would read what is ignored here

# Docker's --env-file keeps quotes and comments as parts of a value. These variables can have neither.
for name in WANDB_API_KEY WANDB_BASE_URL WANDB_ENTITY WANDB_MODE; do
    [[ -z ${!name-} ]] || { parse_value "${!name}" && export "$name=$value"; }
done

# Without a GPU, JAX would use the CPU, with a line that is easily missed.
if [[ ${MNIST_JAX_ACCELERATOR-} == cuda && ${JAX_PLATFORMS:-cuda} == *cuda* && ! " $* " =~ " "(-h|--help.*)" " ]]; then
    if missing=$(python -m mnist_jax.system.gpu_check); then
        export JAX_PLATFORMS=${JAX_PLATFORMS:-cuda,cpu} # JAX fails if one of these does not work
    elif [[ ${ALLOW_CPU-} == 1 ]]; then
        say "$missing; using the CPU, since ALLOW_CPU is 1"
        export JAX_PLATFORMS=cpu
    else
        say "$missing; to use the CPU, set ALLOW_CPU=1"
        exit 2
    fi
fi

if [[ $# == 0 || $1 == -* ]]; then
    set -- python main.py "$@"
    # Uploads can continue for ten minutes after a run, but not after the end of the container.
    [[ $* == *--config.wandb.wait* ]] || set -- "$@" --config.wandb.wait=600
fi
exec "$@"
