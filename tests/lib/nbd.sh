# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# NBD servers for tests: nbdkit and qemu-nbd, each under a name of the test's
# choice. They are killed at the end. Source lib/common.sh first.
#
#	nbd_start a unix nbdkit file "$image"
#	nbd_start b tcp qemu-nbd -f qcow2 --shared=0 "$image"
#	"$TOOL" map "${NBD_URI[a]}"
#	nbd_kill a
#	nbd_restart a

declare -A NBD_URI=() NBD_PID=() NBD_LOG=() # by name
declare -A nbd_place=() nbd_command=()

# nbd_start NAME unix|tcp nbdkit|qemu-nbd ARG...: starts a server at a new
# address, and returns when it can be connected to; no connection is made to
# it. Sets NBD_URI[NAME], NBD_PID[NAME], NBD_LOG[NAME] to the file of its
# messages, and $NBD to the URI. NBD_SCHEME=nbds makes that the scheme of the URI.
nbd_start() {
	local name=$1 kind=$2 try
	shift 2
	[[ -z ${nbd_place[$name]:-} ]] || fail "there is a server $name already"
	nbd_command[$name]=$(printf '%q ' "$@")
	NBD_PID[$name]=
	NBD_LOG[$name]=$TEST_TMP/nbd.$name.log
	cleanup nbd_kill "$name"
	# Another program may take the port that was found.
	for try in 1 2 3 4 5; do
		nbd_find_place "$name" "$kind"
		! nbd_launch "$name" || break
		[[ $kind == tcp && $try != 5 ]] || nbd_fails "$name"
	done
	# shellcheck disable=SC2034 # for the test
	NBD=${NBD_URI[$name]}
}

# nbd_restart NAME [nbdkit|qemu-nbd ARG...]: starts it, or another server, again
# at the same address.
nbd_restart() {
	local name=$1
	shift
	[[ -z ${NBD_PID[$name]} ]] || fail "the server $name has not ended"
	(($# == 0)) || nbd_command[$name]=$(printf '%q ' "$@")
	# The connections of the server of before may occupy the port for a while.
	wait_until 20 nbd_launch "$name" || nbd_fails "$name"
}

# nbd_stop NAME, nbd_cont NAME: stops it, as if its host were suspended; lets it
# go on.
nbd_stop() {
	kill -STOP "${NBD_PID[$1]}"
	wait_until 20 nbd_is_stopped "${NBD_PID[$1]}" ||
		fail "the server $1 does not stop"
}

nbd_cont() {
	kill -CONT "${NBD_PID[$1]}"
}

# nbd_kill NAME: kills it, if it is there.
nbd_kill() {
	[[ -n ${NBD_PID[$1]} ]] || return 0
	kill -KILL "${NBD_PID[$1]}" 2>/dev/null || true # it ended by itself
	nbd_wait "$1" || true			      # killed
}

# nbd_end NAME: asks it to end, and waits for that; it must succeed.
nbd_end() {
	kill -TERM "${NBD_PID[$1]}"
	nbd_ends "$1"
}

# nbd_ends NAME: waits until it ends by itself; it must succeed.
nbd_ends() {
	wait_until 30 gone_or_zombie "${NBD_PID[$1]}" ||
		fail "the server $1 does not end"
	nbd_wait "$1" || nbd_fails "$1"
}

# nbd_forget NAME: kills it, and makes the name free.
nbd_forget() {
	nbd_kill "$1"
	unset "nbd_place[$1]"
}

# nbd_is_stopped PID: a thread may have been about to reply.
nbd_is_stopped() {
	local task stat
	for task in "/proc/$1"/task/*; do
		{ read -r stat <"$task/stat"; } 2>/dev/null || return 1
		[[ ${stat##*) } == T* ]] || return 1
	done
}

# --- The rest is for this file -------------------------------------------------

nbd_find_place() {
	local scheme=${NBD_SCHEME:-nbd} port
	case $2 in
	unix)
		nbd_place[$1]=$TEST_TMP/nbd.$1
		NBD_URI[$1]="$scheme+unix:///?socket=${nbd_place[$1]}"
		;;
	tcp)
		port=$(python3 -c 'import socket
s = socket.socket()
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])')
		nbd_place[$1]=$port
		NBD_URI[$1]=$scheme://127.0.0.1:$port
		;;
	*) fail "nbd_start: unix or tcp, not $2" ;;
	esac
}

# Starts it once. False if it has ended before it was ready.
nbd_launch() {
	local name=$1 place=${nbd_place[$1]} pid_file=$TEST_TMP/nbd.$1.pid
	local command options
	eval "command=(${nbd_command[$name]})"
	case ${command[0]##*/}:$place in
	nbdkit:/*) options=(-f -P "$pid_file" -U "$place") ;;
	nbdkit:*) options=(-f -P "$pid_file" -i 127.0.0.1 -p "$place") ;;
	qemu-nbd:/*) options=(-t --pid-file="$pid_file" -k "$place") ;;
	qemu-nbd:*) options=(-t --pid-file="$pid_file" -b 127.0.0.1 -p "$place") ;;
	*) fail "nbd_start: nbdkit or qemu-nbd, not ${command[0]}" ;;
	esac
	rm -f "$pid_file"
	[[ $place != /* ]] || rm -f "$place"
	"${command[0]}" "${options[@]}" "${command[@]:1}" \
		</dev/null >>"${NBD_LOG[$name]}" 2>&1 &
	NBD_PID[$name]=$!
	# Both write the file when they accept connections.
	wait_until 30 nbd_ready_or_gone "$name" "$pid_file" || nbd_fails "$name"
	[[ ! -s $pid_file ]] || return 0
	nbd_wait "$name" || true # its messages tell
	return 1
}

nbd_ready_or_gone() {
	[[ -s $2 ]] || gone_or_zombie "${NBD_PID[$1]}"
}

# Returns its exit status.
nbd_wait() {
	local pid=${NBD_PID[$1]}
	NBD_PID[$1]=
	{ wait "$pid"; } 2>/dev/null # bash would tell of kills
}

nbd_fails() {
	cat "${NBD_LOG[$1]}" >&2
	fail "the server $1 (${nbd_command[$1]}) fails"
}
