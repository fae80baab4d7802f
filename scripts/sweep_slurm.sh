#!/usr/bin/env bash
# The members of a sweep as tasks of a Slurm array, one GPU each; what is finished is left as it is.
#
#     sbatch --array=0-17%6 scripts/sweep_slurm.sh \
#         --config=configs/mnist.py --sweep=configs/sweeps/report.py --workdir=runs/report
#
# `python -m mnist_jax sweep --list` with the same flags shows the members, of which the array counts the lines from 0 on.
# Data sets have to be prepared once before, by any run. Two minutes before the time limit a member is told to
# save, and goes on where it was when the array is submitted again.
#SBATCH --job-name=sweep
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=4
#SBATCH --mem=16G
#SBATCH --time=01:00:00
#SBATCH --signal=TERM@120
#SBATCH --output=sweep-%A_%a.log
set -euo pipefail
export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}" # which srun does not take over by itself
exec srun "${PYTHON:-.venv/bin/python}" -m mnist_jax sweep --member="$SLURM_ARRAY_TASK_ID" "$@"
