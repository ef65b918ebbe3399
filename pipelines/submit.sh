#!/usr/bin/env bash
# Maps of a whole study on a Slurm cluster: one task per participant, then the group.
#
# Usage: submit.sh [OPTION ...] -w FOLDER BIDS_DIR OUTPUT_DIR [-- OPTION of bids_brnn ...]
#
#   -w, --work FOLDER       intermediate files, on a disk that all nodes share
#   -d, --derivatives NAME=PATH
#                           derivative data set to read, such as fmriprep=/data/derivatives/fmriprep
#       --no-derivatives    read none although some lie in BIDS_DIR/derivatives
#   -i, --image FILE        Apptainer image with the program (default: the commands on the PATH)
#       --bind PATH         further file or folder that options name, for the image
#       --setup FILE        sourced first in every job, for `module load` and the like
#   -c, --config FILE       options of the study (default: config.toml beside this script)
#   -p, --participant-label LABEL
#                           only this one (default: every sub-LABEL folder of BIDS_DIR)
#       --mem SIZE          memory of a task: 8000 (MB) or 8G (default: 16G)
#       --cpus N            CPUs of a task (default: 4)
#       --time TIME         longest time of a task (default: 04:00:00)
#       --gpu GRES          GPU of a task, such as gpu:1 (default: none)
#       --limit N           tasks that run at the same time (default: 10)
#       --sbatch OPTION     further option for every sbatch, such as --partition=long
#       --train             first train networks for protocols that have none (level `train`);
#                           how thoroughly: -- --train-missing quick
#       --resubmit          only participants that are not finished, with twice the memory where
#                           memory was the reason; they go on where they were
#       --dry-run           say what would be submitted
#
# -d, -p, --bind and --sbatch may be given several times. Prints the numbers of the jobs.
# Logs and lists are kept in OUTPUT_DIR/logs/slurm. See pipelines/README.md.
# shellcheck disable=SC2154
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=pipelines/slurm/program.sh disable=SC1091
. "$here/slurm/program.sh"

fail() {
    say "$*"
    exit 2
}
usage() { sed -n '2,/^# shellcheck/{/^# shellcheck/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; }

# ---- options ---------------------------------------------------------------------------------
work='' image='' setup='' config="$here/config.toml" mem=16G cpus=4 time=04:00:00 gpu='' limit=10
train='' resubmit='' dry='' none='' places=() labels=() binds=() further=() derivatives=() options=()
while [ $# -gt 0 ]; do
    case "$1" in
    --*=*)
        word=$1
        shift
        set -- "${word%%=*}" "${word#*=}" "$@"
        ;;
    esac
    case "$1" in
    -h | --help) usage && exit 0 ;;
    --no-derivatives) none=1 && shift && continue ;;
    --train) train=1 && shift && continue ;;
    --resubmit) resubmit=1 && shift && continue ;;
    --dry-run) dry=1 && shift && continue ;;
    --) shift && options=("$@") && break ;;
    -*) [ $# -gt 1 ] || fail "$1 is no option, or lacks its value; see submit.sh --help" ;;
    *) places+=("$1") && shift && continue ;;
    esac
    case "$1" in
    -w | --work) work=$2 ;;
    -d | --derivatives) derivatives+=("$2") ;;
    -i | --image) image=$2 ;;
    --bind) binds+=("$2") ;;
    --setup) setup=$2 ;;
    -c | --config) config=$2 ;;
    -p | --participant-label) labels+=("${2#sub-}") ;;
    --mem) mem=$2 ;;
    --cpus) cpus=$2 ;;
    --time) time=$2 ;;
    --gpu) gpu=$2 ;;
    --limit) limit=$2 ;;
    --sbatch) further+=("$2") ;;
    *) fail "$1 is no option; see submit.sh --help" ;;
    esac
    shift 2
