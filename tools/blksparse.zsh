#compdef blksparse
# SPDX-License-Identifier: LGPL-2.1-or-later
# Completion of blksparse(1) for zsh. Commands and options come from the program's
# own help.

# _blksparse_action COMMAND OPTION: sets REPLY to what completes its value, in the
# terms of _arguments.
_blksparse_action() {
	case $1:$2 in
	*:--known) REPLY='(auto all off)' ;;
	*:--tail) REPLY='(keep zero discard)' ;;
	*:--jobs) REPLY='(1 2 4 8)' ;;
	*:--chunk | *:--granule) REPLY='(4K 64K 1M)' ;;
	map:--format | diff:--format)
		REPLY='(table json qemu bmap ddrescue plot svg png)'
		;;
	send:--format | recv:--format) REPLY='(native rbd-diff raw)' ;;
	stat:--format) REPLY='(table json prometheus)' ;;
	*:--from | *:--from-snap) REPLY=' ' ;;
	*) REPLY='_files' ;;
	esac
}

_blksparse() {
	local program=$words[1] command line REPLY
	local -a commands specs lines
	local -i at

	for ((at = 2; at < CURRENT; at++)); do
		[[ $words[at] == (-*|help) ]] || { command=$words[at]; break; }
	done
	if [[ -z $command && $PREFIX != -* ]]; then
		lines=(${(f)"$(_call_program commands $program --help 2>/dev/null)"})
		for line in $lines; do
			[[ $line =~ '^  ([a-z]+)  +(.*)$' ]] &&
				commands+=("$match[1]:$match[2]")
		done
		_describe -t commands command commands
		return
	fi
	lines=(${(f)"$(_call_program options $program $command --help 2>/dev/null)"})
	for line in $lines; do
		[[ $line =~ '^ +(-h, )?(--[a-z-]+)(=([A-Z]+))? +(.*)$' ]] || continue
		if [[ -n $match[3] ]]; then
			_blksparse_action "$command" $match[2]
			specs+=("$match[2]=[$match[5]]:$match[4]:$REPLY")
		elif [[ $match[2] == --progress ]]; then # may have one
			specs+=("$match[2]=-[$match[5]]::form:(line json)")
		else
			specs+=("$match[2][$match[5]]")
		fi
	done
	_arguments $specs '*:device or file:_files'
}

_blksparse "$@"
