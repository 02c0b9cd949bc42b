#!/bin/sh
# Written by `bootling test --emit slurm --shards @SHARDS@`. From a directory that all nodes share:
#
#   job=$(sbatch --parsable THIS_FILE)
#   sbatch --dependency=afterany:$job THIS_FILE merge $job
#
# The second job merges the reports of the first one's tasks, and fails if a report is missing.
#SBATCH --job-name=@NAME@
#SBATCH --array=1-@SHARDS@
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=2
#SBATCH --output=bootling-%A-%a.log
set -eu

if [ "${1-}" = merge ]; then
    # The dependent job is an array, too: only its first task merges.
    [ "${SLURM_ARRAY_TASK_ID:-1}" = 1 ] || exit 0
    exec @COMMAND@ --merge "bootling-$2"-*.jsonl \
        --junit "bootling-$2.xml" --html "bootling-$2.html" --jsonl "bootling-$2-all.report"
fi
# The file names contain the job id, so that reports of an earlier run are never mistaken for this run's.
exec @COMMAND@ --shard "$SLURM_ARRAY_TASK_ID/@SHARDS@" \
    --jobs "${SLURM_CPUS_PER_TASK:-1}" --jsonl "bootling-$SLURM_ARRAY_JOB_ID-$SLURM_ARRAY_TASK_ID.jsonl"
