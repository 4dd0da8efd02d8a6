# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# An ssh server of the test's own. The including test has included common.sh.

# Lines for the configuration of the server.
SSHD_LINES=()

# start_sshd: starts a server on this host, in $TEST_TMP, or skips the test.
# to_host() and "ssh -F ssh_config host", in that folder, then reach it.
start_sshd() {
	requires ssh ssh-keygen sshd python3
	start_server
	if ! wait_until 10 server_answers_or_gone || gone "$SERVER"; then
		cat sshd.log ssh.log
		skip "sshd refuses the login: $(tail -n 1 sshd.log)"
	fi
}

start_server() {
	# sshd insists on this directory.
	if [[ ! -d /run/sshd ]]; then
		mkdir -m 755 /run/sshd
		cleanup rmdir /run/sshd
	fi
	ssh-keygen -q -t ed25519 -N '' -f host-key
	ssh-keygen -q -t ed25519 -N '' -f user-key
	PORT=$(python3 -c 'import socket
with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    print(s.getsockname()[1])')
	cat >sshd_config <<-END
		ListenAddress 127.0.0.1:$PORT
		HostKey $TEST_TMP/host-key
		AuthorizedKeysFile $TEST_TMP/user-key.pub
		AuthenticationMethods publickey
		PermitRootLogin prohibit-password
		PidFile none
		# The directory is below one that is writable for all.
		StrictModes no
		UsePAM no
		$(printf '%s\n' "${SSHD_LINES[@]}")
	END
	cat >ssh_config <<-END
		Host host
			HostName 127.0.0.1
			Port $PORT
			User root
			IdentityFile $TEST_TMP/user-key
			IdentitiesOnly yes
			UserKnownHostsFile $TEST_TMP/known-hosts
			GlobalKnownHostsFile /dev/null
			StrictHostKeyChecking yes
			BatchMode yes
	END
	echo "[127.0.0.1]:$PORT $(cut -d ' ' -f 1,2 host-key.pub)" >known-hosts
	"$(command -v sshd)" -D -e -f sshd_config 2>sshd.log &
	SERVER=$!
	cleanup end_server
}

end_server() {
	kill "$SERVER"
	wait "$SERVER" || true
}

to_host() {
	ssh -F ssh_config host "$@"
}

server_answers_or_gone() {
	gone "$SERVER" || to_host true 2>ssh.log
}
