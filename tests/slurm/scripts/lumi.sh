#!/bin/bash -l
#SBATCH --job-name=resnet       # as in docs.lumi-supercomputer.eu, LUMI-G example batch scripts
#SBATCH --output=resnet.o%j
#SBATCH --error=resnet.e%j
#SBATCH --partition=standard-g
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=7
#SBATCH --mem=480G
#SBATCH --time=1-12:00:00
#SBATCH --mail-type=all
#SBATCH --account=project_465000001
#SBATCH --mail-user=username@domain.com

cat << EOF > select_gpu
#!/bin/bash
export ROCR_VISIBLE_DEVICES=\$SLURM_LOCALID
exec \$*
EOF

chmod +x ./select_gpu
CPU_BIND="map_cpu:49,57,17,25,1,9,33,41"
export MPICH_GPU_SUPPORT_ENABLED=1
export NCCL_SOCKET_IFNAME=hsn0,hsn1,hsn2,hsn3
export MASTER_PORT=29500
SIF=/appl/local/containers/sif-images/lumi-pytorch-rocm-6.2.sif

srun --cpu-bind=${CPU_BIND} singularity exec -B /scratch:/scratch $SIF python -u train.py --epochs 90
rm -rf ./select_gpu
