# SPDX-License-Identifier: LGPL-2.1-or-later
# Completion of blksparse(1) for fish. Commands and options come from the program's
# own help.

# Prints the command on the line; fails if there is none yet.
function __blksparse_command
    for word in (commandline -opc)[2..]
        string match -qr -- '^(-.*|help)$' $word; and continue
        echo $word
        return
    end
    return 1
end

function __blksparse_commands
    blksparse --help 2>/dev/null | string match -rg '^  ([a-z]+  .*)$' |
        string replace -r ' +' \t
end

function __blksparse_options
    blksparse (__blksparse_command) --help 2>/dev/null |
        string replace -rf '^ +(?:-h, )?(--[a-z-]+=?)\S* +(\S.*)$' '$1\t$2'
end

# Prints the values of the option at the cursor, each with the option before it.
# Fails if it takes a file, or any text.
function __blksparse_values
    set -l option (commandline -ct | string match -r '^--[a-z-]+=')
    or return
    set -l values
    switch (__blksparse_command):$option
        case '*:--known='
            set values auto all off
        case '*:--tail='
            set values keep zero discard
        case '*:--jobs='
            set values 1 2 4 8
        case '*:--progress='
            set values line json
        case '*:--chunk=' '*:--granule='
            set values 4K 64K 1M
        case 'map:--format=' 'diff:--format='
            set values table json qemu bmap ddrescue plot svg png
        case 'send:--format=' 'recv:--format='
            set values native rbd-diff raw
        case 'stat:--format='
            set values table json prometheus
    end
    test -n "$values"
    and printf '%s\n' $option$values
end

complete -c blksparse -n 'not __blksparse_command' -f -a '(__blksparse_commands)'
complete -c blksparse -n 'not string match -q "*=*" -- (commandline -ct)' \
    -a '(__blksparse_options)'
complete -c blksparse -n '__blksparse_values >/dev/null' -f -a '(__blksparse_values)'
