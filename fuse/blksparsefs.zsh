#compdef blksparsefs
# SPDX-License-Identifier: LGPL-2.1-or-later
# Completion of blksparsefs(8) for zsh. Mount options come from the program's own
# help.

_blksparsefs_list() {
	local line action
	local -a specs

	for line in ${(f)"$(_call_program options $words[1] --help 2>/dev/null)"}; do
		[[ $line =~ '^  -o ([a-z_]+)(=([A-Z]+))? +(.*)$' ]] || continue
		case $match[1] in
		granule) action='(4K 64K 1M)' ;;
		known) action='(auto all off)' ;;
		log) action='(error warning info debug)' ;;
		lookahead) action='(4M 32M 256M)' ;;
		same) action='(write skip)' ;;
		scan) action='(lazy background)' ;;
		tail) action='(keep zero discard)' ;;
		uring) action='(auto off)' ;;
		zero) action='(unmap keep write)' ;;
		*) action=' ' ;;
		esac
		specs+=("$match[1][$match[4]]${match[2]:+:$match[3]:$action}")
	done
	_values -s , 'mount option' $specs
}

_arguments -s \
	'*-o[Mount options]:mount options:_blksparsefs_list' \
	'--all[Show every block device that you may read]' \
	'*--match=[With --all, only devices with such a name]:pattern: ' \
	'(-f --foreground)'{-f,--foreground}'[Stay in the foreground]' \
	'(-r --read-only)'{-r,--read-only}'[The same as -o ro]' \
	'-d[Stay in the foreground and print each request]' \
	'(- *)'{-h,--help}'[Print help and exit]' \
	'(- *)'{-V,--version}'[Print the version and exit]' \
	'*:device or mount point:_files'
