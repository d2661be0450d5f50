# shellcheck shell=bash
# Sourced by the scripts beside it: they run the demo in ../demo, and are safe to repeat.

DEMO=$(cd "$(dirname "${BASH_SOURCE[0]}")/../demo" && pwd)

say() { printf '%s\n' "$*" >&2; }

# die CODE MESSAGE: one line on standard error.
die() {
    printf '%s: %s\n' "${0##*/}" "$2" >&2
    exit "$1"
}

find_terraform() {
    TERRAFORM=$(command -v terraform || command -v tofu) ||
        die 71 "needs terraform or tofu: see https://developer.hashicorp.com/terraform/install"
}

need() {
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null || die 71 "needs $program, which is not in PATH"
    done
}

# wait_until COMMAND…: runs it again and again until it succeeds, for half an hour.
wait_until() {
    local look
    for ((look = 0; look < 360; look++)); do
        if "$@"; then return 0; fi
        sleep "${SLUICE_POLL:-5}"
    done
    return 1
}

in_demo() { "$TERRAFORM" -chdir="$DEMO" "$@"; }

# outputs: all outputs of the demo as JSON, or a word that it is not there.
outputs() {
    local json
    json=$(in_demo output -json) || die 71 "cannot read the outputs of the demo: run ${0%/*}/deploy first"
    [[ $json != '{}' ]] || die 71 "the demo is not deployed: run ${0%/*}/deploy first"
    printf '%s\n' "$json"
}

# output FILTER JSON: one value of it, by jq.
output() { jq -er "$1" <<<"$2" || die 71 "the demo has no output $1: run ${0%/*}/deploy again"; }

# confirm YES QUESTION: asks unless YES is true.
confirm() {
    local answer
    if $1; then return 0; fi
    read -r -p "$2 [y/N] " answer || answer=
    [[ $answer == [yY] ]] || die 1 "nothing was done"
}

# instance ROLE JSON: the instance id of a host or of the appliance.
instance() {
    local id region
    region=$(output .region.value "$2")
    case $1 in
        a | b | c) output ".host_instance_ids.value.$1" "$2" ;;
        appliance)
            id=$(aws autoscaling describe-auto-scaling-groups --region "$region" \
                --auto-scaling-group-names "$(output .autoscaling_group_name.value "$2")" \
                --query "AutoScalingGroups[0].Instances[?LifecycleState=='InService']|[0].InstanceId" --output text)
            [[ $id == i-* ]] || die 71 "no appliance is in service: it may still start"
            printf '%s\n' "$id"
            ;;
        *) die 64 "no role '$1': one of a, b, c, appliance" ;;
    esac
}
