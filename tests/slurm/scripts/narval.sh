#!/bin/bash
#SBATCH --account=def-someuser        # as in docs.alliancecan.ca, PyTorch and Using GPUs with Slurm
#SBATCH --nodes=1 --gpus-per-node=a100:4 --tasks-per-node=4
#SBATCH --cpus-per-task=12
#SBATCH --mem-per-cpu=4000
#SBATCH --time=0-03:00
#SBATCH --output=%N-%j.out
#SBATCH --mail-user=someone@example.ca --mail-type=ALL

module load StdEnv/2023 python/3.11 cuda
virtualenv --no-download $SLURM_TMPDIR/env
source $SLURM_TMPDIR/env/bin/activate
pip install --no-index torch torchvision

export TORCH_NCCL_ASYNC_HANDLING=1
export MASTER_ADDR=$(hostname)
export WANDB_API_KEY=0123456789abcdef
echo "r$SLURM_NODEID master: $MASTER_ADDR"
if [ -n "$RESUME" ]; then
    export CHECKPOINT=$RESUME
fi
srun python train.py --init_method tcp://$MASTER_ADDR:3456 --world_size $SLURM_NTASKS
