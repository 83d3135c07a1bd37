#!/bin/sh
# Trains on all GPUs of two machines, and goes on with the same run each time it is given:
#
#     CORPUS=book.txt RUN=runs/book sbatch configs/slurm.sh
#
# The corpus and the run must be on a disk that all machines share.
#SBATCH --job-name=charrnn
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=16
#SBATCH --time=04:00:00
# Two minutes before the time is over, the run is saved.
#SBATCH --signal=TERM@120
set -eu
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun torchrun --nnodes "$SLURM_NNODES" --nproc-per-node "$SLURM_GPUS_ON_NODE" \
    --rdzv-backend c10d --rdzv-endpoint "$first:29400" --rdzv-id "$SLURM_JOB_ID" \
    -m charrnn train "$CORPUS" --out "$RUN" --resume auto "$@"
