#!/bin/bash
#SBATCH --job-name=TravailGPU           # as in idris.fr, execution of a multi-GPU batch job
#SBATCH -A xyz@v100
#SBATCH -C v100-32g
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=4
#SBATCH --gres=gpu:4
#SBATCH --cpus-per-task=10
#SBATCH --hint=nomultithread
#SBATCH --time=20:00:00
#SBATCH --qos=qos_gpu-t3
#SBATCH --output=gpu%j.out
#SBATCH --error=gpu%j.out
#SBATCH --array=0-6

cd ${SLURM_SUBMIT_DIR}
module purge
module load pytorch-gpu/py3/2.3.0
set -x
export PYTHONUSERBASE=$WORK/.local
srun python -u script.py
