# shellcheck shell=bash disable=SC2154,SC2034
# Sourced by submit.sh and by the jobs: how the program is called, and with how much of the machine.
# What the jobs need to know stands in a file of settings that submit.sh writes.

LEAST_MB=1000 # the libraries alone take most of it

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
now() { date -u +%Y-%m-%dT%H:%M:%SZ; }

# words_for COMMAND ARGUMENT...: sets the array `words`, the command itself or a container with it.
# An array and not a function that calls it: a signal for the process has to reach the program.
words_for() {
    words=("$@")
    [ -n "$image" ] || return 0
    local engine folder nv=()
    engine=$(command -v apptainer || command -v singularity) || {
        say "there is neither apptainer nor singularity on $(hostname), which the image $image needs;" \
            "load their module in a file and give it with --setup."
        return 2
    }
    # --nv says a lot where there is no GPU, and --cleanenv hides which of them are granted.
    if [ -n "${SLURM_JOB_GPUS:-}${SLURM_STEP_GPUS:-}${SLURM_GPUS_ON_NODE:-}" ]; then
        nv=(--nv --env "CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES:-}")
    fi
    words=("$engine" exec --cleanenv "${nv[@]}")
    # Everything lies in the container where it lies outside: paths in options and links hold.
    for folder in "${readable[@]}"; do words+=(-B "$folder:$folder:ro"); done
    for folder in "${writable[@]}"; do words+=(-B "$folder:$folder"); done
    words+=("$image" "$@")
}

# granted_mb: memory of this job in MB; nothing where Slurm does not tell (--mem=0, the whole node).
granted_mb() {
    if [ "${SLURM_MEM_PER_NODE:-0}" -gt 0 ]; then
        echo "$SLURM_MEM_PER_NODE"
    elif [ "${SLURM_MEM_PER_CPU:-0}" -gt 0 ]; then
        echo $((SLURM_MEM_PER_CPU * ${SLURM_CPUS_PER_TASK:-1}))
    fi
}

# check_mb MB: whether that much can do.
check_mb() {
    [ "$1" -ge "$LEAST_MB" ] || {
        say "$1 MB of memory are granted, and the program needs $LEAST_MB at least;" \
            "give more with --mem."
        return 2
    }
}

# resources: sets the array `resources`, options of the program for what Slurm granted to this job.
# A tenth of the memory stays for the job itself.
resources_granted() {
    local memory
    memory=$(granted_mb)
    resources=(--nprocs "${SLURM_CPUS_PER_TASK:-1}")
    [ -z "$memory" ] || {
        check_mb "$memory" || return
        resources+=(--mem-mb $((memory * 9 / 10)))
    }
}

# run_to_its_end WORD...: the exit code of a command that is told when this job is told to end.
run_to_its_end() {
    local program code=0
    "$@" &
    program=$!
    trap 'kill -TERM "$program" 2>/dev/null || true' TERM INT
    wait "$program" || code=$?
    # A signal ends `wait`, not the program.
    while kill -0 "$program" 2>/dev/null; do
        code=0
        wait "$program" || code=$?
    done
    trap - TERM INT
    return "$code"
}
