# shellcheck shell=bash
# Sourced by tools/instructions and tools/micro: instructions counted by callgrind inside functions
# named *measured*, dumped whenever a function named *dump_mark* or *dumpMark* is called.

# The C library chooses its copy and search routines by the CPU: hold it to one choice.
export GLIBC_TUNABLES=glibc.cpu.hwcaps=-ERMS,-FSRM,-AVX512F,-AVX512VL,-AVX512BW

# Looking up symbols at their first call is no part of the work.
export LD_BIND_NOW=1

# count_between_marks SCRATCH PROGRAM ARGUMENT…: what the program prints goes to SCRATCH/printed.
count_between_marks() {
    local scratch=$1 program=$2
    shift 2
    command -v valgrind >/dev/null || apt-get install -y -qq valgrind >/dev/null
    # Valgrind 3.19 gives up on the compiler's debug information.
    objcopy --strip-debug "$program" "$scratch/program"
    valgrind --tool=callgrind --callgrind-out-file="$scratch/out" --collect-atstart=no \
        --toggle-collect='*measured*' --dump-before='*dump_mark*' --dump-before='*dumpMark*' \
        "$scratch/program" "$@" \
        >"$scratch/printed" 2>"$scratch/log" || {
        cat "$scratch/printed" "$scratch/log" >&2
        exit 71
    }
}

# dumped SCRATCH N: instructions between the mark N and the one before.
dumped() {
    awk '/^(totals|summary):/ { print $2; exit }' "$1/out.$2"
}
