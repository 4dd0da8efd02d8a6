# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Completion of blksparse(1) for bash. Commands and options come from the
# program's own help. It does not need bash-completion.

# _blksparse_values COMMAND OPTION: prints the values of an option; nothing if it
# takes a file or any text.
_blksparse_values() {
	case $1:$2 in
	*:--known) echo auto all off ;;
	*:--tail) echo keep zero discard ;;
	*:--jobs) echo 1 2 4 8 ;;
	*:--progress) echo line json ;;
	*:--chunk | *:--granule) echo 4K 64K 1M ;;
	map:--format | diff:--format)
		echo table json qemu bmap ddrescue plot svg png
		;;
	send:--format | recv:--format) echo native rbd-diff raw ;;
	stat:--format) echo table json prometheus ;;
	esac
}

_blksparse() {
	local cur=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
	local command='' option='' word words=''

	# bash splits words at "=": "--format=js" comes as three, "--format=" as two.
	if [[ $cur == = ]]; then
		option=$before cur=
	elif [[ $before == = ]]; then
		option=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	for word in "${COMP_WORDS[@]:1:COMP_CWORD - 1}"; do
		[[ $word == -* || $word == help ]] || command=${command:-$word}
	done
	if [[ -n $option ]]; then
		words=$(_blksparse_values "$command" "$option")
	elif [[ $cur == -* ]]; then
		words=$("$1" ${command:+"$command"} --help 2>/dev/null |
			sed -nE 's/^ +(-h, )?(--[a-z-]+=?).*/\2/p')
	elif [[ -z $command ]]; then
		words=$("$1" --help 2>/dev/null |
			sed -nE '/^Commands:/,$s/^  ([a-z]+) .*/\1/p')
	fi
	COMPREPLY=()
	if [[ -n $words ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
	elif [[ -n $command && $cur != -* ]]; then
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
	fi
	[[ ${COMPREPLY[0]:-} != *= ]] || compopt -o nospace 2>/dev/null
}

complete -o filenames -F _blksparse blksparse
