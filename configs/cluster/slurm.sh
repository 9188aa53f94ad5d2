#!/bin/bash
# Trains on four machines of a Slurm cluster: sbatch slurm.sh jasper.yaml [key=value ...]
# A machine that dies ends the step; the loop starts it again, from the last checkpoint.
# Change: the GPUs of a machine, its cores, the time. exp_manager.exp_dir must be a folder that all machines see.
#SBATCH --job-name=jasper
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=2-00:00:00
#SBATCH --signal=TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append

for ((attempt = 1; attempt <= 100; attempt++)); do
  srun --kill-on-bad-exit=1 --wait=60 jasper-tf train "$@" \
    trainer.num_nodes="$SLURM_JOB_NUM_NODES" trainer.devices=-1 exp_manager.resume_if_exists=true
  status=$?
  case $status in
    0 | 2) exit $status ;;                                  # done, or a mistake in the configuration
    143) scontrol requeue "$SLURM_JOB_ID"; exit $status ;;  # out of time: saved, and back into the queue
  esac
  echo "step ended with status $status; attempt $attempt" >&2
  sleep "${JASPER_RESTART_WAIT_S:-10}"
done
exit $status
