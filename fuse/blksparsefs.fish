# SPDX-License-Identifier: LGPL-2.1-or-later
# Completion of blksparsefs(8) for fish. Mount options come from the program's own
# help.

function __blksparsefs_options
    blksparsefs --help 2>/dev/null |
        string replace -rf '^  -o ([a-z_]+=?)\S* +(\S.*)$' '$1\t$2'
end

# Prints the values of a mount option; nothing if it takes any text.
function __blksparsefs_values
    switch $argv
        case granule
            printf '%s\n' 4K 64K 1M
        case known
            printf '%s\n' auto all off
        case log
            printf '%s\n' error warning info debug
        case lookahead
            printf '%s\n' 4M 32M 256M
        case same
            printf '%s\n' write skip
        case scan
            printf '%s\n' lazy background
        case tail
            printf '%s\n' keep zero discard
        case uring
            printf '%s\n' auto off
        case zero
            printf '%s\n' unmap keep write
    end
end

# Completes the last option of a list, or its value.
function __blksparsefs_list
    set -l word (commandline -ct)
    set -l list (string match -r '.*,' -- $word)
    set -l option (string match -rg '([a-z_]+)=[^,]*$' -- $word)
    if test -n "$option"
        printf '%s\n' "$list"$option=(__blksparsefs_values $option)
    else
        printf '%s\n' "$list"(__blksparsefs_options)
    end
end

complete -c blksparsefs -s o -x -d 'Mount options' -a '(__blksparsefs_list)'
complete -c blksparsefs -l all -d 'Show every block device that you may read'
complete -c blksparsefs -l match -x -d 'With --all, only devices with such a name'
complete -c blksparsefs -s r -l read-only -d 'The same as -o ro'
complete -c blksparsefs -s f -l foreground -d 'Stay in the foreground'
complete -c blksparsefs -s d -d 'Stay in the foreground and print each request'
complete -c blksparsefs -s h -l help -d 'Print help and exit'
complete -c blksparsefs -s V -l version -d 'Print the version and exit'
