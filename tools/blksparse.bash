# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Completion of blksparse(1) for bash. It does not need bash-completion.

_blksparse() {
	local cur=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
	local command='' option='' word words=''

	# bash splits words at "=": "--format=js" comes as three, "--format=" as two.
	if [[ $cur == = ]]; then
		option=$before cur=
	elif [[ $before == = ]]; then
		option=${COMP_WORDS[COMP_CWORD - 2]}
	elif [[ $before == --* ]]; then
		option=$before
	fi
	for word in "${COMP_WORDS[@]:1:COMP_CWORD - 1}"; do
		[[ $word == -* ]] || command=${command:-$word}
	done

	case $command:$option in
	copy:--jobs) words='1 2 4 8' ;;
	*:--known) words='auto all off' ;;
	copy:--tail) words='keep zero discard' ;;
	copy:*)
		words='--jobs= --json --known= --progress --quiet --tail= --target-is-zero --verify --help'
		[[ $cur == -* ]] || words=
		;;
	map:--format) words='table json qemu bmap ddrescue' ;;
	send:--format | recv:--format) words='native rbd-diff raw' ;;
	map:--granule | send:--granule) words='4K 64K 1M' ;;
	send:--from) words='' ;;
	map:*)
		words='--format= --granule= --known= --summary --verbose --verify --help'
		[[ $cur == -* ]] || words=
		;;
	send:*)
		words='--from= --format= --granule= --known= --progress --quiet --json --help'
		[[ $cur == -* ]] || words=
		;;
	recv:*)
		words='--format= --known= --target-is-zero --resume --progress --quiet --json --help'
		[[ $cur == -* ]] || words=
		;;
	:*) words='copy map recv send --help --version' ;;
	esac
	COMPREPLY=()
	if [[ -n $words ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
	elif [[ -n $command ]]; then
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
	fi
	[[ ${COMPREPLY[0]:-} != *= ]] || compopt -o nospace
}

complete -o filenames -F _blksparse blksparse
