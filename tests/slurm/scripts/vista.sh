#!/bin/bash
#SBATCH -J myjob           # as in docs.tacc.utexas.edu, Vista user guide: short forms, no GPU is asked for
#SBATCH -o myjob.o%j
#SBATCH -e myjob.e%j
#SBATCH -p gh
#SBATCH -N 2
#SBATCH -n 2
#SBATCH -t 01:30:00
#SBATCH -A ABC24001
#SBATCH --mail-type=all

module load gcc cuda
module load tacc-apptainer
export HF_HOME=$SCRATCH/hf
export OMP_NUM_THREADS=36
srun -l --mpi pmix -n 2 \
    apptainer exec --nv --bind /scratch:/scratch /scratch/pytorch_25.01-py3.sif \
    torchrun --nproc_per_node 1 train.py
