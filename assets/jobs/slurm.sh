#!/bin/sh
# Written by `bootling test --emit slurm --shards @SHARDS@`. In a directory shared by all nodes, run:
#
#   job=$(sbatch --parsable THIS_FILE)
#   sbatch --dependency=afterany:$job THIS_FILE merge $job
#
# The second job merges the reports of the first job's tasks; it fails if a report is missing.
#SBATCH --job-name=@NAME@
#SBATCH --array=1-@SHARDS@
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=2
#SBATCH --output=bootling-%A-%a.log
set -eu

if [ "${1-}" = merge ]; then
    # A dependent job of this file is an array, too: only its first task merges.
    [ "${SLURM_ARRAY_TASK_ID:-1}" = 1 ] || exit 0
    exec @COMMAND@ --merge "bootling-$2"-*.jsonl \
        --junit "bootling-$2.xml" --html "bootling-$2.html" --jsonl "bootling-$2-all.report"
fi
# The file names contain the job ID, so that reports of an earlier run are never merged into this one.
exec @COMMAND@ --shard "$SLURM_ARRAY_TASK_ID/@SHARDS@" \
    --jobs "${SLURM_CPUS_PER_TASK:-1}" --jsonl "bootling-$SLURM_ARRAY_JOB_ID-$SLURM_ARRAY_TASK_ID.jsonl"
