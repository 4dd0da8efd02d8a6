# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Completion of blksparsefs(8) for bash. Mount options come from the program's own
# help. It does not need bash-completion.

# _blksparsefs_values OPTION: prints the values of a mount option; nothing if it
# takes any text.
_blksparsefs_values() {
	case $1 in
	granule) echo 4K 64K 1M ;;
	known) echo auto all off ;;
	log) echo error warning info debug ;;
	lookahead) echo 4M 32M 256M ;;
	same) echo write skip ;;
	scan) echo lazy background ;;
	tail) echo keep zero discard ;;
	uring) echo auto off ;;
	zero) echo unmap keep write ;;
	esac
}

_blksparsefs() {
	local cur=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
	local last='' words='' value=''

	# bash splits words at "=": "-o rw,known=a" comes as four.
	if [[ $cur == = ]]; then
		value=${before##*,} cur=
	elif [[ $before == = ]]; then
		value=${COMP_WORDS[COMP_CWORD - 2]##*,}
	fi
	if [[ -n $value ]]; then
		words=$(_blksparsefs_values "$value")
	elif [[ $before == -o ]]; then
		[[ $cur != *,* ]] || last=${cur%,*},
		words=$("$1" --help 2>/dev/null |
			sed -nE "s/^  -o ([a-z_]+=?).*/$last\1/p")
	elif [[ $cur == -* ]]; then
		words='--all -d -f --foreground -h --help --match= -o -r --read-only -V --version'
	fi
	COMPREPLY=()
	if [[ -n $words ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
		compopt -o nospace 2>/dev/null
	else
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
	fi
}

complete -o filenames -F _blksparsefs blksparsefs