done
[ ${#places[@]} -eq 2 ] || fail "give BIDS_DIR and OUTPUT_DIR; see submit.sh --help"
[ -n "$work" ] || fail "give a work folder on a disk that all nodes share: -w FOLDER"

# ---- what can be told before anything is submitted ---------------------------------------------
there() { # there TEST WHAT PATH: the absolute path of a file or folder that has to be there
    test "$1" "$3" || fail "$2: there is no $3"
    realpath -s -- "$3"
}
bids=$(there -d BIDS_DIR "${places[0]}")
out=$(realpath -ms -- "${places[1]}")
work=$(realpath -ms -- "$work")/bids_brnn-$(realpath -m -- "$out" | sha256sum | cut -c1-8)
config=$(there -f --config "$config")
[ -z "$image" ] || image=$(there -e --image "$image")
[ -z "$setup" ] || setup=$(there -f --setup "$setup")
readable=("$bids" "$config") writable=("$out" "$work")
for item in "${!binds[@]}"; do readable+=("$(there -e --bind "${binds[item]}")"); done
for item in "${!derivatives[@]}"; do
    path=${derivatives[item]#*=} name=
    [[ ${derivatives[item]} != *=* ]] || name=${derivatives[item]%%=*}=
    path=$(there -d "--derivatives" "$path")
    derivatives[item]=$name$path
    readable+=("$path")
done
for number in "--cpus $cpus" "--limit $limit"; do
    [[ ${number#* } =~ ^[1-9][0-9]*$ ]] || fail "$number: a whole number above 0 is needed"
done
case "$mem" in
*[Gg]) mb=${mem%?} factor=1024 ;;
*[Mm]) mb=${mem%?} factor=1 ;;
*) mb=$mem factor=1 ;;
esac
[[ $mb =~ ^[1-9][0-9]*$ ]] || fail "--mem $mem: give whole MB, or GB as in 8G"
mb=$((mb * factor))
check_mb "$mb" || exit
for word in "${options[@]}"; do
    case "$word" in
    -w | --work* | --nprocs* | --nthreads* | --n[-_]cpus* | --mem* | --participant* | -d | --deriv* | --config*)
        fail "$word stands behind --, but submit.sh gives it to the program; see submit.sh --help"
        ;;
    esac
done
if [ -n "$image" ]; then
    for path in "${readable[@]}" "${writable[@]}"; do
        [[ $path != *[:,]* ]] || fail "$path holds a colon or comma, which a mount of an image cannot"
    done
fi
# Masks and labels decide what the maps are made of: left-out ones have to be meant.
if [ -z "$none" ]; then
    beside=()
    for folder in "$bids"/derivatives/*/; do
        folder=$(realpath -s -- "$folder")
        [ -f "$folder/dataset_description.json" ] || continue
        [ "$folder" != "$out" ] || continue
        [[ " ${derivatives[*]#*=} " == *" $folder "* ]] || beside+=("-d ${folder##*/}=$folder")
    done
    [ ${#beside[@]} -eq 0 ] || fail "derivative data sets lie beside the data; read them with" \
        "${beside[*]}, or leave out what is not named with --no-derivatives"
fi
[ -n "$dry" ] || command -v sbatch >/dev/null || fail "there is no sbatch on $(hostname)"


# ---- who ---------------------------------------------------------------------------------------
# shellcheck disable=SC1090
[ -z "$setup" ] || . "$setup"
logs=$out/logs/slurm
jobs=$logs/$(date -u +%Y%m%d-%H%M%S)-$$
[ -z "$dry" ] || jobs=$(mktemp -d)
mkdir -p "$jobs" "$work" || exit 73
[ -z "$dry" ] || trap 'rm -rf "$jobs"' EXIT
chosen=()
[ ${#labels[@]} -eq 0 ] || chosen=(--participant-label "${labels[@]}")
if [ -n "$resubmit" ]; then
    # Two tasks for one participant would get in each other's way.
    if running=$(squeue -h -o %A -u "$(id -un)" -n bids_brnn,bids_brnn_group,bids_brnn_train 2>/dev/null); then
        while read -r job; do
            [ -z "$job" ] || [ ! -e "$logs/submitted/$job" ] ||
                fail "job $job of this study is still in the queue; wait for it, or end it: scancel $job"
        done <<<"$running"
    fi
    chosen+=(--logs "$logs" --unfinished "$jobs/plan.tsv")
fi
words_for brnn cohort "$bids" --output "$out" "${chosen[@]}"
if [ -n "$resubmit" ]; then
    "${words[@]}" >&2 || [ -s "$jobs/plan.tsv" ] || exit
else
    "${words[@]}" | sed 's/$/\t0/' >"$jobs/plan.tsv"
fi
if [ ! -s "$jobs/plan.tsv" ]; then
    say "every participant is finished, nothing is submitted"
    rm -rf "$jobs"
    exit 0
fi

# ---- jobs --------------------------------------------------------------------------------------
cp "$here/slurm/program.sh" "$jobs/" # a later edit is not for jobs that wait
chosen=()
[ ${#labels[@]} -eq 0 ] || chosen=(--participant-label "${labels[@]}")
cp "$config" "$jobs/config.toml"
readable+=("$jobs")
options=(--config-file "$jobs/config.toml" "${options[@]}")
[ ${#derivatives[@]} -eq 0 ] || options+=(--derivatives "${derivatives[@]}")
{
    echo "# Settings of jobs, by submit.sh"
    for name in bids out work logs jobs image setup; do printf '%s=%q\n' "$name" "${!name}"; done
    for name in readable writable options chosen; do
        declare -n list=$name
        printf '%s=(' "$name"
        [ ${#list[@]} -eq 0 ] || printf ' %q' "${list[@]}"
        printf ' )\n'
    done
    [ -z "$setup" ] || printf '. %q\n' "$setup"
} >"$jobs/settings.sh"

submit() { # submit OPTION ... SCRIPT ARGUMENT ...: the number of the job
    if [ -n "$dry" ]; then
        echo "sbatch $*" >&2
        echo 0
        return
    fi
    local job
    job=$(sbatch --parsable "${further[@]}" "$@") || {
        say "sbatch refused, see above; jobs submitted before: ${submitted[*]:-none}"
        return 2
    }
    mkdir -p "$logs/submitted"
    : >"$logs/submitted/${job%%;*}"
    echo "${job%%;*}"
}
submitted=() after=()
need=(--cpus-per-task="$cpus" --time="$time")
[ -z "$gpu" ] || need+=(--gres="$gpu")
if [ -n "$train" ]; then
    words_for bids_brnn --help
    [[ $("${words[@]}") == *--train-missing* ]] || fail "this version of bids_brnn has no --train-missing"
    job=$(submit "${need[@]}" --mem="$mb" --output="$logs/train_%j.out" \
        "$here/slurm/networks.sbatch" "$jobs/settings.sh")
    submitted+=("$job")
    # Maps by another method than was asked for are not what was asked for.
    after=(--dependency="afterok:$job" --kill-on-invalid-dep=yes)
fi
most=$(scontrol show config 2>/dev/null | sed -n 's/^MaxArraySize *= *//p') || most=
[ -n "$most" ] || most=1001
# One array for each size of memory, cut where Slurm wants no larger ones; parts follow each other,
# so that the limit of tasks holds for all of them together.
sizes=$(cut -f2 "$jobs/plan.tsv" | sort -un)
arrays=()
for size in $sizes; do
    list=$jobs/participants_$size.txt
    awk -F '\t' -v size="$size" '$2 == size { print $1 }' "$jobs/plan.tsv" >"$list"
    count=$(wc -l <"$list")
    amount=$((size > mb ? size : mb))
    for ((first = 0; first < count; first += most - 1)); do
        last=$((count - first < most - 1 ? count - first - 1 : most - 2))
        job=$(submit "${need[@]}" --mem="$amount" --array="0-$last%$limit" "${after[@]}" \
            --output="$logs/%A_%a.out" "$here/slurm/participant.sbatch" \
            "$jobs/settings.sh" "$list" "$first")
        submitted+=("$job") arrays+=("$job")
        after=(--dependency="afterany:$job")
    done
done
group=$(submit --cpus-per-task=1 --mem="$mb" --time="$time" --output="$logs/group_%j.out" \
    --dependency="afterany:$(IFS=:; echo "${arrays[*]}")" "$here/slurm/group.sbatch" "$jobs/settings.sh")
count=$(wc -l <"$jobs/plan.tsv")
say "$count participants: jobs ${submitted[*]}, then job $group for the group; logs: $logs"
[ -n "$dry" ] || echo "${submitted[*]} $group"
