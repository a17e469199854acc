#!/usr/bin/env bash
#SBATCH --partition=a100,preempt      # as in github.com/NVIDIA/pyxis and enroot: a container by srun
#SBATCH --constraint=a100&ib
#SBATCH --nodes=2-4
#SBATCH --ntasks-per-node 8
#SBATCH --gpus-per-node 8
#SBATCH --cpus-per-gpu 16
#SBATCH --mem-per-gpu 120G
#SBATCH --exclusive
#SBATCH --requeue
#SBATCH --time 240
#SBATCH --comment="team: vision"
#SBATCH --gres-flags=enforce-binding
#SBATCH --switches=1@00:30:00

DATA=/datasets
export NCCL_DEBUG=INFO
for attempt in 1 2; do
    echo $attempt
done
srun --kill-on-bad-exit=1 --mpi=pmix --gpu-bind=none --container-image=nvcr.io#nvidia/pytorch:24.05-py3 \
     --container-mounts=$DATA:/data,$HOME:/workspace --no-container-mount-home bash -c "python train.py"
