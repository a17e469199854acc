#!/bin/bash
#SBATCH --account=berzelius-2025-74   # as in nsc.liu.se, Berzelius GPU user guide
#SBATCH --gpus=4 -C "fat"
#SBATCH --reservation=safe
#SBATCH -t 3-00:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --nice
#SBATCH --exclude=node[001-003],node017

eval "$(conda shell.bash hook)"
module load Miniforge/24.7.1-2-hpc1-bdist
conda activate my_env
ulimit -n 65535
torchrun --standalone --nproc_per_node=4 train.py
#SBATCH --mem=0
