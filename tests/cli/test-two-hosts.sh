#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A copy of a disk on another host, renewed by the lines that README.md has for that,
# as they stand there. Each program of a line is killed, at any moment: the line fails
# then, the digest of the base stays, a copy that is not the base is refused, and each
# way on that the pages name leads to a right copy.
#
# test-two-hosts.sh [all]: "all" tries each way after each death
#
# TIMEOUT: 900 seconds
set -euo pipefail
. "$(dirname "$0")/lib.sh"
# shellcheck source=../lib/ssh.sh
. "$LIB/ssh.sh"

requires_loop
requires python3

cd "$TEST_TMP"
mkdir bin-here bin-there here
# shellcheck disable=SC2034 # for start_sshd
SSHD_LINES=("SetEnv PATH=$TEST_TMP/bin-there:$PATH")
start_sshd
if [[ $(to_host command -v blksparse) == "$TEST_TMP"/* ]]; then
	fail "there is a blksparse already"
fi

# The programs note their ids, and the receiver notes its messages.
write_program() {
	cat >"$1"
	chmod 755 "$1"
}
write_program bin-here/blksparse <<-END
	#!/bin/bash
	echo \$\$ >send.pid
	exec "$TOOL" "\$@"
END
write_program bin-here/ssh <<-END
	#!/bin/bash
	exec python3 "$CLI/ssh_that_stalls.py" "$TEST_TMP/ssh_config" "\$@"
END
write_program bin-there/blksparse <<-END
	#!/bin/bash
	echo \$\$ >"$TEST_TMP/here/recv.pid"
	[[ \$1 != recv ]] || exec 2>"$TEST_TMP/here/recv.log"
	exec "$TOOL" "\$@"
END

# Each block of lines of that part of README.md.
awk '/^Keep a copy of a disk on another host/ { on = 1 }
	/^For incremental backups/ { on = 0 }
	on && /^    / { if (!last) n++; print substr($0, 5) >("lines-" n) }
	{ last = /^    / }' "$SRC/README.md"
[[ -e lines-3 && ! -e lines-4 ]] || fail "README.md has other lines"
first=$(<lines-1) next=$(<lines-2) ask=$(<lines-3)

make_device mixed 8M disk
disk=$LOOP
# The copy is on a larger device.
head -c 9M /dev/zero | tr '\0' '\252' >old
loop_new "$TEST_TMP/old"
copy=$LOOP

# run_lines LINES: runs them at the place of the disk. Sets $STATUS. Only if all of
# the lines succeed may the base be another one.
run_lines() {
	local before=none
	[[ ! -e here/base ]] || before=$(sha256sum <here/base)
	STATUS=0
	(
		cd here
		PATH=$TEST_TMP/bin-here:$PATH bash -c "$(sed \
			"s:/dev/vg/disk:$disk:g; s:/dev/vg/copy:$copy:g" <<<"$1")" \
			2>../said </dev/null
	) || STATUS=$?
	if ((STATUS)); then
		[[ ! -e here/base ]] || assert_eq "$(sha256sum <here/base)" "$before" \
			"the base after a failure"
	fi
	echo "$STATUS" >status
}

# The lines have said that the copy is renewed: it is.
check_renewed() {
	cmp -n "$(stat -c %s disk)" "$disk" "$copy" ||
		fail_at "the copy is wrong"
	"$TOOL" digest --quiet "$disk" | cmp - here/base ||
		fail_at "base is not the digest of the copy"
}

succeeds() {
	run_lines "$1"
	if ((STATUS)); then
		cat said here/recv.log
		fail_at "status $STATUS of: $1"
	fi
	check_renewed
}

# change_disk SEED
change_disk() {
	python3 - "$disk" "$1" <<-'PY'
		import random, sys
		dice = random.Random(sys.argv[2])
		with open(sys.argv[1], "r+b") as disk:
		    for _ in range(30):
		        length = dice.choice((1, 5000, 70000, 300000))
		        disk.seek(dice.randrange((8 << 20) - length))
		        disk.write(bytes(length) if dice.random() < .3
		                   else dice.randbytes(length))
	PY
}

# pid_of send|ssh|recv
pid_of() {
	cat "here/$1.pid" 2>/dev/null
}

# kill_in LINES VICTIM [BYTES]: runs the lines, and kills the victim when so many bytes
# of the stream have passed; or anywhen. Sets $STATUS.
kill_in() {
	local child
	rm -f here/{limit,stalled,send.pid,ssh.pid,recv.pid}
	[[ -z ${3:-} ]] || echo "$3" >here/limit
	run_lines "$1" &
	child=$!
	# The server might start a receiver long after its client was killed.
	wait_until 60 test -s here/recv.pid || fail "no receiver"
	if [[ -n ${3:-} ]]; then
		wait_until 60 test -e here/stalled || fail "no stall"
		# Meanwhile the receiver writes what has arrived.
		sleep 0.1
	else
		sleep "0.$((RANDOM % 5))$((RANDOM % 10))"
	fi
	kill -KILL "$(<"here/$2.pid")" 2>/dev/null || true # it has ended
	wait "$child" || fail "see above"
	STATUS=$(<status)
	rm -f here/limit
	# The receiver is at work for a while after its connection broke.
	wait_until 60 gone "$(<here/recv.pid)" || fail "recv stays"
}

say "the first night"
succeeds "$first"
tail -c 1M old | cmp - <(head -c 1M /dev/zero | tr '\0' '\252')

say "the next nights"
for night in 1 2; do
	change_disk "$night"
	succeeds "$next"
	[[ ! -e here/base.new ]] || fail "base.new stays"
done

# The nightly line, run again without a look at the copy: it works, or it is refused
# and changes nothing.
run_next_anyway() {
	local before
	before=$(sha256sum <"$copy")
	run_lines "$next"
	if ((STATUS == 0)); then
		check_renewed
		return
	fi
	assert_contains "$(<here/recv.log)" "nothing was written; if an increment" \
		"message"
	assert_eq "$(sha256sum <"$copy")" "$before" "a refused copy"
	((++refused))
}

# go_on LINES WAY: leads on from any failure of the lines.
go_on() {
	local command
	case $2 in
	again) succeeds "${1/--check-base/--resume --check-base}" ;;
	told) # as the message of recv says, if there is one
		command=$(sed -n 's/.*\(go on\|resume it\) with: //p' here/recv.log)
		if [[ -n $command ]]; then
			command=${command/=BASE/=base}
			command=${command/SRC/$disk}
			command=${command/| blksparse/| ssh host blksparse}
			run_lines "set -o pipefail; $command"
			assert_eq "$STATUS" 0 "status of: $command"
			cmp -n "$(stat -c %s disk)" "$disk" "$copy" ||
				fail "the copy is wrong after: $command"
			((++told))
		fi
		;;&
	told | ask)
		succeeds "$ask"$'\n'"$next"
		;;
	esac
}

declare -A ways=([send]=again [ssh]=ask [recv]=told)
anywhen=1
if [[ ${1:-} == all ]]; then
	ways=([send]="again told ask" [ssh]="again told ask" [recv]="again told ask")
	anywhen="1 2 3"
fi
refused=0 told=0
for victim in send ssh recv; do
	say "$victim is killed in the first night"
	dd if=old of="$copy" bs=1M conv=notrunc status=none
	rm here/base
	kill_in "$first" "$victim" $((300000 + RANDOM * 20))
	assert_ne "$STATUS" 0 "status"
	case $victim in
	send) go_on "$first" again ;;
	ssh) go_on "$first" ask ;;
	recv) go_on "$first" told ;;
	esac
	for way in ${ways[$victim]}; do
		say "$victim is killed in a later night, and then: $way"
		change_disk "$victim$way"
		kill_in "$next" "$victim" $((200000 + RANDOM * 10))
		assert_ne "$STATUS" 0 "status"
		cp here/recv.log recv.log
		run_next_anyway
		if ((STATUS)); then
			cp recv.log here/recv.log
			go_on "$next" "$way"
		fi
	done
	for n in $anywhen; do
		say "$victim is killed at any time"
		change_disk "$victim$n"
		kill_in "$next" "$victim"
		if ((STATUS == 0)); then check_renewed; fi
		run_next_anyway
		if ((STATUS)); then go_on "$next" ask; fi
	done
done
# A receiver that was killed early had changed nothing: then there is no message.
assert_ge "$refused" 1 "copies that were refused"
echo "$told messages were followed"

say "part of the disk is as it was before a line that broke"
"$TOOL" copy --quiet "$disk" yesterday
# A receiver that a busy machine kept from writing leaves the base whole: it is no
# line that broke.
for try in {1..20}; do
	change_disk "back$try"
	kill_in "$next" recv 300000
	"$TOOL" copy --quiet yesterday "$disk"
	cmp -s -n "$(stat -c %s disk)" yesterday "$copy" || break
done
run_lines "${next/--check-base/--resume --check-base}"
assert_ne "$STATUS" 0 "status"
assert_contains "$(<here/recv.log)" "take the digest of its content" "message"
succeeds "$ask"$'\n'"$next"

say "a receiver that still waits"
change_disk waits
echo 300000 >here/limit
rm -f here/{stalled,recv.pid}
run_lines "$next" &
child=$!
wait_until 60 test -e here/stalled || fail "no stall"
wait_until 60 test -s here/recv.pid || fail "no receiver"
waiting=$(<here/recv.pid)
rm here/limit
run_lines "$next"
assert_ne "$STATUS" 0 "status beside another receiver"
assert_contains "$(<here/recv.log)" "in use" "message"
kill -KILL "$waiting"
wait "$child" || fail "see above"
succeeds "$ask"$'\n'"$next"
loop_free "$copy"
loop_free "$disk"
